//! Checkpoints of a guest that runs here, from the dirty log to the link.
//!
//! ```text
//!   orders ─► capture ─ pause: suspend, drain, copy, state, cut, resume ─ pieces of staging ─► encode ─► Outlet
//!               │ ahead: what is copied before the pause  unacked_dirty: frames the peer lacks
//!               │ scrub, unmarked: frames that changed without a mark
//!               └─ failure: the guest continues, and the session decides
//! ```
//!
//! Not here: when a checkpoint is due (the session), and the connection behind the outlet (`node`).

mod ahead;
pub(in crate::guest) mod capture;
pub(in crate::guest) mod encode;
mod failure;
pub(in crate::guest) mod job;
pub(in crate::guest) mod order;
pub(in crate::guest) mod outlet;
pub(in crate::guest) mod passed;
mod pause;
pub(in crate::guest) mod pool;
pub(in crate::guest) mod protector;
mod scrub;
mod unacked_dirty;
mod unmarked;
