//! The loop's time, and the timer that wakes it to the nanosecond.
//!
//! Polling itself waits in whole milliseconds, which is coarser than a short checkpoint interval; so the timer
//! is a file descriptor among the others.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as Clocks, clock_gettime};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};
use understudy_session::Time;

/// The latest that the kernel's clock counts to, in nanoseconds: 292 years.
const LATEST_NS: u64 = i64::MAX as u64;

/// The time at this moment of a node that began when `CLOCK_MONOTONIC` said this.
pub(super) fn monotonic_now(start_ns: u64) -> Time {
    // The clock cannot fail: it is there since before this program was written.
    let now =
        clock_gettime(Clocks::CLOCK_MONOTONIC).map_or(u64::MAX, |now| Duration::from(now).as_nanos() as u64);
    Time(now.saturating_sub(start_ns))
}

/// Nanoseconds since the node's start.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    start_ns: u64,
    timer: TimerFd,
    armed: Option<Time>,
}

impl Clock {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        let monotonic = clock_gettime(Clocks::CLOCK_MONOTONIC)?;
        let start_ns = Duration::from(monotonic).as_nanos() as u64;
        Ok(Self { start: Instant::now(), start_ns, timer, armed: None })
    }

    pub(super) fn now(&self) -> Time {
        Time(self.start.elapsed().as_nanos() as u64)
    }

    /// What `CLOCK_MONOTONIC` said at the start, in nanoseconds.
    pub(super) fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Wakes the loop at `at`; at once if that time has passed.
    pub(super) fn wake_at(&mut self, at: Option<Time>) -> io::Result<()> {
        let Some(at) = at.filter(|at| self.armed.is_none_or(|armed| *at < armed)) else {
            return Ok(());
        };
        let absolute = TimeSpec::from_duration(Duration::from_nanos(
            self.start_ns.saturating_add(at.0).clamp(1, LATEST_NS),
        ));
        self.timer.set(Expiration::OneShot(absolute), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        self.armed = Some(at);
        Ok(())
    }

    /// The timer has woken the loop.
    pub(super) fn rang(&mut self) -> io::Result<()> {
        self.armed = None;
        match self.timer.wait() {
            Ok(()) | Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
