//! What a guest reaches in one turn of the loop: the links, the witness, the time.

use super::links::Links;
use super::witness::Witness;
use crate::session::Time;

#[derive(Debug)]
pub(super) struct Wires {
    pub(super) links: Links,
    pub(super) witness: Witness,
    /// The time of this turn.
    pub(super) now: Time,
    /// What `CLOCK_MONOTONIC` said at the node's start, in nanoseconds.
    pub(super) start_ns: u64,
}

impl Wires {
    /// A point in time on `CLOCK_MONOTONIC`, in nanoseconds: comparable between processes of a host.
    pub(super) fn monotonic_ns(&self, time: Time) -> u64 {
        self.start_ns + time.0
    }
}
