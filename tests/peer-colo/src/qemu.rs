//! QEMU without a guest, as a black box: `colo-compare` and `filter-rewriter` behind sockets.
//!
//! ```text
//!   pri ─►┌──────────────┐              client ─► red0 ─►┌──────────┐─► red2 ─► guest
//!   sec ─►│ colo-compare │─► out                         │ rewriter │
//!  note ◄─►└──────────────┘             compare ◄─ red1 ◄─└──────────┘◄─ red3 ◄─ guest
//! ```

use crate::frames::{self, framed};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long QEMU may take to open its sockets, on a machine that is busy.
const START_MAX: Duration = Duration::from_secs(30);

/// A process that ends with its owner.
pub(crate) struct Process {
    child: Child,
    pub(crate) directory: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command, directory: TempDir) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
        Ok(Self { child, directory })
    }

    pub(crate) fn connect(&mut self, name: &str) -> io::Result<UnixStream> {
        let path = self.directory.path().join(name);
        let until = Instant::now() + START_MAX;
        loop {
            match UnixStream::connect(&path) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > until || self.child.try_wait()?.is_some() => {
                    return Err(error);
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Processor time that the process has used.
    pub(crate) fn processor_time(&self) -> io::Result<Duration> {
        let mut total = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            total += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(total))
    }
}

/// Whether QEMU is installed; else why not.
pub(crate) fn find() -> Result<String, String> {
    let name = std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-x86_64".into());
    match Command::new(&name).arg("--version").output() {
        Ok(said) => Ok(String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default().to_owned()),
        Err(error) => Err(format!("{name} cannot be run ({error}): apt-get install qemu-system-x86")),
    }
}

fn command() -> Command {
    let mut command = Command::new(std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-x86_64".into()));
    command.args(["-nodefaults", "-display", "none"]);
    command
}

fn socket(directory: &Path, name: &str) -> [String; 2] {
    let path = directory.join(name);
    ["-chardev".into(), format!("socket,id={name},path={},server=on,wait=off", path.display())]
}

/// `colo-compare`, with its sockets.
pub(crate) struct Compare {
    pub(crate) process: Process,
    pub(crate) primary: UnixStream,
    pub(crate) secondary: UnixStream,
    pub(crate) out: UnixStream,
    pub(crate) note: UnixStream,
}

impl Compare {
    /// `more`: properties of the object, each behind a comma.
    pub(crate) fn start(more: &str) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = command();
        command.args(["-M", "none", "-S"]);
        for name in ["pri", "sec", "out", "note"] {
            command.args(socket(directory.path(), name));
        }
        command.args(["-object", "iothread,id=io", "-object"]);
        command.arg(format!(
            "colo-compare,id=c0,primary_in=pri,secondary_in=sec,outdev=out,iothread=io,notify_dev=note{more}"
        ));
        let mut process = Process::start(&mut command, directory)?;
        let primary = process.connect("pri")?;
        let secondary = process.connect("sec")?;
        let out = process.connect("out")?;
        let note = process.connect("note")?;
        let mut compare = Self { process, primary, secondary, out, note };
        compare.warm_up()?;
        Ok(compare)
    }

    /// It opens its sockets before it serves them, and loses what comes in between. IPv6 passes it.
    fn warm_up(&mut self) -> io::Result<()> {
        let until = Instant::now() + START_MAX;
        while Instant::now() < until {
            self.primary(&frames::ipv6(b"warm"))?;
            if !self.answers(Duration::from_millis(20))?.0.is_empty() {
                self.answers(Duration::from_millis(50))?;
                return Ok(());
            }
        }
        Err(io::Error::other("QEMU's colo-compare passes nothing"))
    }

    pub(crate) fn primary(&mut self, frame: &[u8]) -> io::Result<()> {
        self.primary.write_all(&framed(frame))
    }

    pub(crate) fn secondary(&mut self, frame: &[u8]) -> io::Result<()> {
        self.secondary.write_all(&framed(frame))
    }

    /// Tells it that a checkpoint was made.
    pub(crate) fn checkpoint(&mut self) -> io::Result<()> {
        self.note.write_all(&framed(b"COLO_CHECKPOINT"))
    }

    /// The frames that came out, and how often it asked for a checkpoint, until it is silent for `quiet`.
    pub(crate) fn answers(&mut self, quiet: Duration) -> io::Result<(Vec<Vec<u8>>, usize)> {
        let left = frames_until_silent(&mut self.out, quiet)?;
        Ok((left, frames_until_silent(&mut self.note, Duration::from_millis(5))?.len()))
    }
}

fn frames_until_silent(stream: &mut UnixStream, quiet: Duration) -> io::Result<Vec<Vec<u8>>> {
    stream.set_read_timeout(Some(quiet))?;
    let mut frames = Vec::new();
    loop {
        match read_frame(stream) {
            Ok(frame) => frames.push(frame),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(frames);
            }
            Err(error) => return Err(error),
        }
    }
}

fn read_frame(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// `filter-rewriter` of a machine that has nothing else, with its sockets.
pub(crate) struct Rewriter {
    _process: Process,
    from_client: UnixStream,
    to_compare: UnixStream,
    to_guest: UnixStream,
    from_guest: UnixStream,
    control: UnixStream,
}

impl Rewriter {
    pub(crate) fn start() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = command();
        command.args(["-M", "pc,accel=tcg", "-m", "16", "-vga", "none"]);
        let network = directory.path().join("net");
        let qmp = directory.path().join("qmp");
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", qmp.display()));
        command
            .arg("-netdev")
            .arg(format!("stream,id=hn0,server=on,addr.type=unix,addr.path={}", network.display()));
        command.args(["-device", "rtl8139,netdev=hn0,romfile="]);
        for name in ["red0", "red1", "red2", "red3"] {
            command.args(socket(directory.path(), name));
        }
        for filter in [
            "filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0",
            "filter-redirector,id=f2,netdev=hn0,queue=rx,outdev=red1",
            "filter-rewriter,id=rew0,netdev=hn0,queue=all",
            "filter-redirector,id=f3,netdev=hn0,queue=tx,outdev=red2",
            "filter-redirector,id=f4,netdev=hn0,queue=rx,indev=red3",
        ] {
            command.args(["-object", filter]);
        }
        let mut process = Process::start(&mut command, directory)?;
        let from_client = process.connect("red0")?;
        let to_compare = process.connect("red1")?;
        let to_guest = process.connect("red2")?;
        let from_guest = process.connect("red3")?;
        let control = process.connect("qmp")?;
        let mut rewriter = Self { _process: process, from_client, to_compare, to_guest, from_guest, control };
        rewriter.say("")?;
        rewriter.say(r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(rewriter)
    }

    fn say(&mut self, words: &str) -> io::Result<()> {
        self.control.write_all(words.as_bytes())?;
        self.control.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" {
            self.control.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        match line.windows(7).any(|part| part == b"\"error\"") {
            true => Err(io::Error::other(String::from_utf8_lossy(&line).into_owned())),
            false => Ok(()),
        }
    }

    /// The copy was set to the primary's state.
    pub(crate) fn checkpoint(&mut self) -> io::Result<()> {
        self.say(r#"{"execute":"xen-colo-do-checkpoint"}"#)
    }

    /// What the guest gets of a client's frame; `None`: nothing within a second.
    pub(crate) fn input(&mut self, frame: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.from_client.write_all(&framed(frame))?;
        next_frame(&mut self.to_guest)
    }

    /// What the comparison gets of a guest's frame.
    pub(crate) fn output(&mut self, frame: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.from_guest.write_all(&framed(frame))?;
        next_frame(&mut self.to_compare)
    }
}

fn next_frame(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    match read_frame(stream) {
        Ok(frame) => Ok(Some(frame)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}
