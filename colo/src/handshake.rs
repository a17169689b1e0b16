//! The numbers with which the primary's guest opens a connection. The comparer tells them, the rewriter sets them against
//! those of the copy.
//!
//! ```text
//!   primary's guest ─ SYN or SYN-ACK ─► comparer ─ Handshake ─► (link) ─► rewriter
//!                        sequence 1000                                      copy's 9000: its numbers are 8000 ahead
//! ```
//!
//! Not here: what the two SYNs offer (their options), which the comparer compares.

use crate::packet::{Flags, Flow, Segment};
use understudy_checkpoint::Epoch;

/// How a guest opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    /// Sequence number of the SYN.
    pub sequence: u32,
    /// The sender's clock, if the SYN offers time stamps.
    pub timestamp: Option<u32>,
    /// What a SYN-ACK acknowledges; `None`: the guest itself opens. Both guests answer the same SYN with the same number.
    pub answers: Option<u32>,
}

impl Opening {
    /// `None`: the segment opens nothing.
    pub fn of(segment: &Segment<'_>) -> Option<Self> {
        segment.flags.has(Flags::SYN).then(|| Self {
            sequence: segment.sequence,
            timestamp: segment.options.timestamps().map(|(stamps, _)| stamps.value),
            answers: segment.flags.has(Flags::ACK).then_some(segment.ack),
        })
    }
}

/// The primary's guest opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// The epoch in which its SYN or SYN-ACK was sent: an image of this epoch, or of a later one, contains the numbers.
    pub epoch: Epoch,
    /// Which connection.
    pub flow: Flow,
    /// The numbers as the world sees them.
    pub opening: Opening,
}
