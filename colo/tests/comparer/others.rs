//! More rows of what QEMU's comparison does otherwise: other protocols, time, and room.

use super::support::*;
use etherparse::PacketBuilder;
use understudy_colo::comparer::{Limits, Number, Why};

const AS: &[u8] = &[b'a'; 100];

// Other protocols.

#[test]
fn udp_is_compared_in_any_order() {
    let mut t = Tester::live();
    t.guest(&udp(9, b"one")).guest(&udp(9, b"two")).guest(&udp(9, b"one")).copy(&udp(9, b"two")).expect(&[1]);
    t.copy(&udp(9, b"one")).expect(&[0]).copy(&udp(8, b"one")).expect(&[]).copy(&udp(9, b"one")).expect(&[2]);
}

#[test]
fn other_protocols_are_compared_without_the_ip_header() {
    let sctp = |id: u16, payload: &[u8]| {
        let mut header =
            etherparse::Ipv4Header::new(0, 64, 132.into(), [10, 7, 0, 2], [10, 7, 0, 1]).unwrap();
        header.identification = id;
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
            .write(&mut frame, 132.into(), payload)
            .unwrap();
        frame
    };
    let mut t = Tester::live();
    t.guest(&sctp(1, b"chunk")).copy(&sctp(2, b"chunk")).expect(&[0]);
    t.guest(&sctp(1, b"chunk")).copy(&sctp(1, b"other")).expect(&[]).wait(60);
    t.says(&[Said::Diverged(Why::Timeout)]);
}

#[test]
fn ipv6_and_vlans_are_compared() {
    let variants = [(true, None), (false, Some(5)), (true, Some(5))];
    for (is_v6, vlan) in variants {
        let with = |payload: &[u8]| Seg { is_v6, vlan, ..data(1, payload) };
        let mut t = Tester::live();
        t.g(with(AS)).expect(&[]).c(with(AS)).expect(&[0]);
        let mut t = Tester::live();
        t.g(with(b"a")).c(with(b"b")).says(&[Said::Diverged(Why::Payload { at: Number(1) })]);
    }
    let mut t = Tester::live();
    t.g(Seg { vlan: Some(5), ..data(1, AS) }).c(Seg { vlan: Some(6), ..data(1, AS) }).expect(&[]);
}

#[test]
fn arp_icmp_and_short_frames_are_compared() {
    let arp = |byte: u8| [&[255; 6][..], &[2; 6], &[8, 6], &[byte; 28]].concat();
    let ping = |id: u16| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 7, 0, 2], [10, 7, 0, 1], 64)
            .icmpv4_echo_reply(id, 1)
            .write(&mut frame, b"ping")
            .unwrap();
        frame
    };
    for (same, other) in [(arp(1), arp(2)), (ping(1), ping(2)), (vec![7; 9], vec![8; 9])] {
        let mut t = Tester::live();
        t.guest(&same).expect(&[]).copy(&other).expect(&[]).copy(&same).expect(&[0]);
    }
}

// Time and room.

#[test]
fn one_checkpoint_for_many_old_frames_of_a_flow() {
    let mut t = Tester::live();
    for number in 0..50 {
        t.g(data(1 + number * 100, AS)).guest(&udp(9, &[number as u8]));
    }
    t.wait(100);
    t.says(&[Said::Diverged(Why::Timeout), Said::Diverged(Why::Timeout)]);
    t.g(data(5001, AS)).guest(&udp(9, b"more")).wait(100).says(&[]);
}

#[test]
fn what_the_copy_alone_sent_ends_too() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]).c(data(101, AS)).wait(400).says(&[]);
    t.wait(200).says(&[Said::Diverged(Why::Silent)]);
}

#[test]
fn the_copys_repetitions_are_not_missed() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).c(data(1, AS)).c(data(51, &AS[..10])).expect(&[0]).wait(2000).says(&[]);
}

#[test]
fn a_full_queue_is_told_and_the_flow_goes_on_after_the_next_base() {
    let mut t = Tester::with(Limits { flow_frames_max: 5, ..Limits::default() });
    for number in 0..12 {
        t.g(data(1 + number * 100, AS));
    }
    let said = t.said();
    assert!(matches!(said[..], [Said::Diverged(Why::Full(_))]), "{said:?}");
    t.checkpoint().g(data(1201, AS)).c(data(1201, AS)).expect(&[12]);
}

#[test]
fn one_flow_that_differs_does_not_hold_the_others() {
    let mut t = Tester::live();
    t.g(data(1, AS)).g(data(1, AS).port(4001)).c(data(1, b"b"));
    t.says(&[Said::Diverged(Why::Payload { at: Number(1) })]).c(data(1, AS).port(4001)).expect(&[1]);
}
