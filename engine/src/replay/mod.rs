//! A recorded guest through the whole engine: a primary node in this process, a secondary in another one, the
//! link between them; and then the question whether what is committed there is what was recorded.
//!
//! ```text
//!   recording ─► Recorded ─► Held ─► primary node ══ link ══► secondary process
//!       │                                                          │ export
//!       └────────── materialized again: last complete epoch ──► compared byte by byte
//! ```
//!
//! * [`held`] keeps the guest alive at the recording's end until everything was looked at
//! * [`compare`] is the image the same?
//! * [`report`] what it cost

pub mod compare;
pub mod held;
pub mod report;
mod run;

pub use run::{ReplayError, Request, Towards, run};
