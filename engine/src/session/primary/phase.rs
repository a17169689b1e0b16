//! Where a primary session stands. Each variant holds only what is valid there.

use super::super::{Record, Time};
use super::State;
use understudy_checkpoint::{Epoch, Generation};

#[derive(Debug)]
pub(super) enum Phase {
    /// The witness is asked for the guest; nothing may leave.
    Claiming {
        /// The record that the last claim would make; seeing it means that the claim was won.
        claim: Option<Record>,
        /// The generation that the guest was run under here before.
        adopted: Option<Generation>,
    },
    /// The record is stale for sure, output passes.
    Unprotected {
        /// No seed before this.
        seed_at: Time,
    },
    /// As `Unprotected`, and a seed is being captured or is on its way. Output passes until its cut.
    Seeding {
        /// The seed's epoch.
        epoch: Epoch,
    },
    /// The seed is acked; the record is to become fresh. Output follows acks.
    Arming,
    /// The record is fresh. Output follows acks.
    Protected,
    /// As `Arming` or `Protected`, without a link.
    LinkLost {
        /// When to give the copy up.
        decide_at: Time,
    },
    /// The record is to become stale. Output follows acks, if there still are any.
    MarkingStale {
        /// Why the copy is given up.
        why: GiveUp,
        /// Since when output has been held for it.
        since: Time,
    },
    /// The operator wishes the peer to run the guest.
    SwitchingOver(Handover),
    /// Another generation is in charge.
    Fenced,
    /// The guest is gone, or may not be started here.
    Ended,
}

/// Why a copy is given up, or why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GiveUp {
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
    /// The slow policy.
    TooSlow,
    /// The operator's wish.
    Wish,
    /// The guest ended by itself.
    GuestGone,
    /// What the guest sends can be neither held nor dropped.
    Leak,
}

/// Stages of a switchover.
#[derive(Debug)]
pub(super) enum Handover {
    /// The last checkpoint waits for the capture before it.
    Waiting,
    /// The last checkpoint is being captured, or is on its way.
    Closing {
        /// The last epoch of this generation.
        epoch: Epoch,
        /// When to call it off and go on here, if it is not acked by then.
        ends_at: Time,
    },
    /// The peer was asked to take over.
    Asked {
        /// When to decide at the witness instead of waiting on.
        decide_at: Time,
    },
}

impl Phase {
    pub(super) fn state(&self, guest_halted: bool) -> State {
        match self {
            Self::Claiming { .. } => State::Claiming,
            Self::Unprotected { .. } => State::Unprotected,
            Self::Seeding { .. } => State::Seeding,
            Self::Arming => State::Arming,
            Self::Protected => State::Protected,
            Self::LinkLost { .. } => State::LinkLost,
            Self::MarkingStale { .. } if guest_halted => State::PausedUndecided,
            Self::MarkingStale { .. } => State::MarkingStale,
            Self::SwitchingOver(_) => State::SwitchingOver,
            Self::Fenced => State::Fenced,
            Self::Ended => State::Ended,
        }
    }

    /// The session is over; nothing it hears matters.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Fenced | Self::Ended)
    }
}
