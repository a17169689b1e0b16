//! ICMP errors that quote a segment: each end reads the numbers that it knows.

use crate::bench::*;
use crate::support::*;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, SlicedPacket, icmpv4};
use proptest::prelude::*;
use understudy_colo::packet::Side;

/// An error of `side` that quotes the first bytes of this frame's packet.
fn error(side: Side, about: &[u8], bytes: usize) -> Vec<u8> {
    let quoted = &about[14..(14 + bytes).min(about.len())];
    let is_ipv6 = about[14] >> 4 == 6;
    let hosts = if side == Side::Guest { [2_u8, 1] } else { [9, 2] };
    let v6 = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let link = PacketBuilder::ethernet2([2; 6], [2; 6]);
    let mut frame = Vec::new();
    match is_ipv6 {
        false => {
            let why = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1300 };
            let [from, to] = hosts.map(|last| [10, 7, 0, last]);
            let icmp = link.ipv4(from, to, 64).icmpv4(Icmpv4Type::DestinationUnreachable(why));
            icmp.write(&mut frame, quoted).unwrap();
        }
        true => {
            let [from, to] = hosts.map(v6);
            let icmp = link.ipv6(from, to, 64).icmpv6(Icmpv6Type::PacketTooBig { mtu: 1300 });
            icmp.write(&mut frame, quoted).unwrap();
        }
    }
    frame
}

fn through(bench: &mut Bench, side: Side, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let verdict = match side {
        Side::World => bench.rewriter.input(bench.now, CARD, WHOLE, &mut frame),
        Side::Guest => bench.rewriter.output(bench.now, CARD, WHOLE, &mut frame),
    };
    assert_eq!(verdict, understudy_colo::rewriter::Verdict::Pass);
    frame
}

/// A connection of either family whose numbers are known, and clocks that went on.
fn open(is_ipv6: bool) -> Bench {
    let mut bench = Bench::new();
    let on = |tcp: Tcp| Tcp { is_ipv6, ..tcp };
    bench.pass(on(syn()));
    bench.tell(understudy_checkpoint::Epoch(8), &on(primary_syn_ack()));
    bench.pass(on(copy_syn_ack()));
    bench.pass(on(client_ack()));
    bench.pass(on(guest(ACK, 9001, 101).options(&stamps(C_CLOCK + 500, 71))));
    bench
}

#[test]
fn a_router_says_that_a_packet_is_too_big() {
    for is_ipv6 in [false, true] {
        let mut bench = open(is_ipv6);
        let sent = guest(ACK, 9001, 101).options(&stamps(C_CLOCK + 510, 71)).payload(&[7; 300]);
        let sent = Tcp { is_ipv6, ..sent };
        let seen = bench.pass(sent.clone());
        let ip_bytes = if is_ipv6 { 40 } else { 20 };
        for bytes in [8, 11, 19, 20, 32, 33, 200, 2000] {
            let heard = through(&mut bench, Side::World, &error(Side::World, &seen, ip_bytes + bytes));
            let expected = error(Side::World, &sent.frame(), ip_bytes + bytes);
            if bytes >= 32 {
                assert_eq!(heard, expected, "{bytes} bytes are quoted");
                continue;
            }
            let number = expected.len() - bytes + 4;
            assert_eq!(heard[number..number + 4], expected[number..number + 4]);
            assert_icmp_is_sealed(&heard);
        }
    }
}

#[test]
fn both_guests_send_the_same_error() {
    for is_ipv6 in [false, true] {
        let mut bench = open(is_ipv6);
        let sent = world(ACK, 101, 1001).options(&stamps(73, P_CLOCK + 500)).payload(&[7; 300]);
        let sent = Tcp { is_ipv6, ..sent.options(&sacks(&[(1500, 1600)])) };
        let heard = bench.pass(sent.clone());
        assert_ne!(heard, sent.frame());
        for bytes in [100, 2000] {
            let said = through(&mut bench, Side::Guest, &error(Side::Guest, &heard, bytes));
            assert_eq!(said, error(Side::Guest, &sent.frame(), bytes));
        }
    }
}

#[test]
fn what_quotes_nobody_passes_as_it_is() {
    let mut bench = open(false);
    let other = guest(ACK, 9001, 101).port(9).frame();
    let syn_of_v6 = Tcp { is_ipv6: true, ..guest(ACK, 9001, 101) }.frame();
    for about in [&other, &syn_of_v6] {
        for side in [Side::World, Side::Guest] {
            let frame = error(side, about, 100);
            assert_eq!(through(&mut bench, side, &frame), frame);
        }
    }
    // No error, a fragment that is quoted, and too little of a segment.
    let about = guest(ACK, 1001, 101).frame();
    let mut fragment = about.clone();
    fragment[14 + 7] = 4;
    let mut echo = error(Side::World, &about, 100);
    echo[34] = 8;
    for frame in [error(Side::World, &fragment, 100), echo, error(Side::World, &about, 27)] {
        assert_eq!(through(&mut bench, Side::World, &frame), frame);
    }
}

fn assert_icmp_is_sealed(frame: &[u8]) {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let ip = sliced.net.unwrap();
    match sliced.transport.unwrap() {
        etherparse::TransportSlice::Icmpv4(icmp) => {
            let right = icmp.header().icmp_type.calc_checksum(icmp.payload());
            assert_eq!(icmp.checksum(), right);
        }
        etherparse::TransportSlice::Icmpv6(icmp) => {
            let ip = ip.ipv6_ref().unwrap().header().to_header();
            assert!(icmp.is_checksum_valid(ip.source, ip.destination));
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn no_frame_is_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..90), is_v6 in any::<bool>(), cut in 0_usize..120) {
        let mut bench = open(is_v6);
        let about = Tcp { is_ipv6: is_v6, ..guest(ACK, 1001, 101).options(&stamps(P_CLOCK, 71)) }.frame();
        let mut frame = error(Side::World, &about, 100);
        let from = frame.len().saturating_sub(cut);
        for (at, byte) in (from..).zip(bytes) {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        through(&mut bench, Side::World, &frame);
    }
}
