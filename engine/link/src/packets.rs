//! Network packets of a guest with a live copy: the guest's input, the copy's output, and which of that was released.
//!
//! ```text
//!   primary ── Input, Taken, Cut, Handshake, Released ──► secondary     in lanes of their own, before pages: somebody
//!           ◄─ Room, Output ─────────────────────────────               waits for each packet
//!
//!   a list of packets   length u32 │ that many bytes │ length u32 │ …      at least one, numbered one by one from `first`
//! ```
//!
//! Not here: what a packet contains (`colo`), and which packets leave.

use super::LinkError;
use super::body::{Body, put_blob, put_u64};
use super::kind::Kind;
use alloc::vec::Vec;
use understudy_checkpoint::{Epoch, Generation};

/// The longest packet: 64 KiB of IP behind an Ethernet header with VLANs, and the header of a virtual card.
pub const PACKET_BYTES_MAX: usize = (64 << 10) + 64;

/// The longest list of packets, which a later packet has to wait for on a slow link.
pub const PACKETS_BYTES_MAX: usize = 256 << 10;

/// A frame that carries packets or is about them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketFrame<'a> {
    /// Input that the guest has received.
    Input {
        generation: Generation,
        /// The number of the first packet. Numbers only grow in a generation; a gap means lost packets.
        first: u64,
        packets: Packets<'a>,
    },
    /// The guest has taken all before this packet: every epoch that is not acked, or is cut later, contains that.
    Taken {
        generation: Generation,
        /// The number of the next packet.
        next: u64,
    },
    /// An epoch was cut. Input received before the cut is sent before this.
    Cut {
        generation: Generation,
        epoch: Epoch,
        /// The number of the first packet that the image of the epoch does not contain.
        next: u64,
        /// Connections whose numbers the sender rewrites, in a form that `colo` defines.
        carried: &'a [u8],
    },
    /// The guest's first packet of a TCP connection, which shows the connection's sequence numbers.
    Handshake {
        generation: Generation,
        /// The newest epoch that was cut before the guest sent it.
        epoch: Epoch,
        packet: &'a [u8],
    },
    /// Output of the copy of `base`, up to this packet, has left, as it was or as the guest's own.
    Released {
        generation: Generation,
        /// As in `Output`.
        base: Epoch,
        /// The number of the last packet.
        through: u64,
    },
    /// What the copy's host keeps at most: the answer to a wish for a copy.
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
        /// The generation of `base`.
        generation: Generation,
        /// The epoch that the copy was set to.
        base: Epoch,
        /// The number of the first packet, counted from `base`.
        first: u64,
        packets: Packets<'a>,
    },
}

/// Why a packet was not added to a list.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotPacked {
    /// No network carries a packet this long.
    #[error(
        "a packet of {0} bytes is longer than any that a guest sends, which is at most {PACKET_BYTES_MAX}"
    )]
    TooLong(usize),
    /// The list is full and has to be sent first.
    #[error("the list is full: it carries at most {PACKETS_BYTES_MAX} bytes")]
    Full,
}

/// A list of packets as encoded in a frame, checked: it has at least one packet, and each is within bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packets<'a>(&'a [u8]);

impl<'a> Packets<'a> {
    /// The packets.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = Body(self.0);
        core::iter::from_fn(move || rest.blob().ok())
    }

    /// Reads and checks a whole list.
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

/// A list of packets under construction.
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

    /// The list; `None` if it is empty.
    pub fn packets(&self) -> Option<Packets<'_>> {
        (!self.0.is_empty()).then_some(Packets(&self.0))
    }

    /// Its length in bytes.
    pub fn len_bytes(&self) -> usize {
        self.0.len()
    }

    /// Empties the list and keeps its memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// A list that has arrived, as a copy that owns its memory.
impl From<Packets<'_>> for PacketList {
    fn from(packets: Packets<'_>) -> Self {
        Self(packets.0.to_vec())
    }
}

/// Bytes of the length field before each packet.
const LENGTH_BYTES: usize = 4;

fn check(packet: &[u8]) -> Result<(), LinkError> {
    if packet.len() > PACKET_BYTES_MAX { Err(LinkError::PacketTooLong(packet.len())) } else { Ok(()) }
}

impl<'a> PacketFrame<'a> {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Input { .. } => Kind::Input,
            Self::Taken { .. } => Kind::Taken,
            Self::Cut { .. } => Kind::Cut,
            Self::Handshake { .. } => Kind::Handshake,
            Self::Released { .. } => Kind::Released,
            Self::Room { .. } => Kind::Room,
            Self::Output { .. } => Kind::Output,
        }
    }

    /// Whether the guest's primary sends it.
    pub fn is_of_holder(&self) -> bool {
        matches!(self, Self::Room { .. } | Self::Output { .. })
    }

    /// The bytes of its packets.
    pub fn packet_bytes(&self) -> usize {
        match self {
            Self::Input { packets, .. } | Self::Output { packets, .. } => packets.0.len(),
            Self::Handshake { packet, .. } => packet.len(),
            Self::Cut { carried, .. } => carried.len(),
            Self::Released { .. } | Self::Taken { .. } | Self::Room { .. } => 0,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let mut put = |words: [u64; 2]| words.into_iter().for_each(|word| put_u64(out, word));
        match self {
            Self::Input { generation, first, packets } => {
                put([generation.0, *first]);
                out.extend_from_slice(packets.0);
            }
            Self::Taken { generation, next } => put([generation.0, *next]),
            Self::Cut { generation, epoch, next, carried } => {
                put([generation.0, epoch.0]);
                put_u64(out, *next);
                out.extend_from_slice(carried);
            }
            Self::Room { generation, input_packets, input_bytes, output_packets } => {
                put([generation.0, *input_packets]);
                put([*input_bytes, *output_packets]);
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
        if kind == Kind::Taken {
            return Ok(Self::Taken { generation, next: body.u64()? });
        }
        if kind == Kind::Room {
            let (input_packets, input_bytes) = (body.u64()?, body.u64()?);
            return Ok(Self::Room { generation, input_packets, input_bytes, output_packets: body.u64()? });
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
