//! libxl builds the standby domain: one `xl restore -p`, which our save helper holds up until the guest's memory has
//! arrived.
//!
//! ```text
//!   engine ──spawns──► xl restore -p ──LIBXL_SAVE_HELPER──► this program, --restore-domain … ([`stand_by`])
//!     │ stdin: heads, static data, END                        │
//!     │ ◄── socket: domain, rings ────────────────────────────┤  static data are set, the domain is empty
//!     │     … a full sync fills it …                          │
//!     ├──── socket: frames of the rings ─────────────────────►┤  libxl: store and console introduced
//!     │ stdin: libxl's records, END                           ┘         devices plugged in, xl ends
//! ```

use super::StandbyError;
use crate::DomId;
use crate::restore::{RingFrames, Rings};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::stream::{libxc, libxl, write_head};

/// Tells the helper to wait for an engine; the value is the path of the engine's socket.
pub const STANDBY_VARIABLE: &str = "UNDERSTUDY_STANDING";

/// Longest wait for xl to make an empty domain. It waits for other xl processes.
const MAKE_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The longest line on the socket.
const LINE_BYTES_MAX: u64 = 1024;

/// The helper's message to the engine: the domain that libxl has made, and its ports.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) domain: DomId,
    #[serde(flatten)]
    pub(super) rings: Rings,
}

/// How far libxl has come.
pub(super) enum Build {
    /// The save helper waits for the frames of the rings.
    Waiting(Box<Waiting>),
    /// libxl does the rest.
    Completing(JoinHandle<Result<(), Incomplete>>),
    /// The domain is complete.
    Complete,
    /// libxl failed.
    Failed(String),
}

/// Why libxl did not complete a domain.
#[derive(thiserror::Error, Debug)]
pub(super) enum Incomplete {
    #[error(transparent)]
    Lost(#[from] std::io::Error),
    /// libxl's own words.
    #[error("{0}")]
    Refused(String),
    #[error("{written}; xl said: {said}")]
    CutOff { written: std::io::Error, said: String },
}

pub(super) struct Waiting {
    xl: Child,
    input: ChildStdin,
    helper: UnixStream,
}

impl Build {
    /// Starts xl. When this returns, the domain exists and is empty.
    pub(super) fn start(name: &str, what: &Description) -> Result<(Self, Made), StandbyError> {
        let failed = |what: &str, error: std::io::Error| StandbyError::Build(format!("{what}: {error}"));
        // By this name libxl finds this very program also after an update has replaced its file.
        let helper = format!("/proc/{}/exe", std::process::id());
        let meeting = Meeting::open().map_err(|error| failed("no socket in /run", error))?;
        let mut xl = Command::new("xl")
            .args(["restore", "-p", "/proc/self/fd/0"])
            .env("LIBXL_SAVE_HELPER", helper)
            .env(STANDBY_VARIABLE, &meeting.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed("xl cannot be run", error))?;
        let mut input = xl.stdin.take().expect("it was asked to be piped");
        // xl may have ended: its own words say more than a broken pipe.
        let _ = input.write_all(&head(name, what)?);
        let met = meeting.wait(&mut xl).and_then(|helper| Ok((read_line(&helper)?, helper)));
        match met {
            Ok((made, helper)) => Ok((Self::Waiting(Box::new(Waiting { xl, input, helper })), made)),
            Err(error) => {
                drop(input);
                let _ = xl.kill();
                let said = xl.wait_with_output().map(|output| words(&output)).unwrap_or_default();
                Err(StandbyError::Build(format!("{error}; xl said: {said}")))
            }
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }

    /// Whether libxl is at it.
    pub(super) fn is_completing(&self) -> bool {
        matches!(self, Self::Completing(_))
    }

    /// Waits until libxl has completed the domain or failed, at most `time_max`.
    pub(super) fn await_end(&self, time_max: Duration) {
        let begun = Instant::now();
        while let Self::Completing(thread) = self
            && !thread.is_finished()
            && begun.elapsed() < time_max
        {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Lets libxl complete the domain, in a thread.
    pub(super) fn complete(&mut self, frames: RingFrames, libxl_records: &[u8]) -> Result<(), StandbyError> {
        let Self::Waiting(waiting) = std::mem::replace(self, Self::Failed("it was not waiting".into()))
        else {
            return Ok(());
        };
        let Waiting { xl, mut input, helper } = *waiting;
        let mut rest = libxl_records.to_vec();
        libxl::Record::End.write(&mut rest);
        let complete = move || {
            let written = write_line(&helper, &frames).and_then(|()| input.write_all(&rest));
            drop(input);
            let output = xl.wait_with_output()?;
            match (output.status.success(), written) {
                (true, _) => Ok(()),
                (false, Ok(())) => Err(Incomplete::Refused(words(&output))),
                (false, Err(written)) => Err(Incomplete::CutOff { written, said: words(&output) }),
            }
        };
        let thread = std::thread::Builder::new().name("standing".into()).spawn(complete);
        *self = Self::Completing(thread.map_err(|error| StandbyError::Build(error.to_string()))?);
        Ok(())
    }

    /// Why libxl failed to complete the domain, if it is known. Does not wait.
    pub(super) fn failure(&mut self) -> Option<String> {
        match self {
            Self::Completing(thread) if !thread.is_finished() => None,
            Self::Waiting(_) | Self::Complete => None,
            Self::Completing(_) | Self::Failed(_) => self.wait().err().map(|error| error.to_string()),
        }
    }

    /// Waits until the domain is complete.
    pub(super) fn wait(&mut self) -> Result<(), StandbyError> {
        *self = match std::mem::replace(self, Self::Failed("no image has been complete".into())) {
            Self::Completing(thread) => match thread.join() {
                Ok(Ok(())) => Self::Complete,
                Ok(Err(why)) => Self::Failed(why.to_string()),
                Err(_) => Self::Failed("its thread panicked".into()),
            },
            waiting @ Self::Waiting(_) => {
                *self = waiting;
                return Err(StandbyError::Build("no image has been complete".into()));
            }
            ended => ended,
        };
        match self {
            Self::Failed(why) => Err(StandbyError::Build(why.clone())),
            _ => Ok(()),
        }
    }

    /// Gives up the domain. Afterwards no process works on it.
    pub(super) fn end(&mut self) {
        if let Self::Waiting(waiting) = std::mem::replace(self, Self::Failed("it was ended".into())) {
            let Waiting { xl, input, helper } = *waiting;
            // The helper ends without its engine, and xl then destroys what it has made.
            drop((input, helper));
            let _ = xl.wait_with_output();
        }
    }
}

/// Everything that libxl needs to make an empty domain.
fn head(name: &str, what: &Description) -> Result<Vec<u8>, StandbyError> {
    let bad = |why: &str| StandbyError::Build(format!("the guest's configuration {why}"));
    let text = what.config.strip_suffix(&[0]).unwrap_or(&what.config);
    let mut config: serde_json::Value = serde_json::from_slice(text).map_err(|_| bad("is no JSON"))?;
    let its_name = config.pointer_mut("/c_info/name").ok_or_else(|| bad("has no name"))?;
    *its_name = name.into();
    let mut config = config.to_string().into_bytes();
    config.push(0);
    let mut head = Vec::new();
    write_head(&mut head, &Description { config, ..what.clone() });
    libxc::Record::End.write(&mut head);
    Ok(head)
}

/// The socket at which a helper finds its engine.
struct Meeting {
    path: PathBuf,
    listener: UnixListener,
}

impl Meeting {
    fn open() -> std::io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new("/run").join(format!("understudy-standing.{}.{number}", std::process::id()));
        // Left by a process of this number that died; whatever else is there is not ours.
        if std::fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket()) {
            std::fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { path, listener })
    }

    /// Waits until the helper connects, or xl gives up.
    fn wait(&self, xl: &mut Child) -> std::io::Result<UnixStream> {
        let begun = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((helper, _)) => {
                    helper.set_nonblocking(false)?;
                    return Ok(helper);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if xl.try_wait()?.is_some() {
                return Err(std::io::Error::other("xl ended before a domain was there"));
            }
            if begun.elapsed() > MAKE_MAX {
                return Err(std::io::Error::other("xl takes too long"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The helper's part: sends the domain's number and ports to the engine, and waits for the frames of its rings.
pub fn stand_by(engine: &Path, domain: DomId, rings: Rings) -> std::io::Result<RingFrames> {
    let engine = UnixStream::connect(engine)?;
    write_line(&engine, &Made { domain, rings })?;
    read_line(&engine)
}

fn write_line(mut to: &UnixStream, what: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)
}

fn read_line<T: for<'de> Deserialize<'de>>(from: &UnixStream) -> std::io::Result<T> {
    let mut line = String::new();
    BufReader::new(from.take(LINE_BYTES_MAX)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// The last lines of xl's output.
fn words(output: &Output) -> String {
    crate::xl::last_words(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completing(as_it_ends: Result<(), Incomplete>) -> Build {
        let build = Build::Completing(std::thread::spawn(|| as_it_ends));
        while let Build::Completing(thread) = &build
            && !thread.is_finished()
        {
            std::thread::yield_now();
        }
        build
    }

    #[test]
    fn a_failure_of_libxl_is_known_without_a_takeover() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let mut build = Build::Completing(std::thread::spawn(move || {
            let _ = wait.recv();
            Err(Incomplete::Refused("the bridge is missing".into()))
        }));
        assert_eq!(build.failure(), None, "libxl is at it");
        drop(go);
        while build.failure().is_none() {
            std::thread::yield_now();
        }
        assert!(build.failure().unwrap().contains("the bridge is missing"), "and stays known");
        assert!(build.wait().is_err());
    }

    #[test]
    fn a_completed_domain_has_no_failure() {
        let mut build = completing(Ok(()));
        assert_eq!(build.failure(), None);
        assert!(build.wait().is_ok());
        assert_eq!(build.failure(), None);
    }
}
