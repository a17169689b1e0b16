//! Connections that are opened: both guests' SYNs in either order, ports used again, SYNs that are none.

use crate::bench::*;
use crate::support::*;
use understudy_checkpoint::Epoch;
use understudy_colo::packet::Side;

#[test]
fn a_connection_of_a_client() {
    let mut bench = Bench::new();
    bench.open(1);
    let data = bench.pass(world(ACK, 101, 1001).options(&stamps(80, P_CLOCK + 9)).payload(b"ask").port(1));
    assert_eq!((segment(&data).sequence, segment(&data).ack), (101, 9001));
    let reply = bench.pass(guest(ACK, 9001, 104).options(&stamps(C_CLOCK + 12, 80)).payload(b"told").port(1));
    assert_eq!((segment(&reply).sequence, segment(&reply).ack), (1001, 104));
    assert_eq!((stamp(&reply), echo(&reply)), (P_CLOCK + 12, 80));
    let ack = bench.pass(world(ACK, 104, 1005).options(&stamps(81, P_CLOCK + 12)).port(1));
    assert_eq!((segment(&ack).ack, echo(&ack)), (9005, C_CLOCK + 12));
}

#[test]
fn either_guest_may_answer_first() {
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.wait(copy_syn_ack());
    bench.wait(guest(ACK, 9001, 101).payload(b"greeting"));
    assert_eq!(bench.later().len(), 0);
    bench.tell(Epoch(8), &primary_syn_ack());
    let later = bench.later();
    let sequences: Vec<_> = later.iter().map(|(side, frame)| (*side, segment(frame).sequence)).collect();
    assert_eq!(sequences, [(Side::Guest, 1000), (Side::Guest, 1001)]);
    assert_eq!(stamp(&later[0].1), P_CLOCK);
    assert_eq!(segment(&bench.pass(client_ack())).ack, 9001);
}

#[test]
fn the_clients_ack_waits_for_the_copys_answer() {
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.tell(Epoch(8), &primary_syn_ack());
    bench.wait(client_ack());
    bench.wait(world(ACK, 101, 1001).options(&stamps(72, P_CLOCK)).payload(b"ask"));
    bench.pass(syn());
    bench.wait(world(RST, 104, 0));
    assert_eq!(segment(&bench.pass(copy_syn_ack())).sequence, 1000);
    let later = bench.later();
    let acks: Vec<_> = later.iter().map(|(_, frame)| segment(frame).ack).collect();
    assert_eq!(acks, [9001, 9001, 0], "in their order");
    assert_eq!(echo(&later[0].1), C_CLOCK);
}

#[test]
fn an_old_syn_changes_nothing() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.pass(syn().port(1));
    bench.pass(world(SYN, 77_777, 0).port(1));
    assert_eq!(segment(&bench.pass(client_ack().port(1))).ack, 9001);
    // Challenge: the connection goes on (RFC 5961).
    assert_eq!(segment(&bench.pass(guest(ACK, 9001, 101).port(1))).sequence, 1001);
    assert_eq!(segment(&bench.pass(client_ack().port(1))).ack, 9001);
}

#[test]
fn the_guest_opens_a_connection() {
    for is_copy_first in [true, false] {
        let mut bench = Bench::new();
        let (primary, copy) = (guest(SYN, 1000, 0), guest(SYN, 9000, 0));
        if is_copy_first {
            bench.wait(copy);
            bench.tell(Epoch(8), &primary);
            assert_eq!(segment(&bench.later()[0].1).sequence, 1000);
        } else {
            bench.tell(Epoch(8), &primary);
            bench.wait(world(SYN | ACK, 100, 1001));
            assert_eq!(segment(&bench.pass(copy)).sequence, 1000);
            assert_eq!(segment(&bench.later()[0].1).ack, 9001);
        }
        assert_eq!(segment(&bench.pass(world(SYN | ACK, 100, 1001))).ack, 9001);
        assert_eq!(segment(&bench.pass(guest(ACK, 9001, 101))).sequence, 1001);
    }
}

#[test]
fn both_open_at_once() {
    let mut bench = Bench::new();
    bench.tell(Epoch(8), &guest(SYN, 1000, 0));
    bench.pass(guest(SYN, 9000, 0));
    bench.pass(world(SYN, 100, 0));
    bench.tell(Epoch(8), &guest(SYN | ACK, 1000, 101));
    assert_eq!(segment(&bench.pass(guest(SYN | ACK, 9000, 101))).sequence, 1000);
    assert_eq!(segment(&bench.pass(world(SYN | ACK, 100, 1001))).ack, 9001);
}

#[test]
fn a_closed_port_is_forgotten_at_once() {
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.wait(world(ACK, 101, 55));
    assert_eq!(segment(&bench.pass(guest(RST | ACK, 0, 101))).sequence, 0);
    assert_eq!(segment(&bench.later()[0].1).ack, 55, "as it is: there is no connection");
    assert_eq!(bench.rewriter.load(), (0, 0));
}

#[test]
fn data_in_a_syn() {
    let mut bench = Bench::new();
    bench.pass(syn().payload(b"early"));
    bench.tell(Epoch(8), &guest(SYN | ACK, PRIMARY, CLIENT + 6));
    assert_eq!(segment(&bench.pass(guest(SYN | ACK, COPY, CLIENT + 6))).sequence, 1000);
    assert_eq!(segment(&bench.pass(world(ACK, CLIENT + 6, 1001))).ack, 9001);
}

#[test]
fn a_port_used_again() {
    let mut bench = Bench::new();
    bench.open(1);
    close(&mut bench);
    bench.pass(world(SYN, 60_000, 0).port(1));
    // The former connection's last words still have its numbers.
    assert_eq!(segment(&bench.pass(guest(FIN | ACK, 9001, 102).port(1))).sequence, 1001);
    bench.tell(Epoch(8), &guest(SYN | ACK, 2000, 60_001).port(1));
    bench.wait(world(ACK, 60_001, 2001).port(1));
    assert_eq!(segment(&bench.pass(guest(SYN | ACK, 8500, 60_001).port(1))).sequence, 2000);
    assert_eq!(segment(&bench.later()[0].1).ack, 8501);
    assert_eq!(segment(&bench.pass(guest(ACK, 8501, 60_001).port(1))).sequence, 2001);
}

#[test]
fn a_port_used_again_while_the_rewriter_thinks_it_is_open() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.pass(world(SYN, 60_000, 0).port(1));
    assert_eq!(segment(&bench.pass(world(ACK, 101, 1001).port(1))).ack, 9001, "perhaps it is");
    bench.wait(guest(SYN | ACK, 8500, 60_001).port(1));
    bench.wait(guest(ACK, 8501, 60_001).port(1));
    // An answer to another SYN is none to this one.
    bench.tell(Epoch(8), &guest(SYN | ACK, 1500, 50_001).port(1));
    assert_eq!(bench.later().len(), 0);
    bench.tell(Epoch(8), &guest(SYN | ACK, 2000, 60_001).port(1));
    let sequences: Vec<_> = bench.later().iter().map(|(_, frame)| segment(frame).sequence).collect();
    assert_eq!(sequences, [2000, 2001]);
}

#[test]
fn multipath_is_not_offered_and_signed_segments_are_left_alone() {
    let mut bench = Bench::new();
    let multipath = [30, 4, 1, 0x81];
    let frame = bench.pass(syn().options(&multipath));
    assert!(!segment(&frame).options.is_multipath());
    assert!(segment(&frame).options.timestamps().is_some());
    bench.tell(Epoch(8), &primary_syn_ack());
    let frame = bench.pass(copy_syn_ack().options(&multipath));
    assert!(!segment(&frame).options.is_multipath());
    assert_eq!(segment(&frame).sequence, 1000);

    let signed = [&[19, 18][..], &[0xaa; 16], &[0, 0]].concat();
    let mut bench = Bench::new();
    for tcp in [world(SYN, 100, 0), guest(SYN | ACK, 9000, 101), world(ACK, 101, 1001), guest(ACK, 9001, 101)]
    {
        let tcp = tcp.options(&signed);
        assert_eq!(bench.pass(tcp.clone()), tcp.frame());
    }
    assert_eq!(bench.rewriter.load(), (0, 0));
}
