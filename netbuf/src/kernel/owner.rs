//! The process that owns a redirect, identified by process number and start time, because numbers are used again.
//!
//! ```text
//!   cookie of a redirect  | "usdy" | pid u32 | start time u64 |       host's order, 16 bytes
//! ```

use super::netlink::filter::COOKIE_BYTES;
use std::io;

const MAGIC: &[u8; 4] = b"usdy";

/// A process, identified by number and start time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    pub(super) pid: u32,
    /// Clock ticks from the host's start to the process's start (field 22 of stat in proc(5)).
    start_ticks: u64,
}

impl Owner {
    /// This process.
    pub(super) fn this_process() -> io::Result<Self> {
        let pid = std::process::id();
        let start_ticks = start_in(stat_of(pid))?.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether the process still runs. An error means that this is not known.
    pub(super) fn runs(&self) -> io::Result<bool> {
        self.runs_by(stat_of(self.pid))
    }

    fn runs_by(&self, stat: io::Result<String>) -> io::Result<bool> {
        Ok(start_in(stat)? == Some(self.start_ticks))
    }

    pub(super) fn cookie(&self) -> [u8; COOKIE_BYTES] {
        let mut cookie = [0; COOKIE_BYTES];
        cookie[..4].copy_from_slice(MAGIC);
        cookie[4..8].copy_from_slice(&self.pid.to_ne_bytes());
        cookie[8..].copy_from_slice(&self.start_ticks.to_ne_bytes());
        cookie
    }

    pub(super) fn from_cookie(cookie: &[u8; COOKIE_BYTES]) -> Option<Self> {
        let (magic, rest) = cookie.split_first_chunk::<4>()?;
        let (pid, start) = rest.split_first_chunk::<4>()?;
        let start_ticks = u64::from_ne_bytes(start.try_into().ok()?);
        (magic == MAGIC).then_some(Self { pid: u32::from_ne_bytes(*pid), start_ticks })
    }
}

fn stat_of(pid: u32) -> io::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
}

/// The start time of a process in its stat file; `None` if there is no such process.
fn start_in(stat: io::Result<String>) -> io::Result<Option<u64>> {
    let stat = match stat {
        // It ended before the file was opened, or while it was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => return Ok(None),
        stat => stat?,
    };
    // The second field is the command in parentheses and may hold anything; state is the third.
    let after_command = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_command.split_whitespace();
    match fields.next() {
        None => Err(io::ErrorKind::InvalidData.into()),
        // A dead process that nobody has waited for holds nothing.
        Some("Z" | "X") => Ok(None),
        Some(_) => {
            let start = fields.nth(18).and_then(|field| field.parse().ok());
            start.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_its_cookie() {
        let owner = Owner::this_process().unwrap();
        assert_eq!(Owner::from_cookie(&owner.cookie()), Some(owner));
        assert!(owner.runs().unwrap());
        assert_eq!(Owner::from_cookie(&[0; 16]), None);
    }

    #[test]
    fn a_number_used_again_is_someone_else() {
        let owner = Owner::this_process().unwrap();
        assert!(!Owner { start_ticks: owner.start_ticks + 1, ..owner }.runs().unwrap());
    }

    #[test]
    fn a_process_that_cannot_be_looked_at_is_not_taken_for_dead() {
        let owner = Owner::this_process().unwrap();
        for no_answer in [nix::libc::EMFILE, nix::libc::ENFILE, nix::libc::EACCES, nix::libc::ENOMEM] {
            owner.runs_by(Err(io::Error::from_raw_os_error(no_answer))).unwrap_err();
        }
        for damaged in ["", "7 (x)", "7 (x) S 1 2", "7 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"]
        {
            owner.runs_by(Ok(damaged.into())).unwrap_err();
        }
        for gone in [nix::libc::ENOENT, nix::libc::ESRCH] {
            assert!(!owner.runs_by(Err(io::Error::from_raw_os_error(gone))).unwrap());
        }
        assert!(!owner.runs_by(Ok("7 (a) b) Z 1 2".into())).unwrap());
    }
}
