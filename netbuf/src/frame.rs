//! Classifies a guest's frames: an *answer* that a client may wait for, or a *bare* frame that carries no data.
//!
//! Only headers are read. A frame that is not understood counts as an answer: taking a bare frame for an answer costs
//! one early checkpoint, but taking an answer for a bare frame makes a client wait.
//!
//! ```text
//!   Ethernet │ VLAN tags │ IPv4 / IPv6 │ TCP: no payload, ACK alone ─► bare
//!            │           │             │ IGMP, neighbour discovery  ─► bare
//!            │           │ ARP                                      ─► bare
//!            └ all else                                             ─► answer
//! ```

const ETHERNET_BYTES: usize = 12;
const VLAN_TAGS_MAX: usize = 2;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const IGMP: u8 = 2;
/// RFC 9293, section 3.1: FIN, SYN, RST, PSH, URG. A segment with any of them is more than an acknowledgement.
const TCP_SAYS_MORE: u8 = 0b0010_1111;

/// Whether `frame` (Ethernet, without its checksum) carries nothing that a client waits for: a TCP acknowledgement
/// without data (RFC 9293), ARP (RFC 826), IGMP, IPv6 neighbour discovery or a listener report (RFC 4861, 3810).
pub(crate) fn is_bare(frame: &[u8]) -> bool {
    judge(frame).unwrap_or(false)
}

fn judge(frame: &[u8]) -> Option<bool> {
    let mut rest = frame.get(ETHERNET_BYTES..)?;
    for _ in 0..=VLAN_TAGS_MAX {
        let (ether_type, packet) = (u16_at(rest, 0)?, rest.get(2..)?);
        match ether_type {
            0x8100 | 0x88a8 => rest = packet.get(2..)?,
            0x0806 => return Some(true),
            0x0800 => return ipv4(packet),
            0x86dd => return ipv6(packet),
            _ => return Some(false),
        }
    }
    Some(false)
}

fn ipv4(packet: &[u8]) -> Option<bool> {
    let head_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let is_fragment = u16_at(packet, 6)? & 0x3fff != 0;
    let total_bytes = usize::from(u16_at(packet, 2)?);
    if head_bytes < 20 || is_fragment || total_bytes < head_bytes {
        return Some(false);
    }
    match *packet.get(9)? {
        IGMP => Some(true),
        TCP => tcp(packet.get(head_bytes..)?, total_bytes - head_bytes),
        _ => Some(false),
    }
}

fn ipv6(packet: &[u8]) -> Option<bool> {
    let (next, body) = (*packet.get(6)?, packet.get(40..)?);
    match next {
        TCP => tcp(body, usize::from(u16_at(packet, 4)?)),
        ICMPV6 => Some(is_housekeeping(*body.first()?)),
        // Listener reports come behind a router alert (RFC 3810, section 5).
        0 if *body.first()? == ICMPV6 && *body.get(1)? == 0 => Some(is_housekeeping(*body.get(8)?)),
        _ => Some(false),
    }
}

fn is_housekeeping(icmpv6_type: u8) -> bool {
    matches!(icmpv6_type, 130..=132 | 133..=137 | 143)
}

fn tcp(segment: &[u8], bytes: usize) -> Option<bool> {
    let head_bytes = usize::from(*segment.get(12)? >> 4) * 4;
    Some(bytes == head_bytes && segment.get(13)? & TCP_SAYS_MORE == 0)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ethernet(ether_type: u16, packet: &[u8]) -> Vec<u8> {
        [&[2; ETHERNET_BYTES][..], &ether_type.to_be_bytes(), packet].concat()
    }

    fn tcp_segment(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let words = (5 + options.len() / 4) as u8;
        [&[0; 12][..], &[words << 4, flags, 1, 0, 0, 0, 0, 0], options, payload].concat()
    }

    fn in_ipv4(protocol: u8, body: &[u8]) -> Vec<u8> {
        let total = (20 + body.len() as u16).to_be_bytes();
        let head = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        ethernet(0x0800, &[&head[..], body].concat())
    }

    fn in_ipv6(next: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        let head = [&[0x60, 0, 0, 0, length[0], length[1], next, 64][..], &[1; 32]].concat();
        ethernet(0x86dd, &[&head[..], body].concat())
    }

    fn padded(mut frame: Vec<u8>) -> Vec<u8> {
        frame.resize(frame.len().max(60), 0);
        frame
    }

    const ACK: u8 = 0x10;
    const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

    #[test]
    fn what_nobody_waits_for() {
        for (what, frame) in [
            ("ARP", ethernet(0x0806, &[0; 28])),
            (
                "an acknowledgement, padded to the shortest frame",
                padded(in_ipv4(TCP, &tcp_segment(ACK, &[], &[]))),
            ),
            ("with time stamps", in_ipv4(TCP, &tcp_segment(ACK, &TIMESTAMPS, &[]))),
            ("with congestion seen (ECE)", in_ipv4(TCP, &tcp_segment(ACK | 0x40, &[], &[]))),
            ("over IPv6", in_ipv6(TCP, &tcp_segment(ACK, &TIMESTAMPS, &[]))),
            ("neighbour solicitation", in_ipv6(ICMPV6, &[135, 0, 0, 0])),
            ("a listener report", in_ipv6(0, &[58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0])),
            ("IGMP", in_ipv4(IGMP, &[0x16, 0, 0, 0, 224, 0, 0, 1])),
        ] {
            assert!(is_bare(&frame), "{what}");
            let tagged = [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
            assert!(is_bare(&tagged), "{what}, in a VLAN");
        }
    }

    #[test]
    fn what_somebody_may_wait_for() {
        for (what, frame) in [
            ("data", in_ipv4(TCP, &tcp_segment(ACK, &TIMESTAMPS, b"x"))),
            ("data over IPv6", in_ipv6(TCP, &tcp_segment(ACK, &[], b"x"))),
            ("a connection opened", in_ipv4(TCP, &tcp_segment(0x12, &[], &[]))),
            ("closed", in_ipv4(TCP, &tcp_segment(ACK | 1, &[], &[]))),
            ("reset", in_ipv6(TCP, &tcp_segment(4, &[], &[]))),
            ("UDP", in_ipv4(17, &[0; 8])),
            ("a ping's reply", in_ipv4(1, &[0; 8])),
            ("a ping's reply over IPv6", in_ipv6(ICMPV6, &[129, 0, 0, 0])),
            ("a fragment", {
                let mut frame = in_ipv4(TCP, &tcp_segment(ACK, &[], &[]));
                frame[14 + 7] = 1;
                frame
            }),
            ("an unknown type", ethernet(0x88b5, &[0; 50])),
            ("nothing", Vec::new()),
        ] {
            assert!(!is_bare(&frame), "{what}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            is_bare(&frame);
        }
    }
}
