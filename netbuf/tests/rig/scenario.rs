//! What held output must do: one scenario, run against the queue and against its mutant.

use super::capture::{Capture, PROTOCOLS, frame, let_pass, sender, transmit};
use super::judge::{AckLog, Verdict};
use super::{GUEST_MAC, OUTSIDE_MAC, Rig, inventory};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;
use understudy_netbuf::kernel::{KernelError, KernelStats, OutputCommit};

/// A guest that sends frames labelled with the epoch it is in, and can be suspended.
pub(crate) struct Guest {
    socket: OwnedFd,
    running: RwLock<Epoch>,
}

impl Guest {
    pub(crate) fn new(rig: &Rig, open: Epoch) -> Arc<Self> {
        let socket = rig.guest.run(|| sender("eth0"));
        Arc::new(Self { socket, running: RwLock::new(open) })
    }

    /// Sends frame number `sequence`; every protocol gets its turn.
    pub(crate) fn send(&self, sequence: u64) {
        let epoch = self.running.read();
        let protocol = PROTOCOLS[sequence as usize % PROTOCOLS.len()];
        transmit(&self.socket, &frame(protocol, *epoch, sequence));
    }

    /// Sends the frames of these numbers.
    pub(crate) fn send_all(&self, sequences: Range<u64>) {
        sequences.for_each(|sequence| self.send(sequence));
    }

    /// Takes a checkpoint that is acked at once, and lets its output go.
    pub(crate) fn checkpoint_and_release(&self, output: &dyn OutputCommit, acks: &mut AckLog) {
        let ended = self.checkpoint(output);
        acks.ack(ended);
        output.release(ended).unwrap();
    }

    /// Sends frames that no judge counts until one is held: a link that just came up drops the first ones.
    pub(crate) fn send_until_held(&self, output: &dyn OutputCommit) {
        let begun = Instant::now();
        let before = output.stats().unwrap().queue.held_frames;
        let probe = [&OUTSIDE_MAC[..], &GUEST_MAC, &[0x88, 0xB5], &[0; 46]].concat();
        while output.stats().unwrap().queue.held_frames == before {
            assert!(begun.elapsed() < Duration::from_secs(10), "nothing of the guest arrives");
            transmit(&self.socket, &probe);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the epoch as a checkpoint does: suspend, cut, resume.
    pub(crate) fn checkpoint(&self, output: &dyn OutputCommit) -> Epoch {
        let mut epoch = self.running.write();
        let ended = *epoch;
        output.cut(ended).unwrap();
        *epoch = ended.next();
        ended
    }
}

/// Nothing of any protocol leaves before its epoch's ack; then all of it does, in order.
pub(crate) fn every_protocol_waits_for_its_ack(rig: &Rig, output: &dyn OutputCommit) {
    let capture = Capture::start(&rig.outside);
    let (guest, mut acks) = (Guest::new(rig, Epoch(0)), AckLog::default());
    guest.checkpoint(output);
    acks.ack(Epoch(0));
    output.release(Epoch(0)).unwrap();
    (0..60).for_each(|sequence| guest.send(sequence));
    let_pass();
    let first = guest.checkpoint(output);
    (60..120).for_each(|sequence| guest.send(sequence));
    let_pass();
    let second = guest.checkpoint(output);
    let_pass();
    for ended in [first, second] {
        acks.ack(ended);
        output.release(ended).unwrap();
        let_pass();
    }
    let third = guest.checkpoint(output);
    acks.ack(third);
    output.release(third).unwrap();
    let seen = capture.finish();
    let verdict = Verdict::of(&seen, &acks, 120);
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!((verdict.seen, verdict.protocols.len()), (120, PROTOCOLS.len()));
    assert_eq!(output.stats().unwrap().dropped(), 0);
}

/// Many frames, an epoch every few milliseconds, several in flight.
pub(crate) fn many_frames(rig: &Rig, output: Arc<dyn OutputCommit>, frames: u64) -> Verdict {
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(rig, Epoch(0));
    let done = Arc::new(AtomicBool::new(false));
    let session = {
        let (guest, done) = (Arc::clone(&guest), Arc::clone(&done));
        std::thread::spawn(move || session(&guest, &*output, &done))
    };
    for sequence in 0..frames {
        guest.send(sequence);
        // A veth drops what comes faster than its host's processors can take it; this is not its test.
        if sequence % 64 == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    let_pass();
    done.store(true, Ordering::Release);
    let acks = session.join().unwrap();
    Verdict::of(&capture.finish(), &acks, frames)
}

const INTERVAL: Duration = Duration::from_millis(5);
const ACK_TIME: Duration = Duration::from_millis(12);

/// Cuts every interval and believes each ack a little later; in the end all is acked.
fn session(guest: &Guest, output: &dyn OutputCommit, done: &AtomicBool) -> AckLog {
    let mut acks = AckLog::default();
    let mut in_flight = VecDeque::new();
    let mut last_rounds = 4;
    while last_rounds > 0 {
        if done.load(Ordering::Acquire) && in_flight.is_empty() {
            last_rounds -= 1;
        }
        in_flight.push_back((guest.checkpoint(output), Instant::now()));
        std::thread::sleep(INTERVAL);
        let over = done.load(Ordering::Acquire);
        while in_flight.front().is_some_and(|(_, cut)| over || cut.elapsed() >= ACK_TIME) {
            let (epoch, _) = in_flight.pop_front().unwrap();
            acks.ack(epoch);
            output.release(epoch).unwrap();
        }
    }
    acks
}

/// Runs a session in the background until dropped: for tests that speak real protocols.
pub(crate) struct Background {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<AckLog>>,
}

impl Background {
    pub(crate) fn start(rig: &Rig, output: Arc<dyn OutputCommit>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let guest = Guest::new(rig, Epoch(0));
        let thread = std::thread::spawn(move || session(&guest, &*output, &told));
        Self { done, thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(ended.is_some_and(|result| result.is_ok()) || std::thread::panicking());
    }
}

/// TCP both ways, by IPv4 and IPv6, with neighbours found and super-packets cut on the way: all that a guest
/// needs to work behind a session. Returns the longest frame that came out.
pub(crate) fn real_traffic(rig: &Rig, output: Arc<dyn OutputCommit>) -> usize {
    let capture = Capture::start(&rig.outside);
    let session = Background::start(rig, output);
    for host in ["10.9.0.1", "fd00:9::1"] {
        udp_echo(rig, host);
        let server = rig.outside.run(move || TcpListener::bind((host, 7000)).unwrap());
        let outside = rig.outside.spawn(move || both_ways(server.accept().unwrap().0, 1));
        let guest = rig.guest.spawn(move || both_ways(TcpStream::connect((host, 7000)).unwrap(), 2));
        assert_eq!((outside.join().unwrap(), guest.join().unwrap()), (digest(2), digest(1)));
    }
    drop(session);
    let from_guest = capture.finish().into_iter().filter(|seen| seen.from_guest);
    from_guest.map(|seen| seen.bytes).max().unwrap()
}

const STREAM_BYTES: usize = 8 << 20;

/// Byte `index` of the stream that `seed` sends.
fn content(seed: u64, index: usize) -> u8 {
    ((index as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8
}

fn digest(seed: u64) -> u64 {
    (0..STREAM_BYTES).fold(seed, |hash, index| mix(hash, content(seed, index)))
}

fn mix(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// Sends `seed`'s stream, takes the peer's in meanwhile, and gives what its digest should be.
fn both_ways(stream: TcpStream, seed: u64) -> u64 {
    let mut out = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..STREAM_BYTES).map(|index| content(seed, index)).collect();
        out.write_all(&bytes).unwrap();
        out.shutdown(Shutdown::Write).unwrap();
    });
    let mut bytes = Vec::new();
    (&stream).read_to_end(&mut bytes).unwrap();
    sending.join().unwrap();
    bytes.into_iter().fold(3 - seed, mix)
}

fn udp_echo(rig: &Rig, host: &'static str) {
    let far = rig.outside.run(move || UdpSocket::bind((host, 7001)).unwrap());
    let near = rig
        .guest
        .run(move || UdpSocket::bind((if host.contains(':') { "::" } else { "0.0.0.0" }, 0)).unwrap());
    let patience = Some(Duration::from_secs(5));
    far.set_read_timeout(patience).unwrap();
    near.set_read_timeout(patience).unwrap();
    let mut buffer = [0; 1400];
    for round in 0..20u8 {
        near.send_to(&[round; 1400], (host, 7001)).unwrap();
        let (bytes, from) = retried(|| far.recv_from(&mut buffer));
        far.send_to(&buffer[..bytes], from).unwrap();
        assert_eq!((retried(|| near.recv(&mut buffer)), buffer), (1400, [round; 1400]));
    }
}

/// A read with a time limit is interrupted when the machine is frozen for a moment.
fn retried<T>(mut call: impl FnMut() -> std::io::Result<T>) -> T {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            result => return result.unwrap(),
        }
    }
}

/// Output that releases each epoch as soon as it is cut, as stock Remus does after its local write.
pub(crate) struct ReleasesEarly<T>(pub(crate) T);

impl<T: OutputCommit> OutputCommit for ReleasesEarly<T> {
    fn cut(&self, epoch: Epoch) -> Result<(), KernelError> {
        self.0.cut(epoch)?;
        self.0.release(epoch)
    }

    fn release(&self, through: Epoch) -> Result<(), KernelError> {
        self.0.release(through)
    }

    fn pass(&self) -> Result<(), KernelError> {
        self.0.pass()
    }

    fn fence(&self) -> Result<(), KernelError> {
        self.0.fence()
    }

    fn take_pressure(&self) -> bool {
        self.0.take_pressure()
    }

    fn stats(&self) -> Result<KernelStats, KernelError> {
        self.0.stats()
    }
}

/// The host's network is as it was, soon: a tap goes with the last descriptor of it, and a process that another test
/// forks has one until it executes its program.
pub(crate) fn nothing_is_left(before: &str) {
    let begun = Instant::now();
    while inventory() != before && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(inventory(), before);
}

/// No tap is left, soon.
pub(crate) fn no_tap_is_left() {
    let begun = Instant::now();
    while inventory().contains("us-") && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!inventory().contains("us-"));
}

/// Whatever the guest sends is held.
pub(crate) fn no_frame_leaves(rig: &Rig, output: &dyn OutputCommit) {
    let guest = Guest::new(rig, Epoch(0));
    guest.send_until_held(output);
    let capture = Capture::start(&rig.outside);
    (0..20).for_each(|sequence| guest.send(sequence));
    assert_eq!(capture.finish().iter().filter(|seen| seen.told.is_some()).count(), 0);
}
