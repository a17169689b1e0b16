//! From Ethernet to the transport: VLAN tags (IEEE 802.1Q), IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200),
//! fragments, and how the ports of a flow are found.

use super::{Content, Datagram, Flow, Frame, Packet, Protocol, Segment, Side, u16_at};
use core::net::{Ipv4Addr, Ipv6Addr};

const ETHERNET_BYTES: usize = 12;
const VLAN_TAGS_MAX: usize = 2;
/// More headers than any sender uses; a chain that is longer is compared as it is.
const EXTENSIONS_MAX: usize = 8;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
/// A type up to here is a length (IEEE 802.3, section 3.2.6).
const LENGTH_MAX: u16 = 1500;
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

/// `None`: it contradicts itself.
#[inline]
pub(super) fn parse(frame: Frame<'_>, side: Side) -> Option<Packet<'_>> {
    let Link { vlan, ether_type, at } = link(frame.bytes)?;
    let ending = if frame.offload.segment_bytes > 0 { Ending::Super } else { Ending::Told };
    match ether_type {
        IPV4 => finish(frame, side, vlan, ipv4(frame.bytes, at, ending)?),
        IPV6 => finish(frame, side, vlan, ipv6(frame.bytes, at, ending)?),
        _ => {
            let body = link_body(ether_type, frame.bytes.get(at..)?);
            let flow = Flow::of_link(frame.card, vlan, ether_type);
            Some(Packet { flow, content: Content::Datagram(Datagram { head: [0; 4], body }) })
        }
    }
}

/// Of an ICMP message: its VLANs, where it begins and ends, and whether it is of IPv4.
pub(super) fn outer(frame: Frame<'_>) -> Option<([Option<u16>; 2], usize, usize, bool)> {
    let Link { vlan, ether_type, at } = link(frame.bytes)?;
    let (ip, icmp) = match ether_type {
        IPV4 => (ipv4(frame.bytes, at, Ending::Told)?, ICMP),
        IPV6 => (ipv6(frame.bytes, at, Ending::Told)?, ICMPV6),
        _ => return None,
    };
    let is_it = ip.protocol == icmp && ip.fragment.is_none();
    is_it.then_some((vlan, ip.begin, ip.end, ether_type == IPV4))
}

/// A packet that is quoted from `at` on, which may be cut off.
pub(super) fn quoted(bytes: &[u8], at: usize, is_v4: bool) -> Option<Ip> {
    let read = if is_v4 { ipv4 } else { ipv6 };
    read(bytes, at, Ending::CutOff).filter(|ip| ip.fragment.is_none())
}

/// What stands before IP.
struct Link {
    vlan: [Option<u16>; 2],
    ether_type: u16,
    /// Where what follows begins.
    at: usize,
}

#[inline]
fn link(bytes: &[u8]) -> Option<Link> {
    let mut vlan = [None; VLAN_TAGS_MAX];
    let mut at = ETHERNET_BYTES;
    for depth in 0..=VLAN_TAGS_MAX {
        let ether_type = u16_at(bytes, at)?;
        match ether_type {
            0x8100 | 0x88a8 | 0x9100 if depth < VLAN_TAGS_MAX => {
                vlan[depth] = Some(u16_at(bytes, at + 2)? & 0x0fff);
                at += 4;
            }
            _ => return Some(Link { vlan, ether_type, at: at + 2 }),
        }
    }
    None
}

/// Without the padding, where the content says how long it is: ARP (RFC 826), and IEEE 802.3 with a length for a type.
fn link_body(ether_type: u16, body: &[u8]) -> &[u8] {
    let bytes = match ether_type {
        ARP => match body {
            [_, _, _, _, hardware_bytes, protocol_bytes, ..] => {
                8 + 2 * (usize::from(*hardware_bytes) + usize::from(*protocol_bytes))
            }
            _ => body.len(),
        },
        0..=LENGTH_MAX => usize::from(ether_type),
        _ => body.len(),
    };
    body.get(..bytes).unwrap_or(body)
}

/// What an IP header said.
pub(super) struct Ip {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    pub(super) protocol: u8,
    /// Where the payload begins and ends in the frame.
    pub(super) begin: usize,
    pub(super) end: usize,
    /// Offset, in units of 8 bytes, and flags, of a packet that is not whole.
    fragment: Option<u16>,
}

impl Ip {
    /// The flow of a segment that `side` sent.
    pub(super) fn flow(&self, frame: Frame<'_>, side: Side, vlan: [Option<u16>; 2]) -> Option<Flow> {
        let ports = ports(frame.bytes.get(self.begin..self.end)?);
        Some(self.flow_of(frame, side, vlan, Protocol::Ip(self.protocol), ports))
    }

    #[inline]
    fn flow_of(
        &self,
        frame: Frame<'_>,
        side: Side,
        vlan: [Option<u16>; 2],
        protocol: Protocol,
        ports: Option<(u16, u16)>,
    ) -> Flow {
        let (source, destination) = ports.unwrap_or_default();
        let (guest, world, guest_port, world_port) = match side {
            Side::Guest => (self.source, self.destination, source, destination),
            Side::World => (self.destination, self.source, destination, source),
        };
        Flow { card: frame.card, vlan, protocol, guest, world, guest_port, world_port }
    }
}

/// How a packet's end is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It says so.
    Told,
    /// A super-frame may be too long to say it (Linux's BIG TCP says 0): then it ends with the frame.
    Super,
    /// It says so, unless it ends with the frame before.
    CutOff,
}

#[inline]
fn ipv4(bytes: &[u8], at: usize, ending: Ending) -> Option<Ip> {
    let header = bytes.get(at..)?.first_chunk::<20>()?;
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_bytes < 20 {
        return None;
    }
    let address = |from: usize| {
        Ipv4Addr::new(header[from], header[from + 1], header[from + 2], header[from + 3]).to_ipv6_mapped()
    };
    let fragment = u16_at(header, 6)? & 0x3fff;
    Some(Ip {
        source: address(12),
        destination: address(16),
        protocol: header[9],
        begin: at + header_bytes,
        end: end_of(bytes, at, 0, usize::from(u16_at(header, 2)?), ending)?,
        fragment: (fragment != 0).then_some(fragment),
    })
}

#[inline]
fn ipv6(bytes: &[u8], at: usize, ending: Ending) -> Option<Ip> {
    let header = bytes.get(at..)?.first_chunk::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |from: usize| Some(Ipv6Addr::from(*header[from..].first_chunk::<16>()?));
    let end = end_of(bytes, at, 40, usize::from(u16_at(header, 4)?), ending)?;
    let (mut next, mut begin, mut fragment) = (header[6], at + 40, None);
    for _ in 0..EXTENSIONS_MAX {
        let extension = bytes.get(begin..end)?;
        match next {
            // Hop-by-hop, routing, destination options: in units of 8 bytes, the first not counted.
            0 | 43 | 60 => begin += usize::from(*extension.get(1)?) * 8 + 8,
            44 => {
                let word = u16_at(extension, 2)?;
                // The offset is in the upper 13 bits here, and in the lower 13 of IPv4.
                let is_more = word & 1;
                fragment = (word & !0b110 != 0).then_some((word >> 3) | (is_more << 13));
                begin += 8;
            }
            _ => break,
        }
        next = *extension.first()?;
        if fragment.is_some() {
            break;
        }
    }
    Some(Ip { source: address(8)?, destination: address(24)?, protocol: next, begin, end, fragment })
}

/// Where a packet ends that begins at `at` and says that it has `told` bytes behind the first `head_bytes`.
#[inline]
fn end_of(bytes: &[u8], at: usize, head_bytes: usize, told: usize, ending: Ending) -> Option<usize> {
    let end = match (told, ending) {
        (0, Ending::Super) => bytes.len(),
        (_, Ending::CutOff) => bytes.len().min(at + head_bytes + told),
        _ => at + head_bytes + told,
    };
    (end <= bytes.len()).then_some(end)
}

#[inline]
fn finish<'a>(frame: Frame<'a>, side: Side, vlan: [Option<u16>; 2], ip: Ip) -> Option<Packet<'a>> {
    let payload = frame.bytes.get(ip.begin..ip.end)?;
    let flow = |protocol, ports| ip.flow_of(frame, side, vlan, protocol, ports);
    let datagram = |head, body| Content::Datagram(Datagram { head, body });
    if let Some(word) = ip.fragment {
        let [high, low] = word.to_be_bytes();
        let content = datagram([high, low, 0, 0], payload);
        return Some(Packet { flow: flow(Protocol::Fragment(ip.protocol), None), content });
    }
    let protocol = Protocol::Ip(ip.protocol);
    Some(match ip.protocol {
        TCP => {
            let content = Segment::parse(payload, ip.begin).map(Content::Tcp);
            let content = content.unwrap_or(datagram([0; 4], payload));
            Packet { flow: flow(protocol, ports(payload)), content }
        }
        UDP if payload.len() >= 8 => {
            let [high, low] = frame.offload.segment_bytes.to_be_bytes();
            let head = [payload[4], payload[5], high, low];
            Packet { flow: flow(protocol, ports(payload)), content: datagram(head, &payload[8..]) }
        }
        ICMP | ICMPV6 if payload.len() >= 4 => Packet {
            flow: flow(protocol, None),
            content: datagram([payload[0], payload[1], 0, 0], &payload[4..]),
        },
        _ => Packet { flow: flow(protocol, None), content: datagram([0; 4], payload) },
    })
}

/// The ports of TCP and UDP: source, destination.
fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    Some((u16_at(bytes, 0)?, u16_at(bytes, 2)?))
}
