//! What a primary reports to an operator: its state, why a guest may not run, why a copy was given up, why a guest is
//! ended. No session acts on these; a driver acts only on [`End`].

use super::{Span, Wish};
use understudy_checkpoint::{Epoch, Generation};

/// What an operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The state has changed to this one.
    State(State),
    /// The link was lost for this reason.
    PeerLost { why: Loss },
    /// An ack came, this long after the epoch's capture ended.
    Committed {
        epoch: Epoch,
        /// From the end of the capture to the ack.
        after: Span,
    },
    /// The in-flight limit delays the next checkpoint.
    Stretched,
    /// The copy is given up because output waited too long for an ack.
    TooSlow { why: GiveUp },
    /// The secondary declined something.
    Declined { why: super::super::Decline },
    /// An operator's request is impossible in this state (a switchover needs `Protected`).
    WishRefused { wish: Wish },
    /// Frames did not match the copy's; a checkpoint is made for them.
    OutputDiverged { why: super::super::Divergence },
    /// The guest is protected by checkpoints alone for a while.
    CopyRests {
        why: super::Rest,
        /// For how long.
        rest: Span,
    },
    /// A full sync begins.
    Seed,
    /// After a link flap, a checkpoint begins that has all changes since `base`.
    Resync {
        /// The newest epoch that the peer has.
        base: Epoch,
    },
    /// The guest may not run here for now. It is paused and kept; the claim is tried again.
    ClaimRefused { why: Refusal },
    /// Another host speaks as primary of this guest: in an older generation, which gives way once it hears of this one, or
    /// in one between which and this no witness has decided.
    Rivalled {
        /// The generation that it claims.
        generation: Generation,
    },
    /// A peer mentioned this newer generation, which the witness does not know.
    RumourRefuted { generation: Generation },
    /// Without a witness: the guest has ended, and its peer has not confirmed that it holds no copy. Output that was
    /// not acked is dropped.
    LastOutputDropped,
    /// Without a witness: the peer holds a copy that was not made from this guest.
    CopyMet { standing: super::super::Standing },
}

/// Why the witness's record does not allow a guest to run here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Another host owns it.
    Elsewhere { record: super::super::Record },
    /// Another host holds a copy that may take over.
    CopyElsewhere { record: super::super::Record },
    /// The witness knows less about the guest than this host: it has lost its records, or went back to older ones.
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
    /// The primary of this newer generation says that its guest runs.
    Superseded { generation: Generation },
    /// A person ordered it.
    Discarded,
}

/// Why a copy is given up, or why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GiveUp {
    /// The session has just begun: its record is stale.
    Beginning,
    /// The peer is not reachable.
    PeerLost,
    /// The peer has no copy, or a useless one.
    NoCopy,
    /// The peer cannot take an epoch, or has begun to take over.
    Declined,
    /// The copy differs from the guest.
    Diverged,
    /// A full sync failed.
    SeedFailed,
    /// Acks came too late.
    TooSlow,
    /// The operator ended protection.
    Wish,
    /// The guest ended by itself.
    GuestGone,
    /// Some output of the guest can be neither held nor dropped.
    Leak,
    /// Captures fail, or cannot build on earlier ones.
    CaptureFails,
    /// The capture thread has failed.
    Broken,
}

/// How a peer was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// The connection ended.
    LinkEnded,
    /// The peer was silent for `silence_max`.
    Silent,
}

/// A session's state as `status` and metrics show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Without a witness: asking the peer what it knows about this guest; nothing leaves.
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
    /// A full sync is acked, and the witness has not yet confirmed the copy as fresh. Output follows acks.
    Arming,
    /// Every output waits for its ack; the copy can take over.
    Protected,
    /// As `Protected`, but the last commit is older than `slow_max`.
    Late,
    /// Protected, but the link is down; it may come back.
    LinkLost,
    /// Asking the witness to mark the copy stale; output is held.
    MarkingStale,
    /// As `MarkingStale`, for so long that the guest was paused.
    PausedUndecided,
    /// The guest is suspended for good, and the peer is asked to take over.
    SwitchingOver,
    /// The witness has put another generation in charge. The guest is paused and kept.
    Fenced,
    /// Another host speaks as primary, and no witness has decided. The guest is paused and kept.
    Contested,
    /// The guest ended, by itself or by `Destroy`.
    Ended,
}
