//! Frames as bytes, and what is made of them; and that `etherparse` reads them in the same way.

mod support;

use core::cell::Cell;
use core::net::{Ipv4Addr, Ipv6Addr};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::*;
use understudy_colo::packet::{Content, Datagram, Flow, Frame, Offload, Options, Packet, Protocol, Side};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// "GET " with time stamps, from 10.0.0.1:50000 to 10.0.0.2:80, sequence 0x01020304, ack 0x0a0b0c0d, as it was captured.
const GET: &[u8] = &[
    0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
    0x45, 0x10, 0x00, 0x38, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0x0a, 0x68, 10, 0, 0, 1, 10, 0, 0,
    2, // IPv4
    0xc3, 0x50, 0x00, 0x50, 1, 2, 3, 4, 0x0a, 0x0b, 0x0c, 0x0d, 0x80, 0x18, 0x01, 0xf6, 0x12, 0x34, 0,
    0, // TCP
    1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, b'G', b'E', b'T', b' ',
];

fn with(offload: Offload, bytes: &[u8]) -> Packet<'_> {
    Packet::parse(Frame { card: CARD, offload, bytes }, Side::World)
}

fn parse(bytes: &[u8]) -> Packet<'_> {
    with(WHOLE, bytes)
}

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

fn ethernet(ether_type: u16, body: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &ether_type.to_be_bytes(), body].concat()
}

fn ipv4(protocol: u8, options: &[u8], fragment: u16, body: &[u8]) -> Vec<u8> {
    let total = ((20 + options.len() + body.len()) as u16).to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    let words = 0x45 + options.len() as u8 / 4;
    let head = [words, 0, total[0], total[1], 9, 9, high, low, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ethernet(0x0800, &[&head[..], options, body].concat())
}

/// Extension headers: each its number and what follows its two first bytes.
fn ipv6(extensions: &[(u8, Vec<u8>)], last: u8, body: &[u8]) -> Vec<u8> {
    let mut chain = Vec::new();
    for (index, (kind, rest)) in extensions.iter().enumerate() {
        let next = extensions.get(index + 1).map_or(last, |(kind, _)| *kind);
        let units = if *kind == 44 { 0 } else { ((rest.len() + 2) / 8 - 1) as u8 };
        chain.extend([next, units]);
        chain.extend(rest);
    }
    let first = extensions.first().map_or(last, |(kind, _)| *kind);
    let bytes = ((chain.len() + body.len()) as u16).to_be_bytes();
    let head = [&[0x60, 1, 2, 3, bytes[0], bytes[1], first, 64][..], &[1; 16], &[2; 16]].concat();
    ethernet(0x86dd, &[head, chain, body.to_vec()].concat())
}

fn tcp_bytes(payload: &[u8]) -> Vec<u8> {
    [&[0xc3, 0x50, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0], payload].concat()
}

fn udp_bytes(payload: &[u8]) -> Vec<u8> {
    let bytes = (payload.len() as u16 + 8).to_be_bytes();
    [&[0xc3, 0x50, 0, 53, bytes[0], bytes[1], 0xaa, 0xbb], payload].concat()
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

fn arbitrary_frame() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop::collection::vec((any::<bool>(), any::<[u8; 2]>()), 0..3);
    let transport = prop_oneof![
        (prop::collection::vec(any::<u8>(), 0..11), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
            |(options, payload)| {
                let options = &options[..options.len() / 4 * 4];
                let mut bytes = tcp_bytes(&[options, &payload].concat());
                bytes[12] += (options.len() as u8 / 4) << 4;
                (TCP, bytes)
            }
        ),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|payload| (UDP, udp_bytes(&payload))),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)),
    ];
    let extension = prop_oneof![
        (prop_oneof![Just(60_u8), Just(43)], (0_usize..3).prop_map(|units| vec![3; units * 8 + 6])),
        (Just(44_u8), prop_oneof![Just(vec![0; 6]), any::<[u8; 6]>().prop_map(Vec::from)]),
    ];
    let network = (any::<bool>(), prop::collection::vec(extension, 0..3), 0_usize..3, 0_u16..4);
    let padding = 0_usize..4;
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (tags, network, transport, padding, flips).prop_map(
        |(tags, (is_v4, extensions, options, fragment), (protocol, body), padding, flips)| {
            let mut frame = if is_v4 {
                ipv4(protocol, &vec![1; options * 4], [0, 0, 0x2000, 7][usize::from(fragment)], &body)
            } else {
                ipv6(&extensions, protocol, &body)
            };
            for (is_outer, id) in tags {
                let kind = if is_outer { [0x88, 0xa8] } else { [0x81, 0] };
                frame.splice(12..12, [kind[0], kind[1], id[0], id[1]]);
            }
            frame.resize(frame.len() + padding, 0);
            for (at, value) in flips {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            frame
        },
    )
}

/// Whether `etherparse` and we mean the same by the words: where we say less on purpose, it is not asked.
fn is_understood_by_both(sliced: &SlicedPacket<'_>) -> bool {
    let has_authentication = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => ip.extensions().auth.is_some(),
        Some(NetSlice::Ipv6(ip)) => {
            ip.header().payload_length() == 0
                || ip.extensions().clone().into_iter().count() >= 8
                || ip
                    .extensions()
                    .clone()
                    .into_iter()
                    .any(|one| matches!(one, etherparse::Ipv6ExtensionSlice::Authentication(_)))
        }
        _ => true,
    };
    !has_authentication && sliced.link_exts.len() <= 2
}

#[test]
fn etherparse_agrees() {
    let (segments, datagrams, fragments) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let add = |count: &Cell<u32>| count.set(count.get() + 1);
    let check = |frame: Vec<u8>| {
        let ours = parse(&frame);
        let Ok(theirs) = SlicedPacket::from_ethernet(&frame) else { return Ok(()) };
        if !is_understood_by_both(&theirs) {
            return Ok(());
        }
        let ids: Vec<_> = theirs.vlan_ids().iter().map(|id| Some(id.value())).collect();
        let vlan = [ids.first().copied().flatten(), ids.get(1).copied().flatten()];
        prop_assert_eq!(ours.flow.vlan, vlan);
        let (world, guest) = match &theirs.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header();
                (header.source_addr().to_ipv6_mapped(), header.destination_addr().to_ipv6_mapped())
            }
            Some(NetSlice::Ipv6(ip)) => (ip.header().source_addr(), ip.header().destination_addr()),
            _ => return Ok(()),
        };
        prop_assert_eq!((ours.flow.world, ours.flow.guest), (world, guest));
        let is_fragment = matches!(ours.flow.protocol, Protocol::Fragment(_));
        prop_assert_eq!(is_fragment, theirs.is_ip_payload_fragmented());
        if is_fragment {
            add(&fragments);
            return Ok(());
        }
        let whole = theirs.ip_payload().unwrap();
        prop_assert_eq!(ours.flow.protocol, Protocol::Ip(whole.ip_number.0));
        match (ours.content, &theirs.transport) {
            (Content::Tcp(ours_tcp), Some(TransportSlice::Tcp(tcp))) => {
                add(&segments);
                prop_assert_eq!(
                    (ours.flow.world_port, ours.flow.guest_port),
                    (tcp.source_port(), tcp.destination_port())
                );
                prop_assert_eq!(
                    (ours_tcp.sequence, ours_tcp.ack),
                    (tcp.sequence_number(), tcp.acknowledgment_number())
                );
                prop_assert_eq!(
                    (ours_tcp.window, ours_tcp.urgent),
                    (tcp.window_size(), tcp.urgent_pointer())
                );
                prop_assert_eq!(ours_tcp.flags.has(FIN), tcp.fin());
                prop_assert_eq!(ours_tcp.flags.has(SYN), tcp.syn());
                prop_assert_eq!(ours_tcp.flags.has(RST), tcp.rst());
                prop_assert_eq!(ours_tcp.flags.has(ACK), tcp.ack());
                prop_assert_eq!(ours_tcp.options, Options(tcp.options()));
                prop_assert_eq!(ours_tcp.payload, tcp.payload());
                prop_assert_eq!(&frame[ours_tcp.header()], tcp.header_slice());
            }
            (Content::Datagram(ours), theirs) => {
                add(&datagrams);
                prop_assert!(!matches!(theirs, Some(TransportSlice::Tcp(_))));
                prop_assert!(whole.payload.ends_with(ours.body));
                prop_assert!(whole.payload.len() - ours.body.len() <= 8);
            }
            (ours, theirs) => prop_assert!(false, "{ours:?}, but {theirs:?}"),
        }
        Ok(())
    };
    let mut runner =
        TestRunner::new(Config { cases: 20_000, failure_persistence: None, ..Config::default() });
    runner.run(&arbitrary_frame(), check).unwrap();
    for (what, count) in [("segments", segments), ("datagrams", datagrams), ("fragments", fragments)] {
        assert!(count.get() > 300, "too few {what} to judge: {}", count.get());
    }
}

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), segment_bytes in 0_u16..2) {
        let offload = Offload { is_checksum_partial: false, segment_bytes };
        for side in [Side::World, Side::Guest] {
            Packet::parse(Frame { card: CARD, offload, bytes: &bytes }, side);
        }
    }

    #[test]
    fn nothing_panics_near_the_truth(frame in arbitrary_frame(), end in any::<prop::sample::Index>()) {
        let cut = &frame[..end.index(frame.len() + 1)];
        for segment_bytes in [0, 1448] {
            let packet = with(Offload { is_checksum_partial: false, segment_bytes }, cut);
            if let Content::Tcp(segment) = packet.content {
                segment.options.timestamps();
                segment.options.selective_acks().count();
                prop_assert!(segment.header().end <= cut.len());
            }
        }
    }
}
