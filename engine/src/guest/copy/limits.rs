//! How much of a copy waits where. An operator's settings, or from what they are.
//!
//! ```text
//!   guest's host   comparer: flows, frames that wait              ── input ──►   copy's host   input: heard since the cut
//!                                                                 ◄── output ─                 sent: not known to have left
//! ```

use understudy_colo::{comparer, mirror, unreleased};

/// How much of one copy waits where.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CopyLimits {
    /// What is compared.
    pub comparer: comparer::Limits,
    /// What the guest has heard, for a copy that is set later.
    pub input: mirror::Limits,
    /// What the copy has sent, and nobody is known to have seen.
    pub sent: unreleased::Limits,
}
