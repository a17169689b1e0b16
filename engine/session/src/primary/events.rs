//! What a primary tells an operator: its states, why a guest may not run, why a copy is given up, why a guest is ended.
//! Nothing here is acted upon, save that the driver ends a guest for an [`End`].

use super::{Span, Wish};
use understudy_checkpoint::{Epoch, Generation};

/// What an operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The state has changed to this one.
    State(State),
    /// The link was lost for this reason.
    PeerLost {
        /// What was seen.
        why: Loss,
    },
    /// An ack came, this long after the epoch's capture ended.
    Committed {
        /// The epoch.
        epoch: Epoch,
        /// Capture to ack.
        after: Span,
    },
    /// The in-flight limit delays the next checkpoint.
    Stretched,
    /// The copy is given up, since output has waited too long for an ack.
    TooSlow {
        /// Why it waited.
        why: GiveUp,
    },
    /// The secondary declined something.
    Declined {
        /// Why.
        why: super::super::Decline,
    },
    /// The wish cannot be granted in this state (a switchover needs `Protected`).
    WishRefused {
        /// The wish.
        wish: Wish,
    },
    /// Frames do not leave by a match with the copy; a checkpoint is made for them.
    OutputDiverged {
        /// Why.
        why: super::super::Divergence,
    },
    /// The guest is protected by checkpoints alone for a while.
    CopyRests {
        /// Why.
        why: super::Rest,
        /// For how long.
        rest: Span,
    },
    /// A full sync begins.
    Seed,
    /// After a link flap, a checkpoint of all that changed since `base` begins.
    Resync {
        /// The newest epoch that the peer stands at.
        base: Epoch,
    },
    /// The guest may not run here at present. It is paused and kept; the claim is tried again.
    ClaimRefused {
        /// Why.
        why: Refusal,
    },
    /// Another host speaks as primary of this guest, which no witness has settled.
    Rivalled {
        /// What it claims.
        generation: Generation,
    },
    /// Somebody spoke of this newer generation, of which the witness knows nothing.
    RumourRefuted {
        /// That.
        generation: Generation,
    },
    /// Without a witness: the guest has ended, and its peer has not said that it holds no copy. What was not acked is dropped.
    LastOutputDropped,
    /// Without a witness: the peer holds a copy that this guest is not the origin of.
    CopyMet {
        /// What it holds.
        standing: super::super::Standing,
    },
}

/// Why the witness's record does not allow a guest to run here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Another host owns it.
    Elsewhere {
        /// The record.
        record: super::super::Record,
    },
    /// Another host holds a copy that may take over.
    CopyElsewhere {
        /// The record.
        record: super::super::Record,
    },
    /// The witness knows less of the guest than this host: it has lost its records, or went back to older ones.
    Older {
        /// The newest generation known here.
        known: Generation,
    },
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Elsewhere { record } => {
                write!(f, "the witness has {} as the owner of generation {}", record.owner, record.generation)
            }
            Self::CopyElsewhere { record } => match &record.copy {
                super::super::Copy::Fresh { holder } => write!(
                    f,
                    "the witness has a fresh copy at {holder}, which may take over; start {holder}, or reclaim the \
                     guest here if {holder} is gone for good"
                ),
                super::super::Copy::Stale => f.write_str("the witness has a copy at another host"),
            },
            Self::Older { known } => write!(
                f,
                "generation {known} of the guest is known here, of which the witness knows nothing; the witness has \
                 lost records"
            ),
        }
    }
}

/// Why a guest is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// A primary of this newer generation speaks from a guest that runs.
    Superseded {
        /// That.
        generation: Generation,
    },
    /// A person says so.
    Discarded,
}

/// Why a copy is given up, or why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GiveUp {
    /// The session begins: its record is stale.
    Beginning,
    /// The peer is not reachable.
    PeerLost,
    /// The peer has no copy, or one that is of no use.
    NoCopy,
    /// The peer cannot take an epoch, or has begun to take over.
    Declined,
    /// The copy is not what the guest was.
    Diverged,
    /// A seed came to nothing.
    SeedFailed,
    /// Acks came too late.
    TooSlow,
    /// The operator's wish.
    Wish,
    /// The guest ended by itself.
    GuestGone,
    /// What the guest sends can be neither held nor dropped.
    Leak,
    /// Captures come to nothing, or cannot build on those before.
    CaptureFails,
    /// What makes captures has failed.
    Broken,
}

/// How a peer was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// The connection ended.
    LinkEnded,
    /// Nothing was heard for `silence_max`.
    Silent,
}

/// A session's state as `status` and metrics show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Without a witness: asking the peer what it knows of this guest; nothing leaves.
    Asking,
    /// Without a witness: the peer holds a copy of a guest of this name; nothing leaves until a person decides.
    AwaitingOperator,
    /// Asking the witness for this guest; nothing leaves.
    Claiming,
    /// The record does not allow it; the guest is paused and kept, and the claim is tried again.
    ClaimRefused,
    /// Running, output passes, no usable copy.
    Unprotected,
    /// The first full sync (or the one after the copy went stale) is on its way.
    Seeding,
    /// A seed is acked, the witness has not yet confirmed the copy as fresh. Output follows acks.
    Arming,
    /// Every output waits for its ack; the copy can take over.
    Protected,
    /// As `Protected`, but the last commit is older than `slow_max`.
    Late,
    /// Protected, the link is down and may come back.
    LinkLost,
    /// Asking the witness to mark the copy stale; output is held.
    MarkingStale,
    /// As `MarkingStale`, for so long that the guest was paused.
    PausedUndecided,
    /// The guest is suspended for good, the peer is asked to take over.
    SwitchingOver,
    /// The witness has put another generation in charge. The guest is paused and kept.
    Fenced,
    /// Another host speaks as primary, and no witness has settled it. The guest is paused and kept.
    Contested,
    /// The guest ended, by itself or by `Destroy`.
    Ended,
}
