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
use std::thread::Thread;

/// Frames the ring holds: some milliseconds of traffic, as long as a pause may take.
pub const RING_FRAMES: usize = 1024;
/// Of so many frames that arrive at once, one wakes the vCPU.
const NOTIFY_EVERY: u64 = 32;

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
    /// Frames that went in.
    pushed: AtomicU64,
    /// Those of them that came out, in the same order.
    popped: AtomicU64,
}

impl Ring {
    pub(crate) fn new() -> Self {
        let (dropped, pushed, popped) = <(AtomicU64, AtomicU64, AtomicU64)>::default();
        Self { frames: ArrayQueue::new(RING_FRAMES), dropped, pushed, popped }
    }

    /// Takes a frame in and says its number, counted from 0, which is right where frames come from one thread. `None` if it was
    /// dropped: the ring is full, or no frame has this length.
    pub(crate) fn push(&self, frame: &[u8]) -> Option<u64> {
        let taken = (ETHERNET_BYTES..=FRAME_BYTES_MAX).contains(&frame.len())
            && self.frames.push(frame.into()).is_ok();
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.pushed.fetch_add(1, Ordering::AcqRel))
    }

    /// The same for a frame of which more may follow at once: its vCPU is woken by one in [`NOTIFY_EVERY`], so that it works
    /// meanwhile.
    pub(crate) fn push_and_notify(&self, frame: &[u8], vcpu: &Thread) -> Option<u64> {
        let number = self.push(frame)?;
        if (number + 1).is_multiple_of(NOTIFY_EVERY) {
            vcpu.unpark();
        }
        Some(number)
    }

    pub(crate) fn pop(&self) -> Option<Box<[u8]>> {
        let frame = self.frames.pop()?;
        self.popped.fetch_add(1, Ordering::AcqRel);
        Some(frame)
    }

    /// The number of the next frame that goes in.
    pub(crate) fn pushed(&self) -> u64 {
        self.pushed.load(Ordering::Acquire)
    }

    /// The number of the next frame that comes out.
    pub(crate) fn popped(&self) -> u64 {
        self.popped.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
