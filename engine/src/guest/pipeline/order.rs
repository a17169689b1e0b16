//! What the loop orders of a guest's capture thread. Not here: how it is done ([`capture`](super::capture)).

use super::outlet::Outlet;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::Time;
use understudy_session::primary::Capture;

/// The loop's orders, carried out in their order.
pub(in crate::guest) enum Order {
    /// Take a checkpoint; answered by `Captured` or `CaptureFailed`.
    Capture(CaptureOrder),
    /// Let a guest run that a capture left suspended.
    Resume,
    /// End what an engine before this one may have begun, once the guest runs.
    Settle,
}

/// One checkpoint to take.
pub struct CaptureOrder {
    /// Sent in this generation.
    pub generation: Generation,
    /// The epoch that it ends.
    pub epoch: Epoch,
    /// What to copy.
    pub capture: Capture,
    /// Leave the guest suspended.
    pub stay_paused: bool,
    /// When it was ordered: the scrub goes by time.
    pub now: Time,
    /// The connection it is sent on. When that ends, the rest of the epoch goes nowhere.
    pub outlet: Box<dyn Outlet>,
}
