//! What is in front of a captured packet, and how a card would have it.
//!
//! ```text
//!   Ethernet      destination 6 │ source 6 │ type 2 │ packet           as it is
//!   cooked        kind 2 │ hardware 2 │ length 2 │ source 8 │ type 2 │ packet
//!   cooked v2     type 2 │ 0 2 │ interface 4 │ hardware 2 │ kind 1 │ length 1 │ source 8 │ packet
//!   raw IP        packet                                               the type is its version's
//! ```

const ETHERNET_HEADER_BYTES: usize = 14;

/// A link type that can be made Ethernet (numbers: tcpdump.org/linktypes.html).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LinkLayer {
    Ethernet,
    Cooked,
    CookedV2,
    RawIp,
}

impl LinkLayer {
    pub(super) fn of(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::Ethernet),
            113 => Some(Self::Cooked),
            276 => Some(Self::CookedV2),
            12 | 101 | 228 | 229 => Some(Self::RawIp),
            _ => None,
        }
    }

    /// The packet as an Ethernet frame. Addresses that the capture does not have are zero; what is too short to have a
    /// header stays as it is.
    pub(super) fn ethernet(self, packet: &[u8]) -> Vec<u8> {
        self.parts(packet).map_or_else(
            || packet.to_vec(),
            |(source, ether_type, payload)| {
                let mut frame = Vec::with_capacity(ETHERNET_HEADER_BYTES + payload.len());
                frame.extend([0; 6]);
                frame.extend(source);
                frame.extend(ether_type);
                frame.extend(payload);
                frame
            },
        )
    }

    /// Source, type and payload of what is not Ethernet.
    fn parts(self, packet: &[u8]) -> Option<([u8; 6], [u8; 2], &[u8])> {
        match self {
            Self::Ethernet => None,
            Self::Cooked => {
                let header = packet.first_chunk::<16>()?;
                Some((*header[6..].first_chunk()?, [header[14], header[15]], &packet[16..]))
            }
            Self::CookedV2 => {
                let header = packet.first_chunk::<20>()?;
                Some((*header[12..].first_chunk()?, [header[0], header[1]], &packet[20..]))
            }
            Self::RawIp => match packet.first()? >> 4 {
                4 => Some(([0; 6], [0x08, 0x00], packet)),
                6 => Some(([0; 6], [0x86, 0xdd], packet)),
                _ => None,
            },
        }
    }
}
