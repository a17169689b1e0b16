//! What a link brought for one guest, in the loop's own memory.

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
    /// The peer runs this guest, in this generation; `None` from a peer that does not say.
    Offer(Option<Generation>, Box<Description>),
    /// The peer does not hold this guest.
    Declined(HoldRefusal),
    /// The peer can hold this guest now.
    Ready,
    /// From the guest's primary session.
    ToSecondary(ToSecondary),
    /// From the guest's secondary session.
    ToPrimary(ToPrimary),
    /// A part of the epoch begun last. That it begins is a message to the session, which lets it in or not.
    Part(EpochPart<Parcel>),
    /// Packets of the guest or of its copy, or what became of them.
    Packets(GuestPackets),
}

/// A [`PacketFrame`] in the loop's own memory.
#[derive(Debug)]
pub enum GuestPackets {
    /// What the guest has heard.
    Input {
        /// The sender's.
        generation: Generation,
        /// The number of the first one.
        first: u64,
        /// They.
        packets: PacketList,
    },
    /// An epoch was cut.
    Cut {
        /// The sender's.
        generation: Generation,
        /// The epoch.
        epoch: Epoch,
        /// The number of the first packet that its image does not contain.
        next: u64,
        /// Connections whose numbers the sender rewrites.
        carried: Vec<u8>,
    },
    /// How the guest began a TCP connection.
    Handshake {
        /// The sender's.
        generation: Generation,
        /// The newest epoch that was cut before.
        epoch: Epoch,
        /// The SYN.
        packet: Vec<u8>,
    },
    /// What the copy sent up to this has left.
    Released {
        /// The sender's.
        generation: Generation,
        /// What the copy was set to.
        base: Epoch,
        /// The number of the last one.
        through: u64,
    },
    /// What the copy has sent.
    Output {
        /// That of the epoch.
        generation: Generation,
        /// What the copy was set to.
        base: Epoch,
        /// The number of the first one.
        first: u64,
        /// They.
        packets: PacketList,
    },
}

impl From<PacketFrame<'_>> for GuestPackets {
    fn from(frame: PacketFrame<'_>) -> Self {
        match frame {
            PacketFrame::Input { generation, first, packets } => {
                Self::Input { generation, first, packets: packets.into() }
            }
            PacketFrame::Cut { generation, epoch, next, carried } => {
                Self::Cut { generation, epoch, next, carried: carried.to_vec() }
            }
            PacketFrame::Handshake { generation, epoch, packet } => {
                Self::Handshake { generation, epoch, packet: packet.to_vec() }
            }
            PacketFrame::Released { generation, base, through } => {
                Self::Released { generation, base, through }
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
            Self::Released { .. } => 0,
        }
    }
}

/// Bytes of an epoch, and what they take of their guest's window.
#[derive(Debug)]
pub struct Parcel {
    /// The bytes.
    pub bytes: Vec<u8>,
    _credit: Credit,
}

impl Parcel {
    /// `bytes`, which give `credit` back once they are dealt with.
    pub fn new(bytes: Vec<u8>, credit: Credit) -> Self {
        Self { bytes, _credit: credit }
    }
}

/// Bytes of a guest's window. However they go, taken in or thrown away, the sender may send as many again.
#[derive(Debug)]
pub struct Credit {
    taken: Taken,
    bytes: u64,
}

/// Bytes of one guest's epochs that were taken in or thrown away, on one connection.
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
    /// Memory it takes, for bounds.
    pub fn len_bytes(&self) -> usize {
        let data = match self {
            Self::Part(part) => part.bytes().map_or(0, |parcel| parcel.bytes.len()),
            Self::Offer(_, description) => description.config.len() + description.static_records.len(),
            Self::Packets(packets) => packets.len_bytes(),
            Self::ToSecondary(_) | Self::ToPrimary(_) | Self::Declined(_) | Self::Ready => 0,
        };
        data + size_of::<Self>()
    }
}
