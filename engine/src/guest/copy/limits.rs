//! Bounds of the queues around a live copy: an operator's settings, or values derived from them.
//!
//! ```text
//!   guest's host   comparer: flows, frames that wait              ── input ──►   copy's host   input: heard since the cut
//!                                                                 ◄── output ─                 sent: not known to have left
//! ```

use understudy_colo::{comparer, mirror, unreleased};

/// Bounds of the queues around one copy.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CopyLimits {
    /// Bounds of the comparer.
    pub comparer: comparer::Limits,
    /// Bytes of input that are kept for a copy set later.
    pub input: mirror::Limits,
    /// Bytes of output that the copy has sent and that may not have left the primary.
    pub sent: unreleased::Limits,
}
