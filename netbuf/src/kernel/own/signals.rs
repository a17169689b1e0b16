//! How the threads of an own queue are woken, stopped, and report to the caller.
//!
//! ```text
//!   cut, release, … ──ring──► sender       guard ──ring──► reader, sender      reader, guard ──► alarm (the caller's)
//!   drop, detach ───stop────► reader, sender
//! ```
//!
//! Not here: the guard's own bell, which lives with the [`Guard`](super::guard::Guard).

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fmt::{self, Debug, Formatter};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes one thread. Rings before the thread listens are not lost; several count as one.
#[derive(Debug)]
pub(super) struct Bell(EventFd);

impl Bell {
    /// A bell whose [`clear`](Self::clear) returns at once, for a thread that polls.
    pub(super) fn to_poll() -> io::Result<Self> {
        Self::new(EfdFlags::EFD_NONBLOCK)
    }

    /// A bell whose [`clear`](Self::clear) blocks until it rings.
    fn to_wait() -> io::Result<Self> {
        Self::new(EfdFlags::empty())
    }

    fn new(flags: EfdFlags) -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | flags)?))
    }

    pub(super) fn ring(&self) {
        // Refused only if it has rung 2^64 times unheard.
        let _ = self.0.write(1);
    }

    pub(super) fn clear(&self) {
        let _ = self.0.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(super) struct Signals {
    /// Wakes the reader: a tap was replaced, or the queue stops.
    pub(super) reader: Bell,
    /// Wakes the sender: frames may leave, or the queue stops.
    pub(super) sender: Bell,
    alarm: OnceLock<Box<dyn Fn() + Send + Sync>>,
    is_stopped: AtomicBool,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            reader: Bell::to_poll()?,
            sender: Bell::to_wait()?,
            alarm: OnceLock::new(),
            is_stopped: AtomicBool::new(false),
        })
    }

    /// Sets the callback of [`alarm`](Self::alarm). Later calls have no effect.
    pub(super) fn set_alarm(&self, alarm: impl Fn() + Send + Sync + 'static) {
        let _ = self.alarm.set(Box::new(alarm));
    }

    /// Calls the caller back: an interface nears a limit, output waits, or a fault was found.
    pub(super) fn alarm(&self) {
        if let Some(alarm) = self.alarm.get() {
            alarm();
        }
    }

    /// Tells reader and sender to stop.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.reader.ring();
        self.sender.ring();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }
}

impl Debug for Signals {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").field("is_stopped", &self.is_stopped).finish_non_exhaustive()
    }
}
