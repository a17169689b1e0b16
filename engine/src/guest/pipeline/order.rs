//! [`Order`]: the loop's orders to a guest's capture thread. Not here: how they are carried out
//! ([`capture`](super::capture)).

use super::outlet::Outlet;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::Time;
use understudy_session::primary::Capture;

/// Orders, carried out in the order in which they are given.
pub(in crate::guest) enum Order {
    /// Take a checkpoint; answered by `Captured` or `CaptureFailed`.
    Capture(CaptureOrder),
    /// Resume a guest that a capture left suspended.
    Resume,
    /// End a suspend that an earlier engine may have begun, once the guest runs.
    Settle,
    /// No checkpoint is wanted until the next full sync.
    LeaveAlone,
}

/// One checkpoint to take.
pub struct CaptureOrder {
    /// The generation that sends it.
    pub generation: Generation,
    /// The epoch that it ends.
    pub epoch: Epoch,
    /// What to copy.
    pub capture: Capture,
    /// Leave the guest suspended.
    pub stay_paused: bool,
    /// The time of the order, by which the scrub paces itself.
    pub now: Time,
    /// The connection to send it on. When that ends, the rest of the epoch is dropped.
    pub outlet: Box<dyn Outlet>,
}
