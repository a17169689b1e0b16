//! [`LoopWaker`]: wakes the event loop from other threads. Not here: their messages ([`report`](super::report)).

use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes the event loop; several calls before it answers count as one.
#[derive(Clone, Debug)]
pub struct LoopWaker(Arc<(AtomicBool, Option<Waker>)>);

impl LoopWaker {
    /// Wakes the poll that `waker` belongs to.
    pub fn new(waker: Waker) -> Self {
        Self(Arc::new((AtomicBool::new(false), Some(waker))))
    }

    /// Wakes nobody, for a loop that polls by itself.
    pub fn silent() -> Self {
        Self(Arc::new((AtomicBool::new(false), None)))
    }

    /// Wakes the loop, unless it was woken and has not answered yet.
    pub fn wake(&self) {
        if !self.0.0.swap(true, Ordering::AcqRel)
            && let Some(waker) = &self.0.1
            && let Err(error) = waker.wake()
        {
            tracing::error!(%error, "The event loop cannot be woken");
        }
    }

    /// Called by the loop when it is awake. Later calls wake it again, so it must look at everything after this.
    pub fn answer(&self) {
        self.0.0.swap(false, Ordering::AcqRel);
    }
}
