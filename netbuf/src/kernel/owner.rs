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
        let start_ticks = start_ticks(pid)?.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether the process still runs.
    pub(super) fn runs(&self) -> bool {
        start_ticks(self.pid).is_ok_and(|start| start == Some(self.start_ticks))
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

/// The start time of a process; `None` if its stat file cannot be parsed.
fn start_ticks(pid: u32) -> io::Result<Option<u64>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the command in parentheses and may hold anything; state is the third.
    let after_command = stat.rsplit_once(')').map(|(_, rest)| rest);
    let mut fields = after_command.unwrap_or_default().split_whitespace();
    // A dead process that nobody has waited for holds nothing.
    let lives = fields.next().is_some_and(|state| state != "Z" && state != "X");
    Ok(if lives { fields.nth(18).and_then(|field| field.parse().ok()) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_its_cookie() {
        let owner = Owner::this_process().unwrap();
        assert_eq!(Owner::from_cookie(&owner.cookie()), Some(owner));
        assert!(owner.runs());
        assert_eq!(Owner::from_cookie(&[0; 16]), None);
    }

    #[test]
    fn a_number_used_again_is_someone_else() {
        let owner = Owner::this_process().unwrap();
        assert!(!Owner { start_ticks: owner.start_ticks + 1, ..owner }.runs());
    }
}
