//! The frames of a link. `docs/LINK.md` draws each body byte by byte.
//!
//! ```text
//!   LinkFrame     Hello ─► ◄─ HelloAnswer | Refuse          Bye, Ping, Pong, Bulletin, FactsWanted, Facts
//!   GuestFrame    Offer ─► [NeedsFencing ─►]              ◄─ HoldDeclined, and HoldReady once the cause is gone
//!                 then, in this order for each epoch, as far as the peer's Window reaches:
//!                 ToSecondary(EpochBegin) ─► PageBatch* ─► LibxcState* ─► LibxlState* ─► EpochEnd ─►
//!                                            └ of a guest with disks, anywhere between: DiskWrites* ─► DiskEnd ─►
//!                 ToSecondary(other) ─►                                       ◄─ ToPrimary, Window
//!                 Packets ─►                                                  ◄─ Packets
//!   WitnessFrame  Request ─► ◄─ Reply                       AboutLease ─► ◄─ LeaseReply
//! ```
//!
//! Each conversation is a type of its own, so that a node never handles the witness's frames, nor the witness a
//! guest's.
//!
//! The end that offers a guest gives it a number, which is valid for that end's frames and the answers to them. Each
//! end numbers its own guests.

use super::hello::{Hello, HelloAnswer};
use super::kind::Kind;
use super::packets::PacketFrame;
use super::refusal::HoldRefusal;
use super::service::RefuseReason;
use super::values::{DeclineTag, Value};
use super::version::CHECKS_SINCE;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::WritesSummary;
use understudy_checkpoint::pages::{EpochSummary, FORM_CHECKS, FORM_STATE};
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::lease::{LeaseReply, LeaseRequest};
use understudy_session::{ToPrimary, ToSecondary, WitnessReply, WitnessRequest};

/// Page frames of the largest guest that engines protect: 256 GiB. Its page types alone take 64 MiB in an image.
pub const GUEST_PAGES_MAX: u64 = 1 << 26;

/// Bytes of epoch frames that may be sent for a guest before its holder announces a further window.
pub const WINDOW_BYTES: u64 = 8 << 20;

/// The longest body. Page batches stay far below it; a description may carry a configuration and the frame list of a
/// large PV guest.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// The longest body before the hello is done, and always on a link to the witness: a stranger can make us allocate no
/// more.
pub const SMALL_BODY_BYTES_MAX: usize = 2 << 10;

/// The longest bulletin: a few words about each guest that a node may have.
pub const BULLETIN_BYTES_MAX: usize = 64 << 10;

/// The longest facts about a host: some hundred CPUID leaves, and a line for each guest and interface.
pub const FACTS_BYTES_MAX: usize = 512 << 10;

/// The most disks that a guest may have.
pub const DISKS_MAX: usize = 64;

/// The most that a state frame carries; longer state is split and joined again.
pub const STATE_BYTES_MAX: usize = 1 << 20;

/// A guest's number on one connection, from 1 on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GuestId(core::num::NonZeroU32);

impl GuestId {
    /// The number, unless it is 0, which stands for the link itself.
    pub fn new(number: u32) -> Option<Self> {
        core::num::NonZeroU32::new(number).map(Self)
    }

    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A frame, by its conversation. Page batches and state are borrowed; everything else is small and owned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// About the link itself.
    Link(LinkFrame),
    /// About this guest.
    Guest(GuestId, GuestFrame<'a>),
    /// To or from the witness.
    Witness(WitnessFrame<'a>),
}

/// Frames about the link itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkFrame {
    /// First frame of the end that connected.
    Hello(Hello),
    /// Agreement of the other end.
    HelloAnswer(HelloAnswer),
    /// Refusal, at the hello or at any later time; the sender closes.
    Refuse {
        reason: RefuseReason,
        /// The reason in words, for a person.
        detail: String,
    },
    /// The sender ends in order and closes.
    Bye,
    /// Asks whether the other end is alive. Between nodes from version 2 on.
    Ping,
    /// The answer to a ping.
    Pong,
    /// How the sender and its guests stand, for people, as JSON. Between nodes from version 5 on.
    Bulletin(Vec<u8>),
    /// Asks for facts about the other host, for `preflight`. Between nodes from version 7 on.
    FactsWanted,
    /// Facts about the sender's host, as JSON; empty if it cannot tell them. Between nodes from version 7 on.
    Facts(Vec<u8>),
}

/// Frames between two nodes about a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GuestFrame<'a> {
    /// Gives the guest its number on this connection. Precedes all other frames about it.
    Offer {
        name: &'a str,
        /// The generation in which it runs, 0 before it has one; `None` on a link of version 1.
        generation: Option<Generation>,
        description: Box<Description>,
    },
    /// From the session of the guest's primary.
    ToSecondary(ToSecondary),
    /// Encoded pages of the epoch begun last, for `checkpoint::epoch::Receiver`.
    PageBatch(&'a [u8]),
    /// libxc records of the epoch begun last, verbatim. Several such frames are joined.
    LibxcState(&'a [u8]),
    /// libxl records of the epoch begun last, verbatim. Several such frames are joined.
    LibxlState(&'a [u8]),
    /// Writes to the guest's disks, as `docs/DISKS.md` draws a batch. From version 4 on.
    DiskWrites {
        /// Of the epoch begun last.
        generation: Generation,
        /// The epoch that was open when they were made.
        tag: Epoch,
        /// The batch.
        batch: &'a [u8],
    },
    /// The epoch begun last has all its writes to disks. From version 4 on.
    DiskEnd {
        /// As in `EpochBegin`.
        generation: Generation,
        /// As in `EpochBegin`.
        epoch: Epoch,
        /// What must have arrived.
        summary: WritesSummary,
    },
    /// A question about the guest's disk, as `docs/DISKS.md` draws it. From version 4 on.
    DiskAsk {
        /// The generation of the epoch that was begun last.
        generation: Generation,
        /// That epoch.
        epoch: Epoch,
        /// The question.
        ask: &'a [u8],
    },
    /// An answer about it, from the host that does not run the guest. From version 4 on.
    DiskSay {
        /// The generation of the question.
        generation: Generation,
        /// The epoch of the question.
        epoch: Epoch,
        /// The answer.
        say: &'a [u8],
    },
    /// The epoch begun last is complete.
    EpochEnd {
        generation: Generation,
        epoch: Epoch,
        /// The counts and digest of what must have arrived.
        summary: EpochSummary,
    },
    /// From the session of the guest's secondary.
    ToPrimary(ToPrimary),
    /// The offered guest is not held here: its primary must send none of its epochs. From version 2 on.
    HoldDeclined(HoldRefusal),
    /// The guest that was declined can be held now: its primary may begin. From version 2 on.
    HoldReady,
    /// The guest may be started elsewhere only once the sender's host is fenced. Follows the offer of such a guest. From
    /// version 6 on.
    NeedsFencing,
    /// Packets of the guest and of its copy. From version 3 on.
    Packets(PacketFrame<'a>),
    /// How many bytes of the guest's epoch frames may be sent, counted from its first offer on this connection. A frame
    /// may be sent while fewer bytes were sent before it. From version 2 on.
    Window { through_bytes: u64 },
}

/// Frames between a node and the witness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WitnessFrame<'a> {
    /// To the witness.
    Request { guest: &'a str, request: WitnessRequest },
    /// From the witness.
    Reply { guest: &'a str, reply: WitnessReply },
    /// To the witness, about the lease of a host. From version 6 on.
    AboutLease { host: &'a str, request: LeaseRequest },
    /// From the witness, about the lease of a host. From version 6 on.
    LeaseReply { host: &'a str, reply: LeaseReply },
}

impl LinkFrame {
    fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::HelloAnswer(_) => Kind::HelloAnswer,
            Self::Refuse { .. } => Kind::Refuse,
            Self::Bye => Kind::Bye,
            Self::Ping => Kind::Ping,
            Self::Pong => Kind::Pong,
            Self::Bulletin(_) => Kind::Bulletin,
            Self::FactsWanted => Kind::FactsWanted,
            Self::Facts(_) => Kind::Facts,
        }
    }
}

impl<'a> GuestFrame<'a> {
    /// Makes a frame about `guest` of it.
    pub fn of(self, guest: GuestId) -> Frame<'a> {
        Frame::Guest(guest, self)
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Offer { description, .. } if !description.disks_bytes.is_empty() => Kind::GuestOfferDisks,
            Self::Offer { generation: None, .. } => Kind::GuestOffer,
            Self::Offer { generation: Some(_), .. } => Kind::GuestOfferGeneration,
            Self::ToSecondary(message) => match message {
                ToSecondary::Offer { .. } => Kind::Offer,
                ToSecondary::EpochBegin { .. } => Kind::EpochBegin,
                ToSecondary::Heartbeat { .. } => Kind::PrimaryHeartbeat,
                ToSecondary::Switchover { .. } => Kind::Switchover,
                ToSecondary::Farewell { .. } => Kind::Farewell,
                ToSecondary::CopyWanted { .. } => Kind::CopyWanted,
            },
            Self::PageBatch(_) => Kind::PageBatch,
            Self::LibxcState(_) => Kind::LibxcState,
            Self::LibxlState(_) => Kind::LibxlState,
            Self::DiskWrites { .. } => Kind::DiskWrites,
            Self::DiskEnd { .. } => Kind::DiskEnd,
            Self::DiskAsk { .. } => Kind::DiskAsk,
            Self::DiskSay { .. } => Kind::DiskSay,
            Self::EpochEnd { .. } => Kind::EpochEnd,
            Self::ToPrimary(message) => match message {
                ToPrimary::Stand { .. } => Kind::Stand,
                ToPrimary::Ack { .. } => Kind::Ack,
                ToPrimary::Declined { .. } => Kind::Declined,
                ToPrimary::Heartbeat { .. } => Kind::SecondaryHeartbeat,
                ToPrimary::Live { .. } => Kind::Live,
                ToPrimary::Halted { .. } => Kind::Halted,
            },
            Self::HoldDeclined(_) => Kind::HoldDeclined,
            Self::HoldReady => Kind::HoldReady,
            Self::NeedsFencing => Kind::NeedsFencing,
            Self::Packets(packets) => packets.kind(),
            Self::Window { .. } => Kind::Window,
        }
    }

    /// What it is, for a person.
    pub fn kind_name(&self) -> &'static str {
        self.kind().words()
    }

    /// The frame's bytes on the link, if windows count it: the parts of an epoch.
    pub fn window_bytes(&self) -> Option<u64> {
        let body = match self {
            Self::ToSecondary(ToSecondary::EpochBegin { .. }) => EPOCH_BEGIN_BYTES,
            Self::EpochEnd { .. } => EPOCH_END_BYTES,
            Self::PageBatch(bytes) | Self::LibxcState(bytes) | Self::LibxlState(bytes) => bytes.len(),
            Self::DiskWrites { batch, .. } => DISK_WRITES_HEAD_BYTES + batch.len(),
            Self::DiskEnd { .. } => DISK_END_BYTES,
            Self::DiskAsk { ask, .. } => DISK_WRITES_HEAD_BYTES + ask.len(),
            _ => return None,
        };
        Some((super::HEADER_BYTES + body) as u64)
    }
}

impl WitnessFrame<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::Request { request: WitnessRequest::Read { .. }, .. } => Kind::WitnessRead,
            Self::Request { request: WitnessRequest::Swap { .. }, .. } => Kind::WitnessSwap,
            Self::Request { request: WitnessRequest::Reclaim { .. }, .. } => Kind::WitnessReclaim,
            Self::Reply { .. } => Kind::WitnessReply,
            Self::AboutLease { request: LeaseRequest::Read { .. }, .. } => Kind::LeaseRead,
            Self::AboutLease { request: LeaseRequest::Swap { .. }, .. } => Kind::LeaseSwap,
            Self::LeaseReply { .. } => Kind::LeaseReply,
        }
    }

    /// What it is, for a person.
    pub fn kind_name(&self) -> &'static str {
        self.kind().words()
    }
}

impl From<LinkFrame> for Frame<'_> {
    fn from(frame: LinkFrame) -> Self {
        Self::Link(frame)
    }
}

impl<'a> From<WitnessFrame<'a>> for Frame<'a> {
    fn from(frame: WitnessFrame<'a>) -> Self {
        Self::Witness(frame)
    }
}

impl Frame<'_> {
    /// The kind of its body.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Link(frame) => frame.kind(),
            Self::Guest(_, frame) => frame.kind(),
            Self::Witness(frame) => frame.kind(),
        }
    }

    /// What it is, for a person.
    pub fn kind_name(&self) -> &'static str {
        self.kind().words()
    }

    /// The guest that it is about; `None` for the link itself and for the witness, which knows guests by name.
    pub fn guest(&self) -> Option<GuestId> {
        match self {
            Self::Guest(guest, _) => Some(*guest),
            Self::Link(_) | Self::Witness(_) => None,
        }
    }

    /// The first version of the protocol that has this frame, and the value in it.
    pub fn since(&self) -> u16 {
        let of_value = match self {
            Self::Guest(_, GuestFrame::PageBatch([FORM_CHECKS | FORM_STATE, ..])) => CHECKS_SINCE,
            Self::Guest(_, GuestFrame::ToPrimary(ToPrimary::Declined { why, .. })) => {
                DeclineTag::from(why).row().since
            }
            Self::Link(LinkFrame::Refuse { reason, .. }) => reason.row().since,
            _ => 1,
        };
        self.kind().since().max(of_value)
    }
}

/// Generation, epoch, kind, base.
const EPOCH_BEGIN_BYTES: usize = 8 + 8 + 1 + 9;

/// Generation, tag.
const DISK_WRITES_HEAD_BYTES: usize = 2 * 8;

/// Generation, epoch, writes, bytes, digest.
const DISK_END_BYTES: usize = 4 * 8 + 16;

/// Generation, epoch, entries, pages with data, digest.
const EPOCH_END_BYTES: usize = 5 * 8;
