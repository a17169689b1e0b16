//! File descriptors: a process has a limited number, and strangers must not take those that its guests need.
//!
//! ```text
//!   0 ........................ limit − reserve ............ limit
//!   everybody                 strangers take turns: one at a time at each listener
//! ```
//!
//! The kernel assigns the lowest free number, so the number of a new descriptor tells how many are in use. The reserve
//! is for a takeover, which opens devices, and for a witness, which opens the record that it writes.
//!
//! Not here: how many connections are accepted while there is no shortage (`node/links.rs`, `witness/daemon.rs`,
//! `request_server`).

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A higher limit would make some programs slow, and no process of this program needs more.
const LIMIT_MAX: u64 = 65_536;

/// More than what a takeover of several guests at once opens.
const RESERVE_MAX: u64 = 64;

/// Raises the limit of this process to what it is allowed. Shells and service managers set a low limit for programs
/// that cannot handle large numbers.
pub fn raise_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = hard.min(LIMIT_MAX);
    if soft < wanted
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    {
        tracing::warn!(%error, soft, wanted, "The limit of open files cannot be raised");
    }
}

/// Whether the descriptors up to this new one leave less than the reserve.
pub fn is_scarce(newest: &impl AsFd) -> bool {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    is_within_reserve(newest.as_fd().as_raw_fd() as u64, limit)
}

fn is_within_reserve(number: u64, limit: u64) -> bool {
    number >= limit - (limit / 2).min(RESERVE_MAX)
}

/// Whether the system has no descriptor left, for this process or at all.
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_back_and_never_more_than_half() {
        assert!(!is_within_reserve(959, 1024) && is_within_reserve(960, 1024));
        assert!(!is_within_reserve(19, 40) && is_within_reserve(20, 40));
        assert!(!is_within_reserve(1_000_000, u64::MAX));
    }
}
