//! The guest's network card: a bounded ring of frames that arrived, a port for frames that leave.
//!
//! ```text
//!   inject ─► [ ring, RING_FRAMES ] ─► guest ─► Port::transmit
//!                full: dropped and counted
//! ```
//!
//! What is in the ring has not reached the guest: it is no part of a checkpoint and is lost with the host, as
//! frames on a wire are.

use crate::wire::{ETHERNET_BYTES, FRAME_BYTES_MAX};
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{AtomicU64, Ordering};

/// Frames the ring holds: some milliseconds of traffic, as long as a pause may take.
pub const RING_FRAMES: usize = 1024;

/// Where a guest's frames go.
///
/// Called on the vCPU's thread while the guest is locked: it must not block for long, must call nothing of the
/// guest's [`LabGuest`](crate::LabGuest) but [`inject`](crate::LabGuest::inject), and a lock that it takes must
/// not be held by anyone who suspends, pauses or stops the guest.
pub trait Port: Send + Sync {
    /// Takes a frame.
    fn transmit(&self, frame: &[u8]);
}

/// The receiving side.
#[derive(Debug)]
pub(crate) struct Ring {
    frames: ArrayQueue<Box<[u8]>>,
    dropped: AtomicU64,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self { frames: ArrayQueue::new(RING_FRAMES), dropped: AtomicU64::new(0) }
    }

    /// Takes a frame in; `false` if it was dropped: the ring is full, or no frame has this length.
    pub(crate) fn push(&self, frame: &[u8]) -> bool {
        let taken = (ETHERNET_BYTES..=FRAME_BYTES_MAX).contains(&frame.len())
            && self.frames.push(frame.into()).is_ok();
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    pub(crate) fn pop(&self) -> Option<Box<[u8]>> {
        self.frames.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
