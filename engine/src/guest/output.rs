//! A guest's outgoing frames, between its NIC, its checkpoints and the event loop.
//!
//! ```text
//!   guest's NIC ──push──► HeldOutput ──take──► event loop ──► the host's network
//!   capture      ──cut──►      ▲
//!   event loop   ──release / pass / fence
//! ```
//!
//! The rules of who may leave when are [`EpochQueue`]'s; this only shares it between threads and rings the
//! loop's bell. Frames leave by the loop's hand alone, so nothing leaves once the loop has ended.

use super::report::Bell;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use understudy_checkpoint::Epoch;
use understudy_lab::Port;
use understudy_netbuf::{EpochQueue, Limits, Push, QueueStats};

/// A queue of held output, shared.
#[derive(Clone, Debug)]
pub struct HeldOutput(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<EpochQueue>,
    pressure: AtomicBool,
    bell: Bell,
}

impl HeldOutput {
    /// A queue whose open epoch is `open`, holding from the first frame on: whether output may pass without
    /// acks is for the session to say, never the state a guest starts in.
    pub fn holding(open: Epoch, limits: Limits, bell: Bell) -> Self {
        let queue = Mutex::new(EpochQueue::holding(open, limits));
        Self(Arc::new(Shared { queue, pressure: AtomicBool::new(false), bell }))
    }

    /// Closes `epoch`: frames pushed from here on belong to the next.
    pub fn cut(&self, epoch: Epoch) {
        self.0.queue.lock().cut(epoch);
    }

    /// `through` is acked: its frames may be taken.
    pub fn release(&self, through: Epoch) {
        self.0.queue.lock().release(through);
    }

    /// Everything may be taken, now and from here on.
    pub fn pass(&self) {
        self.0.queue.lock().pass();
    }

    /// Nothing may be taken ever again.
    pub fn fence(&self) {
        self.0.queue.lock().fence();
    }

    /// Moves all frames that may leave to the end of `into`.
    pub fn take_into(&self, into: &mut Vec<Vec<u8>>) {
        let mut queue = self.0.queue.lock();
        into.extend(std::iter::from_fn(|| queue.take()));
    }

    /// Whether the queue came near a limit since this was asked last.
    pub fn take_pressure(&self) -> bool {
        self.0.pressure.swap(false, Ordering::AcqRel)
    }

    /// Counters.
    pub fn stats(&self) -> QueueStats {
        self.0.queue.lock().stats()
    }
}

impl Port for HeldOutput {
    fn transmit(&self, frame: &[u8]) {
        let ring = match self.0.queue.lock().push(frame) {
            Push::Passing => true,
            Push::Held | Push::Dropped => false,
            Push::HeldNearLimit => !self.0.pressure.swap(true, Ordering::AcqRel),
        };
        if ring {
            self.0.bell.ring();
        }
    }
}
