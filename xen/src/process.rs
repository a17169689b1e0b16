//! A process, named by its number and start time, so that a later process with the same number is not mistaken for it.
//! Labels of domains name processes this way.
//!
//! ```text
//!   "4711 56789"    number, clock ticks from the host's start to the process's start (field 22 of stat in proc(5))
//!   "4711"          as earlier versions wrote it: the number alone
//! ```
//!
//! Numbers are those of this process's PID namespace: all engines of a host have to run in the same one.

use std::fmt;
use std::io;
use std::str::FromStr;

/// A process of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    /// Process number (pid).
    pub pid: u32,
    start_ticks: Option<u64>,
}

/// The text does not name a process.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{0:?} names no process; it should be a number and a start time")]
pub struct NoProcess(String);

impl Process {
    /// The calling process.
    pub fn this() -> io::Result<Self> {
        let pid = std::process::id();
        let start_ticks = Some(start_of(pid)?.ok_or(io::ErrorKind::InvalidData)?);
        Ok(Self { pid, start_ticks })
    }

    /// Whether the process still runs. An error means that this is not known.
    pub fn runs(&self) -> io::Result<bool> {
        let start = match start_of(self.pid) {
            Err(error) if is_gone(&error) => return Ok(false),
            start => start?,
        };
        Ok(start.is_some() && (self.start_ticks.is_none() || start == self.start_ticks))
    }

    /// Whether it is this process.
    pub fn is_this(&self) -> bool {
        Self::this().is_ok_and(|this| this == *self)
    }
}

/// Whether the error means that there is no such process, or that it ended while it was read.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// The start time of a process; `None` if it is a zombie.
fn start_of(pid: u32) -> io::Result<Option<u64>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the command in parentheses and may hold anything; state is the third.
    let after_command = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_command.split_whitespace();
    match fields.next() {
        None => Err(io::ErrorKind::InvalidData.into()),
        Some("Z" | "X") => Ok(None),
        Some(_) => {
            let start = fields.nth(18).and_then(|field| field.parse().ok());
            start.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start_ticks {
            Some(start) => write!(f, "{} {start}", self.pid),
            None => write!(f, "{}", self.pid),
        }
    }
}

impl FromStr for Process {
    type Err = NoProcess;

    fn from_str(text: &str) -> Result<Self, NoProcess> {
        let number = |word: &str| word.parse().ok();
        let words: Vec<&str> = text.split_whitespace().collect();
        let read = match words[..] {
            [pid] => number(pid).map(|pid| (pid, None)),
            [pid, start] => number(pid).zip(number(start)).map(|(pid, start)| (pid, Some(start))),
            _ => None,
        };
        let (pid, start_ticks) = read
            .and_then(|(pid, start): (u64, _)| Some((u32::try_from(pid).ok()?, start)))
            .filter(|(pid, _)| *pid != 0)
            .ok_or_else(|| NoProcess(text.into()))?;
        Ok(Self { pid, start_ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_survives_being_written() {
        let this = Process::this().unwrap();
        let read: Process = this.to_string().parse().unwrap();
        assert!(read == this && read.is_this() && read.runs().unwrap());
        let old: Process = this.pid.to_string().parse().unwrap();
        assert!(old.runs().unwrap(), "without a start time the number has to do");
    }

    #[test]
    fn a_number_used_again_is_another_process() {
        let this = Process::this().unwrap();
        let other = Process { start_ticks: this.start_ticks.map(|start| start + 1), ..this };
        assert!(!other.runs().unwrap() && !other.is_this());
    }

    #[test]
    fn an_ended_process_does_not_run_whether_waited_for_or_not() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process: Process = child.id().to_string().parse().unwrap();
        // A zombie soon, and gone after the wait.
        while process.runs().unwrap() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!process.runs().unwrap());
    }

    #[test]
    fn nonsense_names_no_process() {
        for text in ["", "0", "-1", "x", "4294967296", "1 2 3", "1 x"] {
            assert!(text.parse::<Process>().is_err(), "{text:?}");
        }
    }
}
