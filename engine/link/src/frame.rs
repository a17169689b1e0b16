//! What a frame can be. `docs/LINK.md` draws each body byte by byte.
//!
//! ```text
//!   the link      Hello ─► ◄─ HelloAnswer | Refuse          Bye
//!   a guest       GuestOffer ─►                          ◄─ HoldDeclined, and HoldReady once the cause is gone
//!                 then, in this order for each epoch, as far as the peer's Window reaches:
//!                 ToSecondary(EpochBegin) ─► PageBatch* ─► LibxcState* ─► LibxlState* ─► EpochEnd ─►
//!                 ToSecondary(other) ─►                                       ◄─ ToPrimary, Window
//!   the witness   WitnessRequest ─► ◄─ WitnessReply
//! ```
//!
//! A guest's number is given by the end that offers it, and is valid for that end's frames and the answers to
//! them: each direction of offering has its own numbers.

use super::kind::Kind;
use super::refusal::HoldRefusal;
use super::values::{DeclineTag, Value};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::ops::RangeInclusive;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::pages::{EpochSummary, FORM_CHECKS, FORM_STATE};
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{NodeName, ToPrimary, ToSecondary, WitnessReply, WitnessRequest};

/// Versions of the protocol that this engine speaks: the current one and the one before.
pub const VERSIONS: RangeInclusive<u16> = 1..=2;

/// The first version with refusals for single guests, windows, and pings between nodes.
pub const GUEST_REFUSALS_SINCE: u16 = 2;

/// The first version whose epochs carry checks of unchanged pages and the digest of their state.
pub const CHECKS_SINCE: u16 = 2;

/// Frames of the largest guest that engines protect: 256 GiB. Its page types alone take 64 MiB in an image.
pub const GUEST_PAGES_MAX: u64 = 1 << 26;

/// Bytes of epoch frames that may be sent for a guest before its holder announces a further window.
pub const WINDOW_BYTES: u64 = 8 << 20;

/// A body is no longer than this. Page batches stay far below it; a description may carry a configuration and
/// the frame list of a large PV guest.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// A body is no longer than this before the hello is done, and always on a link to the witness: a stranger
/// gets no more memory of ours.
pub const SMALL_BODY_BYTES_MAX: usize = 2 << 10;

/// A state frame carries at most this much; longer state is cut and joined again.
pub const STATE_BYTES_MAX: usize = 1 << 20;

/// A guest's number on one connection, from 1 on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GuestId(core::num::NonZeroU32);

impl GuestId {
    /// The number, unless it is 0, which stands for the link itself.
    pub fn new(number: u32) -> Option<Self> {
        core::num::NonZeroU32::new(number).map(Self)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the end that connects wants to talk to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// A node that holds guests.
    Node,
    /// The witness.
    Witness,
}

/// Who an end of a link is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its name.
    pub node: NodeName,
    /// Drawn anew whenever its process starts: tells a restarted node from one that lost a connection.
    pub instance: u64,
}

/// The first frame of the end that connected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Versions it speaks.
    pub versions: (u16, u16),
    /// What it wants to talk to.
    pub service: Service,
    /// Who it is.
    pub from: Identity,
}

/// The first frame of the end that was connected to, if it agrees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelloAnswer {
    /// The version that both speak from here on.
    pub version: u16,
    /// Who it is.
    pub from: Identity,
}

/// Why an end does not agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefuseReason {
    /// No version that both speak.
    NoCommonVersion,
    /// It is not what the other end wants to talk to.
    WrongService,
    /// There is, or is about to be, another link between these two nodes.
    Duplicate,
    /// It does not expect this node.
    UnknownNode,
    /// It has no room for another connection.
    Full,
    /// The other end did not keep to the protocol.
    Protocol,
    /// Another process of this name is connected and answers. Only for ends that speak version 2.
    NameInUse,
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().words)
    }
}

/// A frame. Page batches and state borrow from where they stand; everything else is small and owned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// First frame of the end that connected.
    Hello(Hello),
    /// Agreement of the other end.
    HelloAnswer(HelloAnswer),
    /// Disagreement, at the hello or at any later time; the sender closes.
    Refuse {
        /// Why.
        reason: RefuseReason,
        /// Why, for a person.
        detail: String,
    },
    /// The sender ends in order and closes.
    Bye,
    /// Are you there? Between nodes from version 2 on.
    Ping,
    /// Yes.
    Pong,
    /// Gives a guest its number on this connection. Precedes everything else about it.
    GuestOffer {
        /// Its number.
        guest: GuestId,
        /// Its name.
        name: &'a str,
        /// The generation it runs in, 0 before it has one; `None` on a link of version 1.
        generation: Option<Generation>,
        /// What it is.
        description: Box<Description>,
    },
    /// From the session of the guest's primary.
    ToSecondary {
        /// Which guest.
        guest: GuestId,
        /// The message.
        message: ToSecondary,
    },
    /// Encoded pages of the epoch begun last, for `checkpoint::epoch::Receiver`.
    PageBatch {
        /// Which guest.
        guest: GuestId,
        /// The batch.
        batch: &'a [u8],
    },
    /// libxc records of the epoch begun last, verbatim. Several such frames are joined.
    LibxcState {
        /// Which guest.
        guest: GuestId,
        /// The records.
        records: &'a [u8],
    },
    /// libxl records of the epoch begun last, verbatim. Several such frames are joined.
    LibxlState {
        /// Which guest.
        guest: GuestId,
        /// The records.
        records: &'a [u8],
    },
    /// The epoch begun last is whole.
    EpochEnd {
        /// Which guest.
        guest: GuestId,
        /// As in `EpochBegin`.
        generation: Generation,
        /// As in `EpochBegin`.
        epoch: Epoch,
        /// What must have arrived.
        summary: EpochSummary,
    },
    /// From the session of the guest's secondary.
    ToPrimary {
        /// Which guest.
        guest: GuestId,
        /// The message.
        message: ToPrimary,
    },
    /// The guest that was offered is not held here: nothing of it is to be sent. From version 2 on.
    HoldDeclined {
        /// Which guest.
        guest: GuestId,
        /// Why.
        refusal: HoldRefusal,
    },
    /// The guest that was declined can be held now: its primary may begin. From version 2 on.
    HoldReady {
        /// Which guest.
        guest: GuestId,
    },
    /// So many bytes of epoch frames of the guest may be sent, counted from its first offer on this connection. From
    /// version 2 on.
    Window {
        /// Which guest.
        guest: GuestId,
        /// A frame may be sent while fewer were sent before it.
        through_bytes: u64,
    },
    /// To the witness.
    WitnessRequest {
        /// Name of the guest.
        guest: &'a str,
        /// The request.
        request: WitnessRequest,
    },
    /// From the witness.
    WitnessReply {
        /// Name of the guest.
        guest: &'a str,
        /// The reply.
        reply: WitnessReply,
    },
}

impl Frame<'_> {
    /// What its body is.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::HelloAnswer(_) => Kind::HelloAnswer,
            Self::Refuse { .. } => Kind::Refuse,
            Self::Bye => Kind::Bye,
            Self::Ping => Kind::Ping,
            Self::Pong => Kind::Pong,
            Self::GuestOffer { generation: None, .. } => Kind::GuestOffer,
            Self::GuestOffer { generation: Some(_), .. } => Kind::GuestOfferGeneration,
            Self::ToSecondary { message, .. } => match message {
                ToSecondary::Offer { .. } => Kind::Offer,
                ToSecondary::EpochBegin { .. } => Kind::EpochBegin,
                ToSecondary::Heartbeat { .. } => Kind::PrimaryHeartbeat,
                ToSecondary::Switchover { .. } => Kind::Switchover,
                ToSecondary::Farewell { .. } => Kind::Farewell,
            },
            Self::PageBatch { .. } => Kind::PageBatch,
            Self::LibxcState { .. } => Kind::LibxcState,
            Self::LibxlState { .. } => Kind::LibxlState,
            Self::EpochEnd { .. } => Kind::EpochEnd,
            Self::ToPrimary { message, .. } => match message {
                ToPrimary::Stand { .. } => Kind::Stand,
                ToPrimary::Ack { .. } => Kind::Ack,
                ToPrimary::Declined { .. } => Kind::Declined,
                ToPrimary::Heartbeat { .. } => Kind::SecondaryHeartbeat,
            },
            Self::HoldDeclined { .. } => Kind::HoldDeclined,
            Self::HoldReady { .. } => Kind::HoldReady,
            Self::Window { .. } => Kind::Window,
            Self::WitnessRequest { request, .. } => match request {
                WitnessRequest::Read { .. } => Kind::WitnessRead,
                WitnessRequest::Swap { .. } => Kind::WitnessSwap,
                WitnessRequest::Reclaim { .. } => Kind::WitnessReclaim,
            },
            Self::WitnessReply { .. } => Kind::WitnessReply,
        }
    }

    /// What it is, for a person.
    pub fn kind_name(&self) -> &'static str {
        self.kind().words()
    }

    /// Which guest it is about; `None` for the link itself and for the witness, which knows guests by name.
    pub fn guest(&self) -> Option<GuestId> {
        match self {
            Self::GuestOffer { guest, .. }
            | Self::ToSecondary { guest, .. }
            | Self::PageBatch { guest, .. }
            | Self::LibxcState { guest, .. }
            | Self::LibxlState { guest, .. }
            | Self::EpochEnd { guest, .. }
            | Self::ToPrimary { guest, .. }
            | Self::HoldDeclined { guest, .. }
            | Self::HoldReady { guest }
            | Self::Window { guest, .. } => Some(*guest),
            Self::Hello(_)
            | Self::HelloAnswer(_)
            | Self::Refuse { .. }
            | Self::Bye
            | Self::Ping
            | Self::Pong
            | Self::WitnessRequest { .. }
            | Self::WitnessReply { .. } => None,
        }
    }
}

impl Frame<'_> {
    /// The first version of the protocol that has this frame, and the value in it.
    pub fn since(&self) -> u16 {
        let of_value = match self {
            Self::PageBatch { batch, .. } if matches!(batch.first(), Some(&(FORM_CHECKS | FORM_STATE))) => {
                CHECKS_SINCE
            }
            Self::ToPrimary { message: ToPrimary::Declined { why, .. }, .. } => {
                DeclineTag::from(why).row().since
            }
            Self::Refuse { reason, .. } => reason.row().since,
            _ => 1,
        };
        self.kind().since().max(of_value)
    }

    /// Bytes on the link of a frame that windows count: what an epoch is made of.
    pub fn window_bytes(&self) -> Option<u64> {
        let body = match self {
            Self::ToSecondary { message: ToSecondary::EpochBegin { .. }, .. } => EPOCH_BEGIN_BYTES,
            Self::EpochEnd { .. } => EPOCH_END_BYTES,
            Self::PageBatch { batch: bytes, .. }
            | Self::LibxcState { records: bytes, .. }
            | Self::LibxlState { records: bytes, .. } => bytes.len(),
            _ => return None,
        };
        Some((super::HEADER_BYTES + body) as u64)
    }
}

/// Generation, epoch, kind, base.
const EPOCH_BEGIN_BYTES: usize = 8 + 8 + 1 + 9;

/// Generation, epoch, entries, pages with data, digest.
const EPOCH_END_BYTES: usize = 5 * 8;

/// The newest version that both ends speak.
pub fn common_version(theirs: (u16, u16)) -> Option<u16> {
    let newest = theirs.1.min(*VERSIONS.end());
    (newest >= theirs.0.max(*VERSIONS.start())).then_some(newest)
}
