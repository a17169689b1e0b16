//! One engine for each host: a lock that the engine of Xen guests holds while it runs, and that `doctor` takes while it
//! repairs.
//!
//! ```text
//!   /run/understudy/host.lock     locked (flock) ◄── an engine, or a repair
//!                                 "4711 56789"       who, for people
//! ```
//!
//! Two engines would attach to the same interfaces, end each other's standby domains and read each other's dirty logs.
//! The kernel releases the lock when its process ends, however it ends.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use understudy_xen::process::Process;

/// The path of the lock file.
const PATH: &str = "/run/understudy/host.lock";

/// How long a killed process may hold the lock, until the kernel has freed its memory.
const DYING_MAX: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(50);

/// The lock, held until this is dropped.
#[derive(Debug)]
pub struct HostLock {
    _file: Flock<File>,
}

/// Why the lock is not held.
#[derive(thiserror::Error, Debug)]
pub enum HostLockError {
    /// Another process holds it.
    #[error("another understudy runs on this host{} and holds {}; there is one for all guests of a host", by(.holder), path.display())]
    Held {
        /// The path of the lock.
        path: PathBuf,
        /// The holder, if the file names it.
        holder: Option<Process>,
    },
    /// The lock file cannot be opened.
    #[error("the lock of this host, {}, cannot be had: {source}", path.display())]
    Io {
        /// The path of the lock.
        path: PathBuf,
        source: io::Error,
    },
}

fn by(holder: &Option<Process>) -> String {
    holder.map_or_else(String::new, |holder| format!(" (process {})", holder.pid))
}

impl HostLock {
    /// Takes this host's lock.
    pub fn take() -> Result<Self, HostLockError> {
        Self::take_at(Path::new(PATH), DYING_MAX)
    }

    /// The process that holds it, as its file says; `None` if that process is gone, or there was none.
    pub fn holder() -> io::Result<Option<Process>> {
        let text = match std::fs::read_to_string(PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let Ok(holder) = text.trim().parse::<Process>() else { return Ok(None) };
        Ok(holder.runs()?.then_some(holder))
    }

    fn take_at(path: &Path, within_max: Duration) -> Result<Self, HostLockError> {
        let failed = |source| HostLockError::Io { path: path.into(), source };
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        // Never through a link: the file is written.
        let flags = nix::libc::O_NOFOLLOW;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).mode(0o600).custom_flags(flags);
        let mut file = options.open(path).map_err(failed)?;
        let begun = Instant::now();
        let mut locked = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => break locked,
                Err((mut held, Errno::EWOULDBLOCK)) if begun.elapsed() >= within_max => {
                    let mut text = String::new();
                    let read = (&mut held).take(64).read_to_string(&mut text);
                    let holder = read.ok().and_then(|_| text.trim().parse().ok());
                    return Err(HostLockError::Held { path: path.into(), holder });
                }
                Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                    file = again;
                    sleep(RETRY);
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
        };
        let write = |file: &mut File| {
            file.set_len(0)?;
            writeln!(file, "{}", Process::this()?)
        };
        write(&mut locked).map_err(failed)?;
        Ok(Self { _file: locked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_engine_holds_the_lock_and_a_second_learns_who() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/host.lock");
        let first = HostLock::take_at(&path, Duration::ZERO).unwrap();
        let error = HostLock::take_at(&path, Duration::ZERO).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        drop(first);
        HostLock::take_at(&path, Duration::ZERO).unwrap();
    }

    /// An engine's xl may outlive the engine. `doctor` must not mistake it for the engine.
    #[test]
    fn what_its_holder_started_does_not_hold_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.lock");
        let lock = HostLock::take_at(&path, Duration::ZERO).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        drop(lock);
        let taken = HostLock::take_at(&path, Duration::ZERO);
        child.kill().unwrap();
        child.wait().unwrap();
        taken.unwrap();
    }

    #[test]
    fn a_lock_that_cannot_be_had_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("precious");
        std::fs::write(&target, "data").unwrap();
        let link = folder.path().join("host.lock");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(HostLock::take_at(&link, Duration::ZERO), Err(HostLockError::Io { .. })));
        assert_eq!(std::fs::read(&target).unwrap(), b"data");
    }
}
