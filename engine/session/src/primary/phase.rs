//! The phases of a primary session. Each variant holds only what is valid in it.

use super::super::{Record, Span, Standing, Time};
use super::{GiveUp, Refusal, State};
use understudy_checkpoint::{Epoch, Generation};

/// What the peer has said on the present link. It means nothing without a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    /// The link is up, no offer is open (there is nothing to offer yet).
    Unasked,
    /// An offer was sent and is not answered.
    Offered,
    /// It has answered, and has no copy that a delta could build on.
    Present,
    /// It takes epochs: a full sync has begun, or its copy is one of ours.
    Following,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// There is no witness, so the peer is asked what it knows about the guest; nothing may leave.
    Asking {
        /// What the peer holds, if it was not made from the guest here: a person decides.
        met: Option<Standing>,
    },
    /// The witness is asked for the guest; nothing may leave.
    Claiming {
        /// The record that the last claim would make; seeing it means that the claim was won.
        claim: Option<Record>,
        /// Set if the record does not allow it for now.
        refused: Option<Refused>,
    },
    /// A person gives the guest to this host; nothing may leave until the witness has confirmed it.
    Reclaiming {
        /// The record that the person saw. If it has changed since, the order no longer applies.
        judged: Option<Record>,
        /// The record that the swap would make.
        claim: Option<Record>,
    },
    /// The record is stale for certain; output passes.
    Unprotected {
        /// No full sync before this time.
        seed_at: Time,
    },
    /// As `Unprotected`, while a full sync is captured or sent. Output passes until its cut.
    Seeding {
        /// The epoch of the full sync.
        epoch: Epoch,
    },
    /// The full sync is acked; the record is being changed to fresh. Output follows acks.
    Arming,
    /// The record is fresh. Output follows acks.
    Protected,
    /// As `Arming` or `Protected`, without a link.
    LinkLost {
        /// When to give the copy up.
        decide_at: Time,
    },
    /// The record is being changed to stale. Output follows acks, if any still come.
    MarkingStale {
        why: GiveUp,
        /// Since when output has been held for this.
        since: Time,
    },
    /// The operator asked for the peer to run the guest.
    SwitchingOver(Handover),
    /// The guest is paused and kept, and none of its output leaves.
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
    /// How long to wait after that look.
    pub(super) wait: Span,
}

/// Why a guest is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// The witness has put this generation in charge.
    Fenced { by: Generation },
    /// Another host speaks as the guest's primary, and no witness has decided between the two.
    Rival {
        /// The generation that it claims.
        generation: Generation,
        /// The witness is not asked again before this time.
        look_at: Time,
    },
}

/// Stages of a switchover.
#[derive(Debug)]
pub(super) enum Handover {
    /// The last checkpoint waits for an earlier capture.
    Waiting,
    /// The last checkpoint is being captured or sent.
    Closing {
        /// The last epoch of this generation.
        epoch: Epoch,
        /// When to call the switchover off and go on here, if it is not acked by then.
        ends_at: Time,
    },
    /// The peer was asked to take over.
    Asked {
        /// When to stop waiting and decide at the witness.
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

    /// Whether the session is over and ignores all inputs.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Whether this host speaks for the guest.
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
