//! A twin: a PVH domain that was restored from an image of a guest and has run since, so that Xen, netback and xenstore
//! serve it as they serve the guest. It is overwritten with the guest's present state and goes on in its place, without
//! connecting its devices anew.
//!
//! ```text
//!   guest    suspends itself ──► Capture: pages, grant table, HVM context, where the rings of its cards are
//!                                  │
//!   twin     runs ── check ── stopped by force ── cards detached ── overwritten ── cards attached ── resumed, as the guest
//!                      └ Unlike: nothing was changed               └ from here on it is of no use if anything fails
//!
//!   not copied, so it must be the same: event channel ports, number of vCPUs, layout of memory, size of the grant table ([`Shape`])
//!   kept of the twin:                   in-use bits of grants, the wall clock in shared info, frames that show the grant table
//!   changed in the copy:                rax of vCPU 0 := 1, so that the guest's suspend returns "cancelled" ([`cancel_suspend`])
//! ```
//!
//! The twin is not asked to suspend: whatever it is doing is thrown away, so it is stopped from outside (`SCHEDOP_remote_shutdown`)
//! and its vCPUs are reset, because Xen counts one that waits for an event as blocked. The context of every vCPU is set
//! afterwards; Xen refuses to resume a domain otherwise.
//!
//! Not here: who makes a twin and when, and the network in front of its cards.

mod capture;
mod cards;
mod context;
mod error;
mod events;
mod grants;
mod overwrite;
mod ports;
mod shape;
mod unlike;

pub use capture::Capture;
pub use cards::{RingKeys, unplug_cards};
pub use context::{BadContext, cancel_suspend};
pub use error::TwinError;
pub use grants::GrantInUse;
pub use overwrite::{Overwritten, Twin};
pub use shape::{Layout, Shape};
pub use unlike::Unlike;
