//! What a pair of frames costs: QEMU's colo-compare and ours, behind the same sockets, fed by the same thread.
//!
//! ```text
//!   whole      all that the process does: reads, parsing, comparison, writes
//!   core       QEMU: the whole less what IPv6 costs it, which it passes uncompared (a difference of two measurements: on a
//!              busy machine mostly noise); ours: the comparer alone
//! ```
//!
//! Processor time is the kernel's (schedstat), best of three runs. Nothing here fails on a time.

use crate::frames::{self, Tcp, framed};
use crate::ours::whole;
use crate::qemu::{Compare, Process};
use crate::serve;
use nix::time::{ClockId, clock_gettime};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;
use understudy_colo::comparer::{Comparer, FrameId, Output};

const RUNS: usize = 3;

/// Frames that are sent to one side before the other: far below what QEMU queues of one flow, and within the sockets.
const BATCH_BYTES: usize = 24 << 10;

/// What is sent.
struct Load {
    name: &'static str,
    /// Batches of the primary's frames and of the copy's.
    batches: Vec<[Vec<Vec<u8>>; 2]>,
    /// Pairs: the primary's frames.
    pairs: usize,
    /// Bytes that come out.
    out_bytes: usize,
}

impl Load {
    /// `frame(n)` makes the n-th frame of the primary, and the copy's.
    fn new(name: &'static str, pairs: usize, mut frame: impl FnMut(usize) -> [Vec<u8>; 2]) -> Self {
        let mut batches = vec![[Vec::new(), Vec::new()]];
        let (mut out_bytes, mut in_batch) = (0, 0);
        for n in 0..pairs {
            let [primary, copy] = frame(n);
            out_bytes += primary.len() + 4;
            in_batch += primary.len() + 4;
            let last = batches.last_mut().expect("there is always one");
            last[0].push(primary);
            last[1].push(copy);
            if in_batch >= BATCH_BYTES {
                in_batch = 0;
                batches.push([Vec::new(), Vec::new()]);
            }
        }
        Self { name, batches, pairs, out_bytes }
    }

    fn tcp(name: &'static str, pairs: usize, flows: usize, payload: usize) -> Self {
        let body: Vec<u8> = (0..payload).map(|n| (n * 31 % 251) as u8).collect();
        Self::new(name, pairs, |n| {
            let port = u16::try_from(10_000 + n % flows).expect("fewer flows than ports");
            let sequence = u32::try_from(1000 + n / flows * payload).expect("a short load");
            [(n, n), (n * 7, n + 3)].map(|(id, clock)| {
                let tcp = Tcp::guest(port, sequence, 5000).payload(&body).identification(id as u16);
                tcp.options(&frames::timestamps(clock as u32, 1)).frame()
            })
        })
    }

    fn udp(name: &'static str, pairs: usize, flows: usize, payload: usize) -> Self {
        Self::new(name, pairs, |n| {
            let port = u16::try_from(10_000 + n % flows).expect("fewer flows than ports");
            // All the same: QEMU compares the newest datagram first, and asks for a checkpoint if it differs.
            let body = vec![7; payload];
            [n as u16, (n * 7) as u16].map(|id| frames::udp(port, &body, id))
        })
    }

    fn ipv6(payload: usize, pairs: usize) -> Self {
        // As long as the TCP frames are.
        let frame = frames::ipv6(&vec![7; payload + 52 - 48]);
        Self::new("passing", pairs, |_| [frame.clone(), frame.clone()])
    }
}

/// A comparer behind sockets.
struct Peer {
    process: Process,
    inputs: [UnixStream; 2],
    out: UnixStream,
}

impl Peer {
    fn qemu() -> io::Result<Self> {
        let Compare { process, primary, secondary, out, mut note } =
            Compare::start(",compare_timeout=60000,expired_scan_cycle=60000")?;
        // What asks for checkpoints is read, or QEMU waits; it ends with QEMU.
        thread::spawn(move || io::copy(&mut note, &mut io::sink()));
        Ok(Self { process, inputs: [primary, secondary], out })
    }

    fn ours() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg(directory.path());
        let mut process = Process::start(&mut command, directory)?;
        let inputs = [process.connect("pri")?, process.connect("sec")?];
        let out = process.connect("out")?;
        Ok(Self { process, inputs, out })
    }

    /// Processor time of a pair.
    fn measure(mut self, load: &Load) -> io::Result<Duration> {
        let mut out = self.out.try_clone()?;
        out.set_read_timeout(Some(Duration::from_secs(60)))?;
        let wanted = load.out_bytes;
        let reader = thread::spawn(move || -> io::Result<()> {
            let (mut got, mut buffer) = (0, vec![0; 1 << 20]);
            while got < wanted {
                match out.read(&mut buffer)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => got += count,
                }
            }
            Ok(())
        });
        let batches: Vec<[Vec<u8>; 2]> = load
            .batches
            .iter()
            .map(|batch| [0, 1].map(|side| batch[side].iter().flat_map(|frame| framed(frame)).collect()))
            .collect();
        let before = self.process.processor_time()?;
        for batch in &batches {
            for (input, bytes) in self.inputs.iter_mut().zip(batch) {
                input.write_all(bytes)?;
            }
        }
        reader.join().map_err(|_| io::Error::other("the reader panicked"))??;
        // What the other guest sent last is still being read.
        thread::sleep(Duration::from_millis(100));
        let used = self.process.processor_time()? - before;
        Ok(used / u32::try_from(load.pairs).expect("a short load"))
    }
}

fn best(measure: impl Fn() -> io::Result<Duration>) -> io::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        best = best.min(measure()?);
    }
    Ok(best)
}

/// Our comparer alone, of a pair.
fn core(load: &Load) -> io::Result<Duration> {
    let mut comparer = Comparer::new(serve::limits(), 7);
    comparer.live(Time(0), Epoch(0));
    let (mut id, mut left) = (0, 0);
    let began = thread_time()?;
    for [primary, copy] in &load.batches {
        for frame in primary {
            comparer.primary(Time(id), FrameId(id), whole(frame), Epoch(1));
            id += 1;
        }
        for frame in copy {
            comparer.copy(Time(id), whole(frame), Epoch(0));
            while let Some(output) = comparer.poll_output() {
                left += usize::from(matches!(output, Output::Release(_) | Output::ReleaseAs(..)));
            }
        }
    }
    let took = thread_time()? - began;
    if left != load.pairs {
        return Err(io::Error::other(format!("{left} of {} frames left", load.pairs)));
    }
    Ok(took / u32::try_from(load.pairs).expect("a short load"))
}

fn thread_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Prints the table.
pub(crate) fn run(version: &str) -> io::Result<()> {
    println!("{version}; µs of processor time for a pair of frames, best of {RUNS}\n");
    println!("{:<28} {:>21}   {:>13}", "", "whole", "core");
    println!("{:<28} {:>6} {:>6} {:>7}   {:>6} {:>6}", "", "QEMU", "ours", "ratio", "QEMU", "ours");
    let passing = [64, 1448].map(|bytes| Load::ipv6(bytes, 40_000));
    let passing =
        [best(|| Peer::qemu()?.measure(&passing[0]))?, best(|| Peer::qemu()?.measure(&passing[1]))?];
    let loads = [
        (0, Load::tcp("TCP 64 B, 1 flow", 100_000, 1, 64)),
        (0, Load::tcp("TCP 64 B, 64 flows", 100_000, 64, 64)),
        (0, Load::tcp("TCP 64 B, 1,024 flows", 100_000, 1024, 64)),
        (0, Load::tcp("TCP 64 B, 16,000 flows", 100_000, 16_000, 64)),
        (1, Load::tcp("TCP 1448 B, 1 flow", 50_000, 1, 1448)),
        (1, Load::tcp("TCP 1448 B, 64 flows", 50_000, 64, 1448)),
        (0, Load::udp("UDP 64 B, 64 flows", 100_000, 64, 64)),
        (1, Load::udp("UDP 1448 B, 64 flows", 50_000, 64, 1448)),
    ];
    for (size, load) in &loads {
        let (theirs, ours) = (best(|| Peer::qemu()?.measure(load))?, best(|| Peer::ours()?.measure(load))?);
        let (their_core, our_core) = (theirs.saturating_sub(passing[*size]), best(|| core(load))?);
        let their_core = if their_core.is_zero() { "-".into() } else { format!("{:.2}", us(their_core)) };
        println!(
            "{:<28} {:>6.2} {:>6.2} {:>6.1}×   {their_core:>6} {:>6.2}",
            load.name,
            us(theirs),
            us(ours),
            us(theirs) / us(ours),
            us(our_core),
        );
    }
    println!(
        "\nQEMU, passing uncompared: {:.2} µs for 64 B, {:.2} µs for 1448 B",
        us(passing[0]),
        us(passing[1])
    );
    Ok(())
}
