//! The invariants that the simulator judges, and a violation of one.

use std::fmt;
use understudy_session::Time;

/// The invariants that this simulator judges (`docs/DESIGN.md#invariants`). Liveness, I6, is judged at the end of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Invariant {
    /// I1: no packet of epoch e leaves before ack e, unless the copy is stale.
    OutputCommit,
    /// I2: one authority.
    Authority,
    /// I3: an image is exactly one complete epoch.
    Atomicity,
    /// I4: the epoch taken over is not older than any released one.
    Monotonicity,
    /// I5: a fenced generation never releases again.
    NoResurrection,
    /// I6: after the faults, service resumes within a bound.
    Liveness,
    /// I7: no buffer passes its limit.
    Bounds,
    /// I8: disk and memory stand at the same epoch.
    Disk,
    /// S1: protecting a guest must not lose it.
    Durability,
    /// S2: a statement about protection is true now.
    Progress,
    /// A7: without a witness only a person decides.
    Alone,
    /// S3: an acked epoch could be activated.
    Readiness,
    /// A copy is exactly its image when it is set, and then takes what the guest takes, once and in order.
    Exact,
    /// What a copy sends is on no wire before it is the guest.
    Mute,
    /// A frame that the copy does not send as well leaves before long all the same.
    Promptness,
    /// S6: a divergence of guest and image is found.
    Divergence,
    /// S7, S8: of two primaries that meet, one stops.
    Meeting,
    /// A6: a guest that needs fencing runs on one host only.
    Fencing,
    /// A link that is lost has its grace, unless the process at its other end is gone.
    Patience,
}

/// A violation of an invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// When it was seen.
    pub at: Time,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, at, what } = self;
        write!(f, "{invariant:?} violated at {} us: {what}", at.0 / 1000)
    }
}
