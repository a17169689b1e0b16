//! What is bounded, and what is forgotten when.

use crate::bench::*;
use crate::support::*;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::rewriter::{Full, Limits, Verdict};

#[test]
fn a_connection_that_is_over_is_forgotten_after_a_while() {
    let mut bench = Bench::new();
    let linger = Limits::default().linger;
    bench.open(1);
    bench.open(2);
    close(&mut bench);
    bench.advance(Span(linger.0 - 1));
    assert_eq!(segment(&bench.pass(world(ACK, 102, 1002).port(1))).ack, 9002, "the last ack, again");
    bench.advance(Span(linger.0 - 1));
    assert_eq!(bench.rewriter.load().0, 2);
    bench.advance(Span(2));
    assert_eq!(bench.rewriter.load().0, 2, "it was looked at, too early");
    bench.advance(linger);
    assert_eq!(bench.rewriter.load().0, 1);
    assert_eq!(segment(&bench.pass(world(ACK, 101, 1001).port(2))).ack, 9001, "the open one is remembered");
}

#[test]
fn a_forged_reset_takes_no_numbers_away() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.pass(world(RST, 555, 0).port(1));
    bench.pass(world(FIN | ACK, 555, 1001).port(1));
    bench.advance(Limits::default().linger);
    bench.advance(Limits::default().linger);
    assert_eq!(segment(&bench.pass(world(ACK, 101, 1001).port(1))).ack, 9001);
    bench.pass(world(RST, 101, 0).port(1));
    bench.advance(Limits::default().linger);
    assert_eq!(bench.rewriter.load().0, 0, "a right one does");
}

#[test]
fn syns_that_nobody_answers_are_forgotten() {
    let mut bench = Bench::new();
    for port in 1..100 {
        bench.pass(syn().port(port));
    }
    bench.advance(Limits::default().linger);
    assert_eq!(bench.rewriter.load().0, 0);
    assert_eq!(bench.unanswered, 0);
}

#[test]
fn a_full_table_refuses_and_forgets_nobody() {
    let mut bench = Bench::with(Limits { connections_max: 20, ..Limits::default() });
    for port in 1..=20 {
        bench.open(port);
    }
    for _ in 0..2 {
        assert_eq!(bench.offer(&syn().port(99)).0, Verdict::Refused(Full::Connections));
    }
    for port in 1..=20 {
        assert_eq!(segment(&bench.pass(client_ack().port(port))).ack, 9001, "port {port}");
    }
    close(&mut bench);
    bench.open(99);
    assert_eq!(bench.offer(&syn().port(98)).0, Verdict::Refused(Full::Connections));
    // After a checkpoint none has other numbers than the primary's.
    bench.rebase(Epoch(8), vec![]);
    bench.open(98);
    bench.rebase(Epoch(9), vec![]);
    for port in 100..120 {
        bench.pass(syn().port(port));
    }
}

#[test]
fn a_flood_of_syns_takes_nobodys_numbers() {
    let mut bench = Bench::with(Limits { connections_max: 20, ..Limits::default() });
    for port in 1..=10 {
        bench.open(port);
    }
    bench.pass(syn().port(11));
    bench.wait(client_ack().port(11));
    for port in 100..1000 {
        bench.pass(syn().port(port));
    }
    assert!(bench.rewriter.load().0 <= 20);
    assert_eq!(bench.rewriter.load().1, 1);
    for port in 1..=10 {
        assert_eq!(segment(&bench.pass(client_ack().port(port))).ack, 9001, "port {port}");
    }
    // One that is answered late has its numbers as well.
    bench.tell(Epoch(8), &primary_syn_ack().port(100));
    assert_eq!(segment(&bench.pass(copy_syn_ack().port(100))).sequence, 1000);
    bench.open(500);
}

#[test]
fn connections_that_are_not_shifted_take_nobodys_room() {
    let mut bench = Bench::with(Limits { connections_max: 4, ..Limits::default() });
    bench.open(1);
    for port in 10..20 {
        bench.pass(guest(ACK, 1001, 101).options(&stamps(P_CLOCK, 80)).port(port));
    }
    assert_eq!(bench.rewriter.load().0, 4);
    for port in 2..=4 {
        bench.open(port);
    }
    for port in 1..=4 {
        assert_eq!(segment(&bench.pass(client_ack().port(port))).ack, 9001, "port {port}");
    }
}

#[test]
fn too_many_frames_wait() {
    let mut bench = Bench::with(Limits { frames_max: 3, ..Limits::default() });
    bench.pass(syn());
    for _ in 0..3 {
        bench.wait(client_ack());
    }
    assert_eq!(bench.offer(&client_ack()).0, Verdict::Refused(Full::Waiting));
    bench.rebase(Epoch(8), vec![]);
    bench.pass(syn());
    bench.wait(client_ack());
}

#[test]
fn waiting_too_long_asks_for_one_checkpoint() {
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.wait(client_ack());
    assert_eq!(bench.rewriter.next_timeout(), Some(Time(0) + Limits::default().wait_max));
    bench.advance(Span(Limits::default().wait_max.0 - 1));
    assert_eq!(bench.unanswered, 0);
    bench.advance(Span(1));
    bench.advance(Span::from_ms(1000));
    assert_eq!(bench.unanswered, 1);
    bench.rebase(Epoch(8), vec![]);
    bench.pass(syn());
    bench.wait(client_ack());
    bench.advance(Span::from_ms(1000));
    assert_eq!(bench.unanswered, 2);
}
