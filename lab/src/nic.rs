//! The guest's network card: a bounded ring of arrived frames, and a port for outgoing ones.
//!
//! ```text
//!   inject ─► [ ring, RING_FRAMES ] ─► guest ─► Port::transmit
//!                full: dropped and counted
//! ```
//!
//! Frames in the ring have not reached the guest. They are not part of a checkpoint, and are lost with the host, like
//! frames on a wire.

use crate::wire::{ETHERNET_BYTES, FRAME_BYTES_MAX};
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{AtomicU64, Ordering};

/// Frames the ring holds: some milliseconds of traffic, as long as a pause may take.
pub const RING_FRAMES: usize = 1024;

/// Receives a guest's outgoing frames.
///
/// Called on the vCPU's thread while the guest is locked. It must not block for long, may call no method of the guest's
/// [`LabGuest`](crate::LabGuest) but [`inject`](crate::LabGuest::inject), and may take no lock that is held by anyone
/// who suspends, pauses or stops the guest.
pub trait Port: Send + Sync {
    /// Takes a frame.
    fn transmit(&self, frame: &[u8]);
}

/// The ring of arrived frames.
#[derive(Debug)]
pub(crate) struct Ring {
    frames: ArrayQueue<Box<[u8]>>,
    dropped: AtomicU64,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self { frames: ArrayQueue::new(RING_FRAMES), dropped: AtomicU64::new(0) }
    }

    /// Adds a frame; `false` if it was dropped: the ring is full, or no frame has this length.
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
