//! What sessions say to each other. `link/` gives these a form in bytes; nothing here depends on it.

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
        /// The sender's generation.
        generation: Generation,
        /// The newest epoch the sender has an ack for in this generation, if any.
        acked: Option<Epoch>,
    },
    /// Pages and records of an epoch follow on the link, then its end.
    EpochBegin {
        /// The sender's generation.
        generation: Generation,
        /// The epoch that follows.
        epoch: Epoch,
        /// Seed or delta.
        kind: EpochKind,
        /// For a delta: the epoch whose image it changes. The receiver must stand at, or have complete, just this.
        base: Option<Epoch>,
    },
    /// Sent when nothing else was for a while.
    Heartbeat {
        /// The sender's generation.
        generation: Generation,
    },
    /// Planned takeover: the guest is suspended for good after `epoch`, which was acked. Take over.
    Switchover {
        /// The sender's generation.
        generation: Generation,
        /// The last epoch of this generation.
        epoch: Epoch,
    },
    /// Protection ends by the operator's wish (the witness holds the copy stale); forget the image.
    Farewell {
        /// The sender's generation.
        generation: Generation,
    },
    /// Whether the guest should run at the receiver as well, without effect on the world. Since version 3.
    CopyWanted {
        /// The sender's generation.
        generation: Generation,
        /// How the guest is protected: after a takeover it is so on.
        mode: super::Mode,
        /// The copy may be set to this epoch or a later one: what the guest hears after their cuts is sent. `None`: there should
        /// be no copy.
        from: Option<Epoch>,
    },
}

impl ToSecondary {
    /// The sender's generation.
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
    /// No image that could be built upon: a seed is needed.
    Nothing,
    /// A committed image, the newest complete epoch being this one, of this generation.
    Complete {
        /// Generation it was acked in.
        generation: Generation,
        /// Newest complete (acked) epoch.
        epoch: Epoch,
    },
}

/// Why a secondary does not take an offer or an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decline {
    /// The sender's generation is over: the receiver knows of this newer one.
    Fenced {
        /// The newer generation.
        generation: Generation,
    },
    /// The epoch does not follow what the receiver holds.
    WrongBase,
    /// The epoch arrived damaged or does not decode; the image stands where it stood.
    Damaged,
    /// Pages that did not change are others in the receiver's image: no epoch can be built on it. Since version 2.
    Diverged,
    /// The epoch is larger than the receiver's buffer; the image stands where it stood.
    TooLarge,
    /// The receiver lost its image (a failed commit): a seed is needed.
    ImageLost,
    /// The receiver has begun a takeover and does not ack in this generation any more.
    TakingOver,
}

/// Secondary to primary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToPrimary {
    /// Answer to `Offer`.
    Stand {
        /// Generation of the offer answered.
        generation: Generation,
        /// What the sender holds.
        standing: Standing,
    },
    /// Checkpoint `epoch` is complete and held here.
    Ack {
        /// Generation it was sent in.
        generation: Generation,
        /// The epoch.
        epoch: Epoch,
    },
    /// An offer or an epoch is not taken.
    Declined {
        /// Generation of what is declined.
        generation: Generation,
        /// The epoch, if it was one.
        epoch: Option<Epoch>,
        /// Why.
        why: Decline,
    },
    /// Sent when nothing else was for a while.
    Heartbeat {
        /// The newest generation the sender knows of for this guest.
        generation: Generation,
    },
    /// The copy runs from `base`, which was acked, and what it sends is told. Since version 3.
    Live {
        /// Generation of the epoch.
        generation: Generation,
        /// The epoch that the copy was set to.
        base: Epoch,
    },
    /// There is no copy that runs from `base`, or there is none any more. Since version 3.
    Halted {
        /// Generation of the epoch.
        generation: Generation,
        /// The epoch that it was, or should have been, set to.
        base: Epoch,
        /// Why.
        why: super::CopyEnd,
    },
}

/// Whether the witness lets the copy be activated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Copy {
    /// No copy may be activated.
    Stale,
    /// The copy at `holder` may be activated, by it alone, with a takeover.
    Fresh {
        /// Who holds it.
        holder: NodeName,
    },
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

/// Pairs a reply with its request; unique per session instance and connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RequestId(pub u64);

/// To the witness. `guest` is added by the driver, which knows whose session speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WitnessRequest {
    /// What does the record say?
    Read {
        /// Echoed.
        id: RequestId,
    },
    /// Replace the record if its revision is still `expect` (0: there is no record).
    Swap {
        /// Echoed.
        id: RequestId,
        /// Revision the sender has seen.
        expect: u64,
        /// The new record; its `revision` must be `expect + 1`.
        new: Record,
    },
    /// As `Swap`, by a person's word: whatever the record says, nobody but the sender has the guest. The sender takes
    /// it in a newer generation.
    Reclaim {
        /// Echoed.
        id: RequestId,
        /// Revision of the record that the person saw.
        expect: u64,
        /// The new record; its `revision` must be `expect + 1`.
        new: Record,
    },
}

impl WitnessRequest {
    /// Its id.
    pub fn id(&self) -> RequestId {
        match self {
            Self::Read { id } | Self::Swap { id, .. } | Self::Reclaim { id, .. } => *id,
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WitnessOutcome {
    /// Answer to `Read`.
    Told,
    /// The record is replaced, on stable storage.
    Swapped,
    /// The record had changed; `record` is what it is now.
    Conflict,
    /// The swap breaks a rule of authority (for example: takeover of a stale copy); nothing changed.
    Illegal,
}

/// From the witness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WitnessReply {
    /// Of the request answered.
    pub id: RequestId,
    /// What became of it.
    pub outcome: WitnessOutcome,
    /// The record as it is now; `None` if the guest has none.
    pub record: Option<Record>,
}
