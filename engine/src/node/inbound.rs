//! A frame that a link brought for one guest, in the loop's own memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::EpochPart;
use understudy_checkpoint::{Epoch, Generation};
use understudy_link::{HoldRefusal, PacketFrame, PacketList};
use understudy_session::{ToPrimary, ToSecondary};

/// A guest's name.
pub type GuestName = Arc<str>;

/// One frame about a guest.
#[derive(Debug)]
pub enum Inbound {
    /// The peer runs this guest, in this generation; `None` from a peer whose version does not tell.
    Offer(Option<Generation>, Box<Description>),
    /// The peer does not hold this guest.
    Declined(HoldRefusal),
    /// The peer can hold this guest now.
    Ready,
    /// The guest is started elsewhere only once the sender's host is fenced.
    NeedsFencing,
    /// From the guest's primary session.
    ToSecondary(ToSecondary),
    /// From the guest's secondary session.
    ToPrimary(ToPrimary),
    /// What the holder of the copy says of the guest's disk there.
    DiskSay {
        /// The generation of the question.
        generation: Generation,
        /// The epoch of the question.
        epoch: Epoch,
        /// Its bytes.
        say: Vec<u8>,
    },
    /// A part of the epoch begun last. The epoch's beginning is a message to the session, which accepts it or not.
    Part(EpochPart<Parcel>),
    /// Packets of the guest or of its copy, or news about them.
    Packets(GuestPackets),
}

/// A [`PacketFrame`] in the loop's own memory.
#[derive(Debug)]
pub enum GuestPackets {
    /// Input that the guest has received.
    Input {
        generation: Generation,
        /// The number of the first packet.
        first: u64,
        packets: PacketList,
    },
    /// The guest has taken some of that.
    Taken {
        generation: Generation,
        /// No image that is not acked, or is cut later, lacks any before this one.
        next: u64,
    },
    /// An epoch was cut.
    Cut {
        generation: Generation,
        epoch: Epoch,
        /// The number of the first packet that the epoch's image does not contain.
        next: u64,
        /// Connections whose numbers the sender rewrites.
        carried: Vec<u8>,
    },
    /// The guest's first packet of a TCP connection.
    Handshake {
        generation: Generation,
        /// The newest epoch that was cut before the guest sent it.
        epoch: Epoch,
        /// The SYN.
        packet: Vec<u8>,
    },
    /// The copy's output up to this packet has left.
    Released {
        generation: Generation,
        base: Epoch,
        /// The number of the last packet.
        through: u64,
    },
    /// What the copy's host keeps at most.
    Room {
        generation: Generation,
        /// Packets of input.
        input_packets: u64,
        /// Their bytes.
        input_bytes: u64,
        /// Packets of the copy that are not released.
        output_packets: u64,
    },
    /// Output of the copy.
    Output {
        generation: Generation,
        base: Epoch,
        /// The number of the first packet.
        first: u64,
        packets: PacketList,
    },
}

impl From<PacketFrame<'_>> for GuestPackets {
    fn from(frame: PacketFrame<'_>) -> Self {
        match frame {
            PacketFrame::Input { generation, first, packets } => {
                Self::Input { generation, first, packets: packets.into() }
            }
            PacketFrame::Taken { generation, next } => Self::Taken { generation, next },
            PacketFrame::Cut { generation, epoch, next, carried } => {
                Self::Cut { generation, epoch, next, carried: carried.to_vec() }
            }
            PacketFrame::Handshake { generation, epoch, packet } => {
                Self::Handshake { generation, epoch, packet: packet.to_vec() }
            }
            PacketFrame::Released { generation, base, through } => {
                Self::Released { generation, base, through }
            }
            PacketFrame::Room { generation, input_packets, input_bytes, output_packets } => {
                Self::Room { generation, input_packets, input_bytes, output_packets }
            }
            PacketFrame::Output { generation, base, first, packets } => {
                Self::Output { generation, base, first, packets: packets.into() }
            }
        }
    }
}

impl GuestPackets {
    fn len_bytes(&self) -> usize {
        match self {
            Self::Input { packets, .. } | Self::Output { packets, .. } => packets.len_bytes(),
            Self::Handshake { packet, .. } => packet.len(),
            Self::Cut { carried, .. } => carried.len(),
            Self::Released { .. } | Self::Taken { .. } | Self::Room { .. } => 0,
        }
    }
}

/// Bytes of an epoch, and the part of their guest's window that they use.
#[derive(Debug)]
pub struct Parcel {
    pub bytes: Vec<u8>,
    _credit: Credit,
}

impl Parcel {
    /// Bytes that return `credit` once they are processed.
    pub fn new(bytes: Vec<u8>, credit: Credit) -> Self {
        Self { bytes, _credit: credit }
    }
}

/// Bytes of a guest's window. When this is dropped, the sender may send as many again.
#[derive(Debug)]
pub struct Credit {
    taken: Taken,
    bytes: u64,
}

/// The bytes of one guest's epochs that were processed or dropped on one connection.
#[derive(Clone, Default, Debug)]
pub(super) struct Taken(Arc<AtomicU64>);

impl Taken {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn credit(&self, bytes: u64) -> Credit {
        Credit { taken: self.clone(), bytes }
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.taken.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

impl Inbound {
    /// The memory it uses, for bounds.
    pub fn len_bytes(&self) -> usize {
        let data = match self {
            Self::Part(part) => part.bytes().map_or(0, |parcel| parcel.bytes.len()),
            Self::Offer(_, description) => description.config.len() + description.static_records.len(),
            Self::Packets(packets) => packets.len_bytes(),
            Self::DiskSay { say, .. } => say.len(),
            Self::NeedsFencing
            | Self::ToSecondary(_)
            | Self::ToPrimary(_)
            | Self::Declined(_)
            | Self::Ready => 0,
        };
        data + size_of::<Self>()
    }
}
