//! Where a primary session stands. Each variant holds only what is valid there.

use super::super::{Record, Span, Standing, Time};
use super::{GiveUp, Refusal, State};
use understudy_checkpoint::{Epoch, Generation};

/// How far the peer has come on the present link. Without a link it says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    /// The link is up, no offer is open (there is nothing to offer yet).
    Unasked,
    /// An offer was sent and is not answered.
    Offered,
    /// It has answered; it has no copy that could be built upon.
    Present,
    /// It takes epochs: a seed has begun, or its copy was found to be ours.
    Following,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// There is no witness: the peer is asked what it knows of the guest; nothing may leave.
    Asking {
        /// The peer holds this, which the guest here is not the origin of: a person decides.
        met: Option<Standing>,
    },
    /// The witness is asked for the guest; nothing may leave.
    Claiming {
        /// The record that the last claim would make; seeing it means that the claim was won.
        claim: Option<Record>,
        /// The record does not allow it at present.
        refused: Option<Refused>,
    },
    /// A person gives the guest to this host; nothing may leave until the witness has confirmed it.
    Reclaiming {
        /// The record that the person saw. If it has changed since, the person's word was about something else.
        judged: Option<Record>,
        /// The record that the swap would make.
        claim: Option<Record>,
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
    /// The guest is paused and kept, and nothing of it leaves.
    Held(Hold),
    /// The guest is gone.
    Ended,
}

/// A claim that is tried again.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: Refusal,
    /// When to look at the record again.
    pub(super) look_at: Time,
    /// How long to wait after that.
    pub(super) wait: Span,
}

/// Why a guest is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// The witness has put this generation in charge.
    Fenced { by: Generation },
    /// Another host speaks as the guest's primary, and no witness has said which of the two is.
    Rival {
        /// What it claims.
        generation: Generation,
        /// The witness is not asked again before this.
        look_at: Time,
    },
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
    pub(super) fn state(&self, guest_halted: bool, is_late: bool) -> State {
        match self {
            Self::Asking { met: None } => State::Asking,
            Self::Asking { met: Some(_) } => State::AwaitingOperator,
            Self::Claiming { refused: Some(_), .. } => State::ClaimRefused,
            Self::Claiming { refused: None, .. } | Self::Reclaiming { .. } => State::Claiming,
            Self::Unprotected { .. } => State::Unprotected,
            Self::Seeding { .. } => State::Seeding,
            Self::Arming => State::Arming,
            Self::Protected if is_late => State::Late,
            Self::Protected => State::Protected,
            Self::LinkLost { .. } => State::LinkLost,
            Self::MarkingStale { .. } if guest_halted => State::PausedUndecided,
            Self::MarkingStale { .. } => State::MarkingStale,
            Self::SwitchingOver(_) => State::SwitchingOver,
            Self::Held(Hold::Fenced { .. }) => State::Fenced,
            Self::Held(Hold::Rival { .. }) => State::Contested,
            Self::Ended => State::Ended,
        }
    }

    /// The session is over; nothing it hears matters.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Whether the guest is this host's to speak for.
    pub(super) fn speaks(&self) -> bool {
        match self {
            Self::Asking { .. }
            | Self::Claiming { .. }
            | Self::Reclaiming { .. }
            | Self::Held(_)
            | Self::Ended => false,
            Self::Unprotected { .. }
            | Self::Seeding { .. }
            | Self::Arming
            | Self::Protected
            | Self::LinkLost { .. }
            | Self::MarkingStale { .. }
            | Self::SwitchingOver(_) => true,
        }
    }

    /// Whether a person may decide here what becomes of the guest.
    pub(super) fn awaits_person(&self) -> bool {
        matches!(self, Self::Asking { .. } | Self::Claiming { refused: Some(_), .. } | Self::Held(_))
    }
}
