//! `etherparse` reads the same in frames, most of them damaged, where both understand them; and nothing panics.

use crate::build::*;
use crate::support::*;
use core::cell::Cell;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use understudy_colo::packet::{Content, Frame, Offload, Options, Packet, Protocol, Side};

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
