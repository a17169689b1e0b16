//! From Ethernet to the transport: VLAN tags (IEEE 802.1Q), IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200),
//! fragments, and how the ports of a flow are found.

use super::segment::{self, Segment};
use super::{Content, Datagram, Flow, Frame, Packet, Protocol, Side, u16_at};
use core::net::{Ipv4Addr, Ipv6Addr};

const ETHERNET_BYTES: usize = 12;
const VLAN_TAGS_MAX: usize = 2;
/// More headers than any sender uses; a chain that is longer is compared as it is.
const EXTENSIONS_MAX: usize = 8;
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
            0x8100 | 0x88a8 if depth < VLAN_TAGS_MAX => {
                vlan[depth] = Some(u16_at(frame.bytes, at + 2)? & 0x0fff);
                at += 4;
            }
            0x0800 => return ipv4(frame, side, vlan, at + 2),
            0x86dd => return ipv6(frame, side, vlan, at + 2),
            _ => {
                let flow = Flow::of_link(frame.card, vlan, ether_type, side);
                let body = frame.bytes.get(at + 2..)?;
                return Some(Packet { flow, content: Content::Datagram(Datagram { head: [0; 4], body }) });
            }
        }
    }
    None
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
            end: end_of(frame, at, usize::from(u16_at(header, 2)?))?,
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
    let payload_bytes = usize::from(u16_at(header, 4)?);
    let total_bytes = if payload_bytes == 0 { 0 } else { 40 + payload_bytes };
    let end = end_of(frame, at, total_bytes)?;
    let (mut next, mut begin, mut fragment) = (header[6], at + 40, None);
    for _ in 0..EXTENSIONS_MAX {
        let extension = frame.bytes.get(begin..end)?;
        match next {
            // Hop-by-hop, routing, destination options, mobility: in units of 8 bytes, the first not counted.
            0 | 43 | 60 | 135 => begin += usize::from(*extension.get(1)?) * 8 + 8,
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
        if fragment.is_some_and(|word| word & 0x1fff != 0) {
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

/// Where a packet ends that begins at `at` and says that it has `total_bytes`. A super-frame may be too long to say it
/// (Linux's BIG TCP says 0).
fn end_of(frame: Frame<'_>, at: usize, total_bytes: usize) -> Option<usize> {
    let end = match total_bytes {
        0 if frame.offload.segment_bytes > 0 => frame.bytes.len(),
        _ => at + total_bytes,
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
        TCP => match Segment::parse(payload, ip.begin) {
            Some(segment) => {
                Packet { flow: flow(protocol, segment::ports(payload)), content: Content::Tcp(segment) }
            }
            None => {
                Packet { flow: flow(protocol, segment::ports(payload)), content: datagram([0; 4], payload) }
            }
        },
        UDP if payload.len() >= 8 => {
            Packet { flow: flow(protocol, segment::ports(payload)), content: datagram([0; 4], &payload[8..]) }
        }
        ICMP | ICMPV6 if payload.len() >= 4 => Packet {
            flow: flow(protocol, None),
            content: datagram([payload[0], payload[1], 0, 0], &payload[4..]),
        },
        _ => Packet { flow: flow(protocol, None), content: datagram([0; 4], payload) },
    })
}
