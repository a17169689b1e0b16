//! From Ethernet to the transport: VLAN tags (IEEE 802.1Q), IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200),
//! fragments, and how the ports of a flow are found.

use super::{Content, Datagram, Flow, Frame, Packet, Protocol, Segment, Side, u16_at};
use core::net::{Ipv4Addr, Ipv6Addr};

const ETHERNET_BYTES: usize = 12;
const VLAN_TAGS_MAX: usize = 2;
/// More headers than any sender uses; a chain that is longer is compared as it is.
const EXTENSIONS_MAX: usize = 8;
const ARP: u16 = 0x0806;
/// A type up to here is a length (IEEE 802.3, section 3.2.6).
const LENGTH_MAX: u16 = 1500;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// `None`: it contradicts itself.
pub(super) fn parse(frame: Frame<'_>, side: Side) -> Option<Packet<'_>> {
    let mut vlan = [None; VLAN_TAGS_MAX];
    let mut at = ETHERNET_BYTES;
    for depth in 0..=VLAN_TAGS_MAX {
        let ether_type = u16_at(frame.bytes, at)?;
        match ether_type {
            0x8100 | 0x88a8 | 0x9100 if depth < VLAN_TAGS_MAX => {
                vlan[depth] = Some(u16_at(frame.bytes, at + 2)? & 0x0fff);
                at += 4;
            }
            0x0800 => return ipv4(frame, side, vlan, at + 2),
            0x86dd => return ipv6(frame, side, vlan, at + 2),
            _ => {
                let body = link_body(ether_type, frame.bytes.get(at + 2..)?);
                let flow = Flow::of_link(frame.card, vlan, ether_type);
                return Some(Packet { flow, content: Content::Datagram(Datagram { head: [0; 4], body }) });
            }
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
struct Ip {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
    /// Where the payload begins and ends in the frame.
    begin: usize,
    end: usize,
    /// Offset, in units of 8 bytes, and flags, of a packet that is not whole.
    fragment: Option<u16>,
}

fn ipv4(frame: Frame<'_>, side: Side, vlan: [Option<u16>; 2], at: usize) -> Option<Packet<'_>> {
    let header = frame.bytes.get(at..)?.first_chunk::<20>()?;
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_bytes < 20 {
        return None;
    }
    let address = |from: usize| {
        Ipv4Addr::new(header[from], header[from + 1], header[from + 2], header[from + 3]).to_ipv6_mapped()
    };
    let fragment = u16_at(header, 6)? & 0x3fff;
    finish(
        frame,
        side,
        vlan,
        Ip {
            source: address(12),
            destination: address(16),
            protocol: header[9],
            begin: at + header_bytes,
            end: end_of(frame, at, 0, usize::from(u16_at(header, 2)?))?,
            fragment: (fragment != 0).then_some(fragment),
        },
    )
}

fn ipv6(frame: Frame<'_>, side: Side, vlan: [Option<u16>; 2], at: usize) -> Option<Packet<'_>> {
    let header = frame.bytes.get(at..)?.first_chunk::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |from: usize| Some(Ipv6Addr::from(*header[from..].first_chunk::<16>()?));
    let end = end_of(frame, at, 40, usize::from(u16_at(header, 4)?))?;
    let (mut next, mut begin, mut fragment) = (header[6], at + 40, None);
    for _ in 0..EXTENSIONS_MAX {
        let extension = frame.bytes.get(begin..end)?;
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
    finish(
        frame,
        side,
        vlan,
        Ip { source: address(8)?, destination: address(24)?, protocol: next, begin, end, fragment },
    )
}

/// Where a packet ends that begins at `at` and says that it has `bytes` behind the first `head_bytes`. A super-frame may be
/// too long to say it (Linux's BIG TCP says 0).
fn end_of(frame: Frame<'_>, at: usize, head_bytes: usize, bytes: usize) -> Option<usize> {
    let end = match bytes {
        0 if frame.offload.segment_bytes > 0 => frame.bytes.len(),
        _ => at + head_bytes + bytes,
    };
    (end <= frame.bytes.len()).then_some(end)
}

fn finish<'a>(frame: Frame<'a>, side: Side, vlan: [Option<u16>; 2], ip: Ip) -> Option<Packet<'a>> {
    let payload = frame.bytes.get(ip.begin..ip.end)?;
    let (guest, world) = match side {
        Side::Guest => (ip.source, ip.destination),
        Side::World => (ip.destination, ip.source),
    };
    let flow = |protocol, ports: Option<(u16, u16)>| {
        let (source, destination) = ports.unwrap_or_default();
        let (guest_port, world_port) = match side {
            Side::Guest => (source, destination),
            Side::World => (destination, source),
        };
        Flow { card: frame.card, vlan, protocol, guest, world, guest_port, world_port }
    };
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
