//! What the comparer tells: which frames leave, where the two guests differ, and what was counted.

use super::Number;
use crate::packet::Flow;
use crate::{Handshake, Part, Patch};
use thiserror::Error;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Span;

/// A frame of the primary's guest, by its number in the queue that keeps its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrameId(pub u64);

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// The frame may leave.
    Release(FrameId),
    /// The frame may leave once it is changed.
    ReleaseAs(FrameId, Patch),
    /// The primary's guest opened a connection: the rewriter of the copy needs its numbers.
    Handshake(Handshake),
    /// The guests are not the same any more: a checkpoint is needed. Told once for each flow and base.
    Diverged(Divergence),
    /// A bare acknowledgement is to be sent to the world, which
    /// [`write_acknowledgement`](super::Comparer::write_acknowledgement) builds. One that is not sent costs time and nothing
    /// else.
    Acknowledge(Acknowledge),
    /// A part of a frame that still waits may leave. One that is not sent costs time, and a checkpoint at the latest.
    ReleasePart(FrameId, Part),
    /// A bare acknowledgement must not leave any more: a later frame has left, which says as much and has a later clock. One that
    /// leaves all the same, by its epoch's ack, is refused by its receiver, or repeats.
    Outdated(FrameId),
}

/// What the world was not told when a frame left, since the copy had not received it: now it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledge {
    /// To whom, and on which card.
    pub flow: Flow,
    /// The guest's next number.
    pub sequence: u32,
    /// What both guests have received.
    pub ack: u32,
    /// The room of both, as the header has it.
    pub window: u16,
}

/// Where two guests differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{flow}: {why}")]
pub struct Divergence {
    /// The flow whose frames differ.
    pub flow: Flow,
    /// What differs.
    pub why: Why,
    /// The newest epoch whose ack lets out what is not compared any more. Once it was cut, no other checkpoint is needed.
    pub through: Epoch,
}

/// How two guests differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Why {
    /// A byte of a TCP stream.
    #[error("the byte at {at} of the stream differs", at = .at.0)]
    Payload {
        /// The first byte that differs.
        at: Number,
    },
    /// One ends its stream where the other goes on.
    #[error("one guest ends its stream at {at}, and the other does not", at = .at.0)]
    End {
        /// The sequence number.
        at: Number,
    },
    /// One resets the connection where the other goes on.
    #[error("one guest resets the connection at {at}, and the other goes on", at = .at.0)]
    Reset {
        /// The sequence number.
        at: Number,
    },
    /// Their SYNs have other numbers or options.
    #[error("the SYN at {at} has another number or other options", at = .at.0)]
    Handshake {
        /// The sequence number.
        at: Number,
    },
    /// Other bytes are urgent.
    #[error("the urgent pointer at {at} differs", at = .at.0)]
    Urgent {
        /// The sequence number.
        at: Number,
    },
    /// The copy did not send what the primary's guest sent.
    #[error("the copy did not send what the guest sent")]
    Timeout,
    /// The primary's guest did not send what the copy sent.
    #[error("the guest did not send what the copy sent")]
    Silent,
    /// There is no room for another frame or flow.
    #[error("no room: {0}")]
    Full(Full),
}

/// Of what there is no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Full {
    /// `Limits::flows_max`, and something waits of each.
    #[error("frames of too many flows wait")]
    Flows,
    /// `Limits::frames_max`, `Limits::flow_frames_max`.
    #[error("too many frames wait")]
    Frames,
    /// `Limits::bytes_max`, or the host's memory.
    #[error("too many bytes wait")]
    Bytes,
}

/// Buckets of [`Stats::waits`].
pub const WAIT_BUCKETS: usize = 20;

/// What was counted since the comparer began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Frames that left by a match.
    pub released: u64,
    /// Those of them that were changed.
    pub patched: u64,
    /// Acknowledgements that were asked for.
    pub acknowledged: u64,
    /// Parts of frames that left before the rest.
    pub parts: u64,
    /// Bare acknowledgements that a later frame has made needless.
    pub outdated: u64,
    /// Frames that left by their epoch's ack.
    pub acked: u64,
    /// Frames of the copy with another base than the live one.
    pub stale: u64,
    /// Frames of the copy that only repeat, or belong to a flow that is not compared any more.
    pub unneeded: u64,
    /// Divergences by content: bytes, ends, resets, SYNs, urgent pointers.
    pub diverged_content: u64,
    /// Divergences by [`Why::Timeout`].
    pub diverged_timeout: u64,
    /// Divergences by [`Why::Silent`].
    pub diverged_silent: u64,
    /// Divergences by [`Why::Full`].
    pub diverged_full: u64,
    /// How long released frames waited for the copy: bucket `n` counts those of less than 2^n microseconds, the last all
    /// others.
    pub waits: [u64; WAIT_BUCKETS],
}

impl Stats {
    pub(super) fn waited(&mut self, span: Span) {
        let bits = (u64::BITS - (span.0 / 1000).leading_zeros()) as usize;
        self.waits[bits.min(WAIT_BUCKETS - 1)] += 1;
    }

    pub(super) fn diverged(&mut self, why: Why) {
        *match why {
            Why::Timeout => &mut self.diverged_timeout,
            Why::Silent => &mut self.diverged_silent,
            Why::Full(_) => &mut self.diverged_full,
            _ => &mut self.diverged_content,
        } += 1;
    }
}
