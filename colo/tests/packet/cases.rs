//! Each kind of frame, byte by byte, and what is made of it.

use crate::build::*;
use crate::support::*;
use core::net::{Ipv4Addr, Ipv6Addr};
use understudy_colo::packet::{Content, Datagram, Flow, Offload, Packet, Protocol, Side};

/// "GET " with time stamps, from 10.0.0.1:50000 to 10.0.0.2:80, sequence 0x01020304, ack 0x0a0b0c0d.
const GET: &[u8] = &[
    0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
    0x45, 0x10, 0x00, 0x38, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0x0a, 0x68, 10, 0, 0, 1, 10, 0, 0,
    2, // IPv4
    0xc3, 0x50, 0x00, 0x50, 1, 2, 3, 4, 0x0a, 0x0b, 0x0c, 0x0d, 0x80, 0x18, 0x01, 0xf6, 0x12, 0x34, 0,
    0, // TCP
    1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, b'G', b'E', b'T', b' ',
];

fn datagram(bytes: &[u8]) -> (Protocol, Datagram<'_>) {
    let packet = parse(bytes);
    match packet.content {
        Content::Datagram(datagram) => (packet.flow.protocol, datagram),
        other => panic!("a stream: {other:?}"),
    }
}

fn payload<'a>(packet: &Packet<'a>) -> &'a [u8] {
    match packet.content {
        Content::Tcp(segment) => segment.payload,
        Content::Datagram(datagram) => datagram.body,
    }
}

#[test]
fn golden() {
    let packet = parse(GET);
    let Content::Tcp(segment) = packet.content else { panic!("no TCP") };
    let v4 = |last| Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped();
    let flow = Flow {
        card: CARD,
        vlan: [None; 2],
        protocol: Protocol::Ip(TCP),
        guest: v4(2),
        world: v4(1),
        guest_port: 80,
        world_port: 50_000,
    };
    assert_eq!(packet.flow, flow);
    assert_eq!((segment.sequence, segment.ack, segment.flags.0), (0x0102_0304, 0x0a0b_0c0d, 0x18));
    assert_eq!((segment.window, segment.urgent, segment.at), (0x1f6, 0, 34));
    assert_eq!(segment.header(), 34..66);
    assert_eq!(segment.payload, b"GET ");
    let (stamps, at) = segment.options.timestamps().unwrap();
    assert_eq!((stamps.value, stamps.echo, at), (7, 9, 4));
    assert_eq!(flow.to_string(), "card 0 tcp 10.0.0.2:80 to 10.0.0.1:50000");
}

#[test]
fn both_directions_are_one_flow() {
    for is_ipv6 in [false, true] {
        for vlan in [None, Some(5)] {
            let there = Tcp { is_ipv6, vlan, ..world(ACK, 1, 2) };
            let back = Tcp { is_ipv6, vlan, ..guest(ACK, 2, 1) };
            let (there, back) = (there.frame(), back.frame());
            assert_eq!(parsed(&there, Side::World).0, parsed(&back, Side::Guest).0);
            assert_ne!(parsed(&there, Side::World).0, parsed(&there, Side::Guest).0);
        }
    }
}

#[test]
fn vlan_tags() {
    let tagged = |tags: &[u8]| [&GET[..12], tags, &GET[12..]].concat();
    for (tags, vlan) in [
        (vec![0x81, 0, 0xe0, 5], [Some(5), None]),
        (vec![0x88, 0xa8, 0, 7, 0x81, 0, 0, 5], [Some(7), Some(5)]),
        (vec![0x81, 0, 0, 0], [Some(0), None]),
    ] {
        let frame = tagged(&tags);
        let packet = parse(&frame);
        assert_eq!(packet.flow.vlan, vlan);
        assert_eq!(payload(&packet), b"GET ");
    }
    // More tags than anyone uses: all that follows, as it is.
    let frame = tagged(&[0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3]);
    assert_eq!(datagram(&frame), (Protocol::Ethernet(0x8100), Datagram { head: [0; 4], body: &frame[22..] }));
}

#[test]
fn padding_is_no_payload() {
    let padded = |mut frame: Vec<u8>| {
        frame.resize(frame.len() + 20, 0xee);
        frame
    };
    for frame in [
        ipv4(TCP, &[], 0, &tcp_bytes(b"x")),
        ipv6(&[], TCP, &tcp_bytes(b"x")),
        ipv4(UDP, &[], 0, &udp_bytes(b"x")),
    ] {
        let (short, long) = (frame.clone(), padded(frame));
        assert_eq!(payload(&parse(&long)), b"x");
        assert_eq!(parse(&long), parse(&short));
    }
    let arp = ethernet(0x0806, &[&[0, 1, 8, 0, 6, 4, 0, 1][..], &[3; 20]].concat());
    assert_eq!(parse(&padded(arp.clone())), parse(&arp));
    let spanning_tree = ethernet(38, &[7; 38]);
    assert_eq!(parse(&padded(spanning_tree.clone())), parse(&spanning_tree));
}

#[test]
fn ipv4_options() {
    let frame = ipv4(TCP, &[148, 4, 0, 0, 1, 1, 1, 0], 0, &tcp_bytes(b"data"));
    let Content::Tcp(segment) = parse(&frame).content else { panic!("no TCP") };
    assert_eq!((segment.at, segment.payload), (42, &b"data"[..]));
}

#[test]
fn ipv6_extension_headers() {
    let option = |bytes: usize| vec![1; bytes];
    for extensions in [
        vec![(0, option(6))],
        vec![(0, option(14)), (43, option(22)), (60, option(6))],
        // An atomic fragment (RFC 6946) is whole.
        vec![(44, vec![0, 0, 0, 0, 0, 9]), (60, option(6))],
        vec![(60, option(6)); 7],
    ] {
        let frame = ipv6(&extensions, TCP, &tcp_bytes(b"data"));
        let packet = parse(&frame);
        assert_eq!(
            (packet.flow.protocol, payload(&packet)),
            (Protocol::Ip(TCP), &b"data"[..]),
            "{extensions:?}"
        );
        assert_eq!(packet.flow.guest_port, 80);
        assert_eq!(
            (packet.flow.world, packet.flow.guest),
            (Ipv6Addr::from([1; 16]), Ipv6Addr::from([2; 16]))
        );
    }
    let endless = ipv6(&vec![(60, option(6)); 20], TCP, &tcp_bytes(b"data"));
    assert_eq!(datagram(&endless).0, Protocol::Ip(60), "compared as it is");
    let nothing = ipv6(&[], 59, &[]);
    assert_eq!(datagram(&nothing), (Protocol::Ip(59), Datagram { head: [0; 4], body: &[] }));
}

#[test]
fn fragments() {
    let body = tcp_bytes(&[7; 12]);
    // More to come; from byte 1,480 on; and last.
    for (v4, v6) in [(0x2000, 0x0001), (0x2000 | 185, 185 << 3 | 1), (185, 185 << 3)] {
        let word = |bytes: [u8; 2]| vec![bytes[0], bytes[1], 0, 0, 0, 9];
        let extensions = [(0, vec![1; 6]), (44, word(u16::to_be_bytes(v6)))];
        let (frame, frame_v6) = (ipv4(TCP, &[], v4, &body), ipv6(&extensions, TCP, &body));
        let [high, low] = v4.to_be_bytes();
        let expected = (Protocol::Fragment(TCP), Datagram { head: [high, low, 0, 0], body: &body });
        assert_eq!(datagram(&frame), expected);
        assert_eq!(datagram(&frame_v6), expected, "both say it in the same way");
        assert_eq!(parse(&frame).flow.guest_port, 0);
    }
    let whole = ipv4(TCP, &[], 0x4000, &body);
    assert!(matches!(parse(&whole).content, Content::Tcp(_)), "do not fragment");
    // A second fragment header does not make a part the whole.
    let twice = ipv6(&[(44, vec![0, 1, 0, 0, 0, 9]), (44, vec![0, 0, 0, 0, 0, 9])], TCP, &body);
    assert_eq!(datagram(&twice).0, Protocol::Fragment(44));
}

#[test]
fn what_is_compared_of_datagrams() {
    let frame = ipv4(UDP, &[], 0, &udp_bytes(b"query"));
    assert_eq!(datagram(&frame).1, Datagram { head: [0, 13, 0, 0], body: b"query" });
    assert_eq!((parse(&frame).flow.guest_port, parse(&frame).flow.world_port), (53, 50_000));
    let other = {
        let mut other = frame.clone();
        other[14 + 20 + 6] = 0;
        other[14 + 4] = 1;
        other[14 + 8] = 63;
        other
    };
    assert_eq!(parse(&frame), parse(&other), "checksum, identification and hops");
    let cut = |segment_bytes| with(Offload { is_checksum_partial: true, segment_bytes }, &frame);
    assert_ne!(cut(2), cut(3), "the same bytes, as other datagrams");

    let echo = [&[0, 0, 0xab, 0xcd, 0, 1, 0, 2][..], b"ping"].concat();
    assert_eq!(
        datagram(&ipv4(1, &[], 0, &echo)),
        (Protocol::Ip(1), Datagram { head: [0; 4], body: &echo[4..] })
    );
    let solicitation = [&[135, 0, 0xab, 0xcd, 0, 0, 0, 0][..], &[9; 16]].concat();
    let listener = ipv6(&[(0, vec![5, 2, 0, 0, 1, 0])], 58, &[143, 0, 1, 1, 0, 0, 0, 1]);
    assert_eq!(
        datagram(&ipv6(&[], 58, &solicitation)),
        (Protocol::Ip(58), Datagram { head: [135, 0, 0, 0], body: &solicitation[4..] })
    );
    assert_eq!(datagram(&listener).1, Datagram { head: [143, 0, 0, 0], body: &[0, 0, 0, 1] });
    // Igmp, ESP, AH, SCTP: all of their bytes.
    for protocol in [2, 50, 51, 132] {
        let expected = (Protocol::Ip(protocol), Datagram { head: [0; 4], body: &[8; 24] });
        assert_eq!(datagram(&ipv4(protocol, &[], 0, &[8; 24])), expected);
        assert_eq!(datagram(&ipv6(&[], protocol, &[8; 24])), expected);
    }
}

#[test]
fn super_frames() {
    let offload = Offload { is_checksum_partial: true, segment_bytes: 1448 };
    let many = ipv4(TCP, &[], 0, &tcp_bytes(&[7; 60_000]));
    assert_eq!(payload(&with(offload, &many)).len(), 60_000);
    // BIG TCP: IP's length is 0, since it has no room for the right one.
    let mut big = ipv4(TCP, &[], 0, &tcp_bytes(&[7; 150_000]));
    big[16..18].fill(0);
    assert_eq!(payload(&with(offload, &big)).len(), 150_000);
    assert!(matches!(parse(&big).content, Content::Datagram(_)), "one segment cannot be as long");
    let mut big = ipv6(&[(0, vec![0xc2, 4, 0, 2, 0x49, 0xf0])], TCP, &tcp_bytes(&[7; 150_000]));
    big[18..20].fill(0);
    assert_eq!(payload(&with(offload, &big)).len(), 150_000);
}

#[test]
fn what_contradicts_itself_is_all_its_bytes() {
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut frame = GET.to_vec();
        change(&mut frame);
        frame
    };
    for (what, frame) in [
        ("nothing", vec![]),
        ("no type", GET[..13].to_vec()),
        ("half an IP header", GET[..30].to_vec()),
        ("less than IP tells", GET[..GET.len() - 1].to_vec()),
        ("IP of 4 words", broken(|frame| frame[14] = 0x44)),
        ("IP of version 6 in one of 4", broken(|frame| frame[14] = 0x65)),
        ("shorter than its own header", broken(|frame| frame[17] = 19)),
        ("no length", broken(|frame| frame[16..18].fill(0))),
        ("a tag and no more", [&GET[..12], &[0x81, 0, 0]].concat()),
        ("an extension header beyond the end", ipv6(&[(60, vec![0; 6])], TCP, &[])[..54 + 1].to_vec()),
        ("IPv6 shorter than it tells", ipv6(&[], TCP, &tcp_bytes(b"data"))[..60].to_vec()),
    ] {
        let expected = (Protocol::Ethernet(0), Datagram { head: [0; 4], body: &frame });
        assert_eq!(datagram(&frame), expected, "{what}");
    }
    for (what, frame) in [
        ("half a TCP header", {
            let mut short = GET[..44].to_vec();
            short[17] = 30;
            short
        }),
        ("TCP of 4 words", broken(|frame| frame[46] = 0x40)),
        ("options beyond the end", broken(|frame| frame[46] = 0xf0)),
    ] {
        let (protocol, content) = datagram(&frame);
        assert_eq!((protocol, content.body), (Protocol::Ip(TCP), &frame[34..]), "{what}");
    }
}
