//! [`LabWatchdog`]: what Xen's watchdog is to a host of the lab, whose guests live in the engine. A process of its own kills the
//! engine, also one that hangs, unless it is told anew in time.
//!
//! ```text
//!   engine ── "5\n" on a pipe ──► understudy lab-watchdog ── 5 s ──► SIGKILL to the engine and its process group
//!     └─ gone: the pipe ends, and so does the process: the host is down already
//! ```

use crate::child::PARENT_VARIABLE;
use crate::guest::machine::HostError;
use crate::guest::watchdog::Watchdog;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getppid};
use std::io::{self, Read, Write};
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// The subcommand of the process.
const LAB_WATCHDOG: &str = "lab-watchdog";

/// The timer of a host of the lab.
#[derive(Default, Debug)]
pub(super) struct LabWatchdog {
    process: Option<(Child, ChildStdin)>,
}

impl LabWatchdog {
    fn say(&mut self, seconds: u32) -> Result<(), HostError> {
        if self.process.is_none() {
            let mut child = Command::new(std::env::current_exe()?)
                .arg(LAB_WATCHDOG)
                .arg(std::process::id().to_string())
                .env_remove(PARENT_VARIABLE)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()?;
            let pipe = child.stdin.take().ok_or_else(|| io::Error::other("it has no pipe"))?;
            self.process = Some((child, pipe));
        }
        let Some((_, pipe)) = &mut self.process else { return Ok(()) };
        pipe.write_all(format!("{seconds}\n").as_bytes())?;
        Ok(())
    }
}

impl Watchdog for LabWatchdog {
    fn set(&mut self, seconds: NonZeroU32) -> Result<(), HostError> {
        self.say(seconds.get())
    }

    fn disarm(&mut self) -> Result<(), HostError> {
        if self.process.is_some() { self.say(0) } else { Ok(()) }
    }
}

impl Drop for LabWatchdog {
    fn drop(&mut self) {
        if let Some((mut child, pipe)) = self.process.take() {
            drop(pipe);
            let _ = child.wait();
        }
    }
}

/// The process: kills its parent unless it is told anew in time.
pub fn watch(engine: i32) -> io::Result<()> {
    let (engine, mut input) = (Pid::from_raw(engine), io::stdin());
    if getppid() != engine || engine.as_raw() <= 1 {
        return Err(io::Error::other("the engine that started it is gone"));
    }
    let (mut deadline, mut line) = (None::<Instant>, 0u32);
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            let is_leader = getpgid(Some(engine)).is_ok_and(|group| group == engine);
            let victim = if is_leader { Pid::from_raw(-engine.as_raw()) } else { engine };
            return Ok(kill(victim, Signal::SIGKILL)?);
        }
        let wait = match left {
            Some(left) => PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, wait)? == 0 {
            continue;
        }
        let mut bytes = [0; 64];
        let count = input.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        for byte in &bytes[..count] {
            match byte {
                b'\n' => {
                    let seconds = Duration::from_secs(u64::from(std::mem::take(&mut line)));
                    deadline = (seconds > Duration::ZERO).then(|| Instant::now() + seconds);
                }
                digit => {
                    line = line.saturating_mul(10).saturating_add(u32::from(digit.wrapping_sub(b'0') % 10))
                }
            }
        }
    }
}
