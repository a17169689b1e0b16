//! What reaches a guest from outside: frames for its network card, answers of its disk.
//!
//! ```text
//!   push … push, notify ─► [ ring ] ────┐
//!                                       ├─► vCPU, which is woken     an inlet keeps neither the guest nor its vCPU alive
//!   answer ───────────────► [ answers ] ─┘
//! ```
//!
//! The vCPU answers a frame faster than the next one is read from a socket. Woken by each, it would sleep between them, and
//! every frame would cost two context switches (28 of them in an epoch of 330 frames were seen): as with real cards, many
//! frames are one interrupt.

use crate::disk_request::{DISK_REQUESTS_MAX, DiskAnswer};
use crate::nic::Ring;
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;

/// What has arrived for a guest, and whether the guest is still there.
pub(crate) struct Arrivals {
    pub(crate) ring: Ring,
    /// Answers of the disk that the guest has not seen. One for each request under way, and for a read.
    pub(crate) answers: ArrayQueue<DiskAnswer>,
    /// The vCPU's thread has ended, for whatever reason.
    pub(crate) has_ended: AtomicBool,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self {
            ring: Ring::new(),
            answers: ArrayQueue::new(DISK_REQUESTS_MAX + 1),
            has_ended: AtomicBool::new(false),
        }
    }
}

/// A handle to a guest's network card and disk, which does not keep the guest alive.
#[derive(Clone)]
pub struct Inlet {
    arrivals: Weak<Arrivals>,
    vcpu: Thread,
}

impl Inlet {
    pub(crate) fn new(arrivals: &Arc<Arrivals>, vcpu: Thread) -> Self {
        Self { arrivals: Arc::downgrade(arrivals), vcpu }
    }

    /// As [`LabGuest::push`](crate::LabGuest::push); `None` also if the guest has ended.
    pub fn push(&self, frame: &[u8]) -> Option<u64> {
        self.arrivals.upgrade()?.ring.push_and_notify(frame, &self.vcpu)
    }

    /// As [`LabGuest::notify`](crate::LabGuest::notify).
    pub fn notify(&self) {
        self.vcpu.unpark();
    }

    /// Answers a request of the guest's disk. Each is answered once; what a guest that has ended wanted goes nowhere. Never blocks.
    pub fn answer(&self, answer: DiskAnswer) {
        if let Some(arrivals) = self.arrivals.upgrade() {
            // There is room for all that it has under way.
            let _ = arrivals.answers.push(answer);
        }
        self.vcpu.unpark();
    }

    /// The number of the next frame that is injected, if nobody else injects any; `None` if the guest has ended.
    pub fn next_number(&self) -> Option<u64> {
        self.arrivals.upgrade().map(|arrivals| arrivals.ring.pushed())
    }

    /// As [`LabGuest::frames_taken`](crate::LabGuest::frames_taken); 0 if the guest is gone.
    pub fn frames_taken(&self) -> u64 {
        self.arrivals.upgrade().map_or(0, |arrivals| arrivals.ring.popped())
    }

    /// Whether the vCPU's thread has ended. Never waits.
    pub fn has_ended(&self) -> bool {
        self.arrivals.upgrade().is_none_or(|arrivals| arrivals.has_ended.load(Ordering::Acquire))
    }
}

impl std::fmt::Debug for Inlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inlet")
    }
}
