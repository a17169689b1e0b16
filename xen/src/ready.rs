//! Waiting for a descriptor, until a deadline.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Waits until `descriptor` is `ready`. Returns `false` if it was not by `deadline`; without one it waits for ever.
pub(crate) fn wait_ready(
    descriptor: &impl AsFd,
    ready: PollFlags,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut descriptors = [PollFd::new(descriptor.as_fd(), ready)];
        match poll(&mut descriptors, left.map_or(PollTimeout::NONE, timeout)) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whole milliseconds for poll: rounded up, so as not to spin, and limited to what poll accepts.
fn timeout(left: Duration) -> PollTimeout {
    let milliseconds = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}
