//! Plays a recorded guest through the whole engine: a primary node in this process, a secondary in another, and a link
//! between them. Then checks whether the committed image equals the recording.
//!
//! ```text
//!   recording ─► Recorded ─► Held ─► primary node ══ link ══► secondary process
//!       │                                                          │ export
//!       └────────── materialized again: last complete epoch ──► compared byte by byte
//! ```
//!
//! * [`held`] keeps the guest alive at the recording's end until everything has been examined
//! * [`compare`] compares the images
//! * [`report`] the cost

pub mod compare;
pub mod held;
pub mod report;
mod run;

pub use run::{ReplayError, Request, Towards, run};
