//! Network packets of a guest with a copy that runs: what the guest hears, what the copy sends, and what became of it.
//!
//! ```text
//!   primary ── Input, Cut, Handshake, Released ──► secondary     in lanes of their own, before pages: somebody
//!           ◄─ Output ────────────────────────────               waits for each packet
//!
//!   a list of packets   length u32 │ that many bytes │ length u32 │ …      at least one, numbered one by one from `first`
//! ```
//!
//! Not here: what a packet is (`colo`), and which leave.

use super::LinkError;
use super::body::{Body, put_blob, put_u64};
use super::kind::Kind;
use alloc::vec::Vec;
use understudy_checkpoint::{Epoch, Generation};

/// A packet is no longer than this: 64 KiB of IP behind an Ethernet header with VLANs, and the header of a virtual card.
pub const PACKET_BYTES_MAX: usize = (64 << 10) + 64;

/// A list of packets is no longer than this: what a later packet waits for on a slow link.
pub const PACKETS_BYTES_MAX: usize = 256 << 10;

/// A frame that carries packets, or tells of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketFrame<'a> {
    /// What the guest has heard.
    Input {
        /// The sender's generation.
        generation: Generation,
        /// The number of the first packet. Numbers only grow in a generation; those that are left out were lost.
        first: u64,
        /// The packets, in order.
        packets: Packets<'a>,
    },
    /// An epoch was cut. What was heard before is sent before.
    Cut {
        /// The sender's generation.
        generation: Generation,
        /// The epoch.
        epoch: Epoch,
        /// The number of the first packet that the image of the epoch does not contain.
        next: u64,
        /// Connections whose numbers the sender rewrites, in a form that is not the link's.
        carried: &'a [u8],
    },
    /// The guest has sent this beginning of a TCP connection: what its numbers are.
    Handshake {
        /// The sender's generation.
        generation: Generation,
        /// The newest epoch that was cut before it was sent.
        epoch: Epoch,
        /// The packet.
        packet: &'a [u8],
    },
    /// What the copy sent from `base` up to this has left by itself or in the guest's words.
    Released {
        /// The sender's generation.
        generation: Generation,
        /// Of the `Output`.
        base: Epoch,
        /// The number of the last one.
        through: u64,
    },
    /// What the copy has sent.
    Output {
        /// Generation of the epoch.
        generation: Generation,
        /// The epoch that the copy was set to.
        base: Epoch,
        /// The number of the first packet, counted from `base`.
        first: u64,
        /// The packets, in order.
        packets: Packets<'a>,
    },
}

/// Why a packet is not in a list.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotPacked {
    /// Nothing is so long on a network.
    #[error(
        "a packet of {0} bytes is longer than any that a guest sends, which is at most {PACKET_BYTES_MAX}"
    )]
    TooLong(usize),
    /// The list is to be sent first.
    #[error("the list is full: it carries at most {PACKETS_BYTES_MAX} bytes")]
    Full,
}

/// A list of packets as it stands in a frame; there is one at least, and each has its bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packets<'a>(&'a [u8]);

impl<'a> Packets<'a> {
    /// The packets.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = Body(self.0);
        core::iter::from_fn(move || rest.blob().ok())
    }

    /// Reads a list to its end.
    fn read(body: &mut Body<'a>) -> Result<Self, LinkError> {
        let list = core::mem::take(&mut body.0);
        if list.len() > PACKETS_BYTES_MAX {
            return Err(LinkError::TooManyPackets(list.len()));
        }
        let mut rest = Body(list);
        loop {
            check(rest.blob()?)?;
            if rest.0.is_empty() {
                return Ok(Self(list));
            }
        }
    }
}

/// A list of packets that is being made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PacketList(Vec<u8>);

impl PacketList {
    /// Puts a packet at the end of the list.
    pub fn push(&mut self, packet: &[u8]) -> Result<(), NotPacked> {
        if packet.len() > PACKET_BYTES_MAX {
            return Err(NotPacked::TooLong(packet.len()));
        }
        if self.0.len() + LENGTH_BYTES + packet.len() > PACKETS_BYTES_MAX {
            return Err(NotPacked::Full);
        }
        put_blob(&mut self.0, packet);
        Ok(())
    }

    /// The list; `None` if there is nothing in it.
    pub fn packets(&self) -> Option<Packets<'_>> {
        (!self.0.is_empty()).then_some(Packets(&self.0))
    }

    /// Bytes of it.
    pub fn len_bytes(&self) -> usize {
        self.0.len()
    }

    /// Empties the list and keeps its memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// A list that has arrived, in memory of its own.
impl From<Packets<'_>> for PacketList {
    fn from(packets: Packets<'_>) -> Self {
        Self(packets.0.to_vec())
    }
}

/// Bytes of a packet's length.
const LENGTH_BYTES: usize = 4;

fn check(packet: &[u8]) -> Result<(), LinkError> {
    if packet.len() > PACKET_BYTES_MAX { Err(LinkError::PacketTooLong(packet.len())) } else { Ok(()) }
}

impl<'a> PacketFrame<'a> {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Input { .. } => Kind::Input,
            Self::Cut { .. } => Kind::Cut,
            Self::Handshake { .. } => Kind::Handshake,
            Self::Released { .. } => Kind::Released,
            Self::Output { .. } => Kind::Output,
        }
    }

    /// Whether the end that holds the guest sends it.
    pub fn is_of_holder(&self) -> bool {
        matches!(self, Self::Output { .. })
    }

    /// Bytes of packets in it.
    pub fn packet_bytes(&self) -> usize {
        match self {
            Self::Input { packets, .. } | Self::Output { packets, .. } => packets.0.len(),
            Self::Handshake { packet, .. } => packet.len(),
            Self::Cut { carried, .. } => carried.len(),
            Self::Released { .. } => 0,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let mut put = |words: [u64; 2]| words.into_iter().for_each(|word| put_u64(out, word));
        match self {
            Self::Input { generation, first, packets } => {
                put([generation.0, *first]);
                out.extend_from_slice(packets.0);
            }
            Self::Cut { generation, epoch, next, carried } => {
                put([generation.0, epoch.0]);
                put_u64(out, *next);
                out.extend_from_slice(carried);
            }
            Self::Output { generation, base, first, packets } => {
                put([generation.0, base.0]);
                put_u64(out, *first);
                out.extend_from_slice(packets.0);
            }
            Self::Handshake { generation, epoch, packet } => {
                put([generation.0, epoch.0]);
                out.extend_from_slice(packet);
            }
            Self::Released { generation, base, through } => {
                put([generation.0, base.0]);
                put_u64(out, *through);
            }
        }
    }

    pub(super) fn read(kind: Kind, body: &mut Body<'a>) -> Result<Self, LinkError> {
        let generation = body.generation()?;
        if kind == Kind::Input {
            return Ok(Self::Input { generation, first: body.u64()?, packets: Packets::read(body)? });
        }
        let epoch = body.epoch()?;
        Ok(match kind {
            Kind::Cut => {
                Self::Cut { generation, epoch, next: body.u64()?, carried: core::mem::take(&mut body.0) }
            }
            Kind::Output => {
                Self::Output { generation, base: epoch, first: body.u64()?, packets: Packets::read(body)? }
            }
            Kind::Released => Self::Released { generation, base: epoch, through: body.u64()? },
            Kind::Handshake => {
                let packet = core::mem::take(&mut body.0);
                check(packet)?;
                Self::Handshake { generation, epoch, packet }
            }
            _ => return Err(LinkError::UnknownKind(kind.number())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_list_takes_what_a_network_carries_and_no_more_than_a_frame_should() {
        let mut list = PacketList::default();
        assert_eq!(list.packets(), None);
        let longest = vec![7; PACKET_BYTES_MAX];
        assert_eq!(
            list.push(&[longest.clone(), vec![7]].concat()),
            Err(NotPacked::TooLong(PACKET_BYTES_MAX + 1))
        );
        let taken = (0..).take_while(|_| list.push(&longest).is_ok()).count();
        assert_eq!(taken, PACKETS_BYTES_MAX / (PACKET_BYTES_MAX + LENGTH_BYTES));
        assert_eq!(list.push(&longest), Err(NotPacked::Full));
        list.push(&[]).unwrap();
        let packets: Vec<_> = list.packets().unwrap().iter().map(<[u8]>::len).collect();
        assert_eq!(packets, [vec![PACKET_BYTES_MAX; taken], vec![0]].concat());
    }

    #[test]
    fn a_list_that_lies_is_no_list() {
        let read = |bytes: &[u8]| Packets::read(&mut Body(bytes)).map(|packets| packets.iter().count());
        assert_eq!(read(&[0; 8]), Ok(2));
        assert_eq!(read(&[]), Err(LinkError::BodyTooShort), "one at least");
        assert_eq!(read(&[2, 0, 0, 0, 1]), Err(LinkError::BodyTooShort));
        assert_eq!(read(&[0, 0, 0, 0, 9]), Err(LinkError::BodyTooShort));
        let long =
            [&(PACKET_BYTES_MAX as u32 + 1).to_le_bytes()[..], &vec![0; PACKET_BYTES_MAX + 1]].concat();
        assert_eq!(read(&long), Err(LinkError::PacketTooLong(PACKET_BYTES_MAX + 1)));
        let many = vec![0; PACKETS_BYTES_MAX + 4];
        assert_eq!(read(&many), Err(LinkError::TooManyPackets(PACKETS_BYTES_MAX + 4)));
    }
}
