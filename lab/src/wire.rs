//! Ethernet, ARP, IPv4, ICMP echo and UDP: the parts that the guest's stack and the lab's stations need.
//!
//! Parsing never panics: a frame that is truncated, inconsistent, fragmented, or has a wrong checksum is `None`.
//!
//! ```text
//!   0      6      12     14               34               42
//!   | dst  | src  | type | IPv4 (20)      | UDP (8)        | payload …
//! ```

use crate::mac::Mac;
use std::net::Ipv4Addr;

/// Longest frame anywhere in the lab: a 9000-byte MTU, the Ethernet header and a VLAN tag.
pub const FRAME_BYTES_MAX: usize = 9018;
/// Bytes of an Ethernet header, the shortest frame the lab carries.
pub const ETHERNET_BYTES: usize = 14;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const IPV4_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const ICMP_BYTES: usize = 8;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_UDP: u8 = 17;
/// The time to live of packets that the lab sends.
const TTL: u8 = 64;

/// A decoded frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// The content, as far as the lab understands it.
    pub body: Body<'a>,
}

/// The content of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// An ARP packet.
    Arp(Arp),
    /// An echo request or reply.
    Echo(Flow, Echo<'a>),
    /// A datagram.
    Udp(Flow, Udp<'a>),
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// Request or reply.
    pub op: ArpOp,
    /// Ethernet address of the sender.
    pub sender_mac: Mac,
    /// IPv4 address of the sender.
    pub sender_ip: Ipv4Addr,
    /// Ethernet address of the target; zeros in a request.
    pub target_mac: Mac,
    /// IPv4 address of the target.
    pub target_ip: Ipv4Addr,
}

/// The two ARP operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArpOp {
    /// Who has `target_ip`?
    Request,
    /// `sender_ip` is at `sender_mac`.
    Reply,
}

/// Addresses of an IPv4 packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
}

impl Flow {
    /// The addresses of the reply.
    pub fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src }
    }
}

/// ICMP echo.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo<'a> {
    /// Whether this is a reply.
    pub is_reply: bool,
    /// Set by the requester, repeated in the reply.
    pub id: u16,
    /// Set by the requester, repeated in the reply.
    pub sequence: u16,
    /// Repeated in the reply.
    pub data: &'a [u8],
}

/// A UDP datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Udp<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// The content.
    pub payload: &'a [u8],
}

/// Source address of a frame, whatever it carries; `None` if the frame is too short.
pub fn source_of(frame: &[u8]) -> Option<Mac> {
    frame.get(6..12)?.try_into().ok().map(Mac)
}

/// Destination address of a frame, whatever it carries; `None` if the frame is too short.
pub fn destination_of(frame: &[u8]) -> Option<Mac> {
    frame.get(..6)?.try_into().ok().map(Mac)
}

impl<'a> Frame<'a> {
    /// Decodes a frame; `None` for everything that the lab's stacks ignore.
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        if frame.len() > FRAME_BYTES_MAX {
            return None;
        }
        let (dst, src) = (destination_of(frame)?, source_of(frame)?);
        let payload = frame.get(ETHERNET_BYTES..)?;
        let body = match be16(frame, 12)? {
            ETHERTYPE_ARP => Body::Arp(parse_arp(payload)?),
            ETHERTYPE_IPV4 => parse_ipv4(payload)?,
            _ => return None,
        };
        Some(Self { dst, src, body })
    }

    /// Encodes the frame into `out`, replacing its content. Computes the checksums.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.dst.0);
        out.extend_from_slice(&self.src.0);
        match self.body {
            Body::Arp(arp) => write_arp(&arp, out),
            Body::Echo(flow, echo) => write_echo(flow, &echo, out),
            Body::Udp(flow, udp) => write_udp(flow, &udp, out),
        }
    }
}

fn parse_arp(packet: &[u8]) -> Option<Arp> {
    // Hardware type Ethernet, protocol IPv4, address lengths 6 and 4.
    if packet.get(..6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let op = match be16(packet, 6)? {
        1 => ArpOp::Request,
        2 => ArpOp::Reply,
        _ => return None,
    };
    Some(Arp {
        op,
        sender_mac: source_of(packet.get(2..)?)?,
        sender_ip: ip_at(packet, 14)?,
        target_mac: destination_of(packet.get(18..)?)?,
        target_ip: ip_at(packet, 24)?,
    })
}

fn write_arp(arp: &Arp, out: &mut Vec<u8>) {
    out.extend_from_slice(&ETHERTYPE_ARP.to_be_bytes());
    let op = match arp.op {
        ArpOp::Request => 1,
        ArpOp::Reply => 2,
    };
    out.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, op]);
    out.extend_from_slice(&arp.sender_mac.0);
    out.extend_from_slice(&arp.sender_ip.octets());
    out.extend_from_slice(&arp.target_mac.0);
    out.extend_from_slice(&arp.target_ip.octets());
}

fn parse_ipv4(packet: &[u8]) -> Option<Body<'_>> {
    let first = *packet.first()?;
    let header_bytes = usize::from(first & 0xF) * 4;
    let total_bytes = usize::from(be16(packet, 2)?);
    if first >> 4 != 4 || header_bytes < IPV4_BYTES || total_bytes < header_bytes {
        return None;
    }
    let header = packet.get(..header_bytes)?;
    let payload = packet.get(header_bytes..total_bytes)?;
    // More-fragments flag or an offset: the lab's stacks do not reassemble.
    let is_fragment = be16(packet, 6)? & 0x3FFF != 0;
    if is_fragment || checksum(0, header) != 0 {
        return None;
    }
    let flow = Flow { src: ip_at(header, 12)?, dst: ip_at(header, 16)? };
    match header[9] {
        PROTOCOL_ICMP => parse_echo(payload).map(|echo| Body::Echo(flow, echo)),
        PROTOCOL_UDP => parse_udp(flow, payload).map(|udp| Body::Udp(flow, udp)),
        _ => None,
    }
}

fn write_ipv4(flow: Flow, protocol: u8, payload_bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
    let start = out.len();
    let total_bytes = (IPV4_BYTES + payload_bytes) as u16;
    out.extend_from_slice(&[0x45, 0]);
    out.extend_from_slice(&total_bytes.to_be_bytes());
    // Identification 0 and don't-fragment: nothing in the lab fragments.
    out.extend_from_slice(&[0, 0, 0x40, 0, TTL, protocol, 0, 0]);
    out.extend_from_slice(&flow.src.octets());
    out.extend_from_slice(&flow.dst.octets());
    let sum = checksum(0, &out[start..]);
    out[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
}

fn parse_echo(packet: &[u8]) -> Option<Echo<'_>> {
    let is_reply = match packet.get(..2)? {
        [8, 0] => false,
        [0, 0] => true,
        _ => return None,
    };
    let data = packet.get(ICMP_BYTES..)?;
    let echo = Echo { is_reply, id: be16(packet, 4)?, sequence: be16(packet, 6)?, data };
    (checksum(0, packet) == 0).then_some(echo)
}

fn write_echo(flow: Flow, echo: &Echo<'_>, out: &mut Vec<u8>) {
    write_ipv4(flow, PROTOCOL_ICMP, ICMP_BYTES + echo.data.len(), out);
    let start = out.len();
    out.extend_from_slice(&[if echo.is_reply { 0 } else { 8 }, 0, 0, 0]);
    out.extend_from_slice(&echo.id.to_be_bytes());
    out.extend_from_slice(&echo.sequence.to_be_bytes());
    out.extend_from_slice(echo.data);
    let sum = checksum(0, &out[start..]);
    out[start + 2..start + 4].copy_from_slice(&sum.to_be_bytes());
}

fn parse_udp(flow: Flow, packet: &[u8]) -> Option<Udp<'_>> {
    let datagram = packet.get(..usize::from(be16(packet, 4)?))?;
    let payload = datagram.get(UDP_BYTES..)?;
    let has_checksum = be16(datagram, 6)? != 0;
    if has_checksum && checksum(pseudo_header_sum(flow, datagram.len()), datagram) != 0 {
        return None;
    }
    Some(Udp { src_port: be16(datagram, 0)?, dst_port: be16(datagram, 2)?, payload })
}

fn write_udp(flow: Flow, udp: &Udp<'_>, out: &mut Vec<u8>) {
    let bytes = UDP_BYTES + udp.payload.len();
    write_ipv4(flow, PROTOCOL_UDP, bytes, out);
    let start = out.len();
    out.extend_from_slice(&udp.src_port.to_be_bytes());
    out.extend_from_slice(&udp.dst_port.to_be_bytes());
    out.extend_from_slice(&(bytes as u16).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(udp.payload);
    let sum = checksum(pseudo_header_sum(flow, bytes), &out[start..]);
    // Zero would mean "no checksum"; its complement is the same number (RFC 768).
    let sum = if sum == 0 { 0xFFFF } else { sum };
    out[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
}

fn pseudo_header_sum(flow: Flow, udp_bytes: usize) -> u32 {
    let words = |ip: Ipv4Addr| u32::from(ip) / 0x1_0000 + u32::from(ip) % 0x1_0000;
    words(flow.src) + words(flow.dst) + u32::from(PROTOCOL_UDP) + udp_bytes as u32
}

/// The Internet checksum (RFC 1071) of `bytes`, continued from `sum`. Zero for a packet whose checksum is right.
fn checksum(sum: u32, bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    // Frames are short: 2^15 words of 16 bits do not overflow the 32-bit sum.
    let mut sum = pairs.iter().fold(sum, |sum, pair| sum + u32::from(u16::from_be_bytes(*pair)));
    if let [last] = rest {
        sum += u32::from(*last) << 8;
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn ip_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn body_of<'a>(choice: u8, flow: Flow, number: u16, data: &'a [u8]) -> Body<'a> {
        match choice {
            0 => Body::Arp(Arp {
                op: if number & 1 == 0 { ArpOp::Request } else { ArpOp::Reply },
                sender_mac: A,
                sender_ip: flow.src,
                target_mac: B,
                target_ip: flow.dst,
            }),
            1 => Body::Echo(flow, Echo { is_reply: number & 1 == 0, id: number, sequence: !number, data }),
            _ => Body::Udp(flow, Udp { src_port: number, dst_port: !number, payload: data }),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(choice in 0u8..3, src: u32, dst: u32, number: u16, data in proptest::collection::vec(any::<u8>(), 0..1400)) {
            let flow = Flow { src: src.into(), dst: dst.into() };
            let frame = Frame { dst: A, src: B, body: body_of(choice, flow, number, &data) };
            let mut bytes = Vec::new();
            frame.write(&mut bytes);
            prop_assert_eq!(Frame::parse(&bytes), Some(frame));
            // A switch or a driver may pad short frames.
            bytes.resize(bytes.len().max(60), 0);
            prop_assert_eq!(Frame::parse(&bytes), Some(frame));
        }

        #[test]
        fn a_flipped_bit_beyond_the_addresses_never_goes_unseen(number: u16, data in proptest::collection::vec(any::<u8>(), 0..200), bit: prop::sample::Index) {
            let flow = Flow { src: Ipv4Addr::new(10, 0, 0, 1), dst: Ipv4Addr::new(10, 0, 0, 2) };
            let frame = Frame { dst: A, src: B, body: body_of(2, flow, number, &data) };
            let mut bytes = Vec::new();
            frame.write(&mut bytes);
            let bit = bit.index((bytes.len() - 14) * 8);
            bytes[14 + bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(Frame::parse(&bytes), Some(frame));
        }

        #[test]
        fn no_bytes_panic_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200), ethertype in 0usize..3) {
            let mut bytes = bytes;
            if bytes.len() > 15 {
                bytes[12..15].copy_from_slice(&[[8, 0, 0x45], [8, 6, 0], [8, 0, 0x4F]][ethertype]);
            }
            let _ = Frame::parse(&bytes);
        }
    }

    #[test]
    fn the_checksum_is_the_example_of_rfc_1071() {
        assert_eq!(!checksum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }
}
