//! What wakes the event loop from other threads. Not here: what they have to say ([`report`](super::report)).

use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes the event loop, once for any number of calls until it answers.
#[derive(Clone, Debug)]
pub struct LoopWaker(Arc<(AtomicBool, Option<Waker>)>);

impl LoopWaker {
    /// Wakes the poll that `waker` belongs to.
    pub fn new(waker: Waker) -> Self {
        Self(Arc::new((AtomicBool::new(false), Some(waker))))
    }

    /// Wakes nobody, for a loop that looks by itself.
    pub fn silent() -> Self {
        Self(Arc::new((AtomicBool::new(false), None)))
    }

    /// Wakes the loop unless it was already woken and has not answered yet.
    pub fn wake(&self) {
        if !self.0.0.swap(true, Ordering::AcqRel)
            && let Some(waker) = &self.0.1
            && let Err(error) = waker.wake()
        {
            tracing::error!(%error, "The event loop cannot be woken");
        }
    }

    /// The loop says: I am awake. A call after this wakes it again, so it looks at everything after.
    pub fn answer(&self) {
        self.0.0.swap(false, Ordering::AcqRel);
    }
}
