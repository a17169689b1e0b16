//! The messages between sessions. The link encodes them as bytes; nothing here depends on it.

use alloc::string::String;
use core::fmt;
use understudy_checkpoint::{Epoch, EpochKind, Generation};

/// Name of a host's engine, unique among the hosts that share a witness.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Primary to secondary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToSecondary {
    /// First message after the link came up: I run this guest in this generation.
    Offer {
        generation: Generation,
        /// The newest epoch the sender has an ack for in this generation, if any.
        acked: Option<Epoch>,
    },
    /// Pages and records of an epoch follow on the link, then its end.
    EpochBegin {
        generation: Generation,
        epoch: Epoch,
        kind: EpochKind,
        /// For a delta: the epoch whose image it changes. The receiver's image must be at this epoch, or have it
        /// complete.
        base: Option<Epoch>,
    },
    /// Sent when nothing else has been for a while.
    Heartbeat { generation: Generation },
    /// Planned takeover: the guest was suspended for good after `epoch`, which was acked. The receiver should take
    /// over.
    Switchover {
        generation: Generation,
        /// The last epoch of this generation.
        epoch: Epoch,
    },
    /// The operator ends protection, and the witness's record says the copy is stale. The receiver should drop the
    /// image.
    Farewell { generation: Generation },
    /// Whether a copy of the guest should run at the receiver as well, with its output kept from the network. Since
    /// version 3.
    CopyWanted {
        generation: Generation,
        /// How the guest is protected. The receiver keeps this mode if it takes over.
        mode: super::Mode,
        /// The first epoch that the copy may be set to: the guest's input after that epoch's cut is sent. `None`: there
        /// should be no copy.
        from: Option<Epoch>,
    },
}

impl ToSecondary {
    pub fn generation(&self) -> Generation {
        match self {
            Self::Offer { generation, .. }
            | Self::EpochBegin { generation, .. }
            | Self::Heartbeat { generation }
            | Self::Switchover { generation, .. }
            | Self::Farewell { generation }
            | Self::CopyWanted { generation, .. } => *generation,
        }
    }
}

/// What a secondary holds for a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// No image that a delta could build on: a full sync is needed.
    Nothing,
    /// A committed image.
    Complete {
        /// The generation in which its epochs were acked.
        generation: Generation,
        /// Its newest complete (acked) epoch.
        epoch: Epoch,
    },
}

/// Why a secondary declines an offer or an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decline {
    /// The generation of what was sent is over: there is a newer one.
    Fenced { generation: Generation },
    /// The epoch does not follow on what the secondary holds.
    WrongBase,
    /// The epoch arrived damaged or does not decode; the image is unchanged.
    Damaged,
    /// Pages that the primary calls unchanged differ in the secondary's image: no epoch can build on it. Since version
    /// 2.
    Diverged,
    /// The epoch is larger than the secondary's buffer; the image is unchanged.
    TooLarge,
    /// The secondary lost its image (a failed commit): a full sync is needed.
    ImageLost,
    /// The secondary has begun a takeover and acks nothing more in this generation.
    TakingOver,
}

/// Secondary to primary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToPrimary {
    /// Answer to `Offer`.
    Stand {
        /// The generation of the offer that this answers.
        generation: Generation,
        standing: Standing,
    },
    /// Checkpoint `epoch` is complete and held by the sender.
    Ack {
        /// The generation it was sent in.
        generation: Generation,
        epoch: Epoch,
    },
    /// An offer or an epoch is declined.
    Declined {
        /// The generation of what is declined.
        generation: Generation,
        /// The epoch; `None` for an offer.
        epoch: Option<Epoch>,
        why: Decline,
    },
    /// Sent when nothing else has been for a while.
    Heartbeat {
        /// The newest generation of this guest that the sender knows of.
        generation: Generation,
    },
    /// The copy runs from `base`, which was acked, and its output is reported. Since version 3.
    Live {
        /// The generation of `base`.
        generation: Generation,
        base: Epoch,
    },
    /// No copy runs from `base`: it could not be set, or it has stopped. Since version 3.
    Halted {
        /// The generation of `base`.
        generation: Generation,
        /// The epoch that the copy was, or should have been, set to.
        base: Epoch,
        why: super::CopyEnd,
    },
}

/// Whether the witness lets the copy be activated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Copy {
    /// No copy may be activated.
    Stale,
    /// Only `holder` may activate its copy, by a takeover.
    Fresh { holder: NodeName },
}

/// The witness's record of one guest (`docs/DESIGN.md#a1`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Grows by one at every change, so that a delayed request never matches a later, equal-looking record.
    pub revision: u64,
    /// The fencing token.
    pub generation: Generation,
    /// Who may run the guest in this generation.
    pub owner: NodeName,
    /// Whether there is a copy that may be activated.
    pub copy: Copy,
}

/// Matches a reply to its request; unique per session instance and connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// To the witness. The driver adds the guest's name, since it knows whose session asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WitnessRequest {
    /// Read the record.
    Read {
        /// Returned in the reply.
        id: RequestId,
    },
    /// Replace the record if its revision is still `expect` (0: there is no record).
    Swap {
        /// Returned in the reply.
        id: RequestId,
        /// The revision that the sender has seen.
        expect: u64,
        /// The new record; its `revision` must be `expect + 1`.
        new: Record,
    },
    /// As `Swap`, on a person's order: whatever the record says, nobody but the sender has the guest. The sender takes
    /// the guest in a newer generation.
    Reclaim {
        /// Returned in the reply.
        id: RequestId,
        /// The revision of the record that the person saw.
        expect: u64,
        /// The new record; its `revision` must be `expect + 1`.
        new: Record,
    },
}

impl WitnessRequest {
    pub fn id(&self) -> RequestId {
        match self {
            Self::Read { id } | Self::Swap { id, .. } | Self::Reclaim { id, .. } => *id,
        }
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WitnessOutcome {
    /// Answer to `Read`.
    Told,
    /// The record was replaced, on stable storage.
    Swapped,
    /// The record had changed; `record` is what it is now.
    Conflict,
    /// The swap breaks a rule of authority (for example: takeover of a stale copy); nothing changed.
    Illegal,
}

/// From the witness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WitnessReply {
    pub id: RequestId,
    pub outcome: WitnessOutcome,
    /// The record as it is now; `None` if the guest has none.
    pub record: Option<Record>,
}
