//! Bases, epochs, cuts and acks.

use super::support::*;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;
use understudy_colo::comparer::{Limits, Why};

const AS: &[u8] = &[b'a'; 100];

#[test]
fn nothing_matches_before_a_copy_is_live_and_what_waited_matches_then() {
    let mut t = Tester::idle(Limits::default());
    t.comparer.released(Epoch(0));
    t.g(data(1, AS)).c(data(1, AS)).expect(&[]).wait(100).says(&[]);
    t.comparer.live(t.now, Epoch(0));
    t.expect(&[]).c(data(1, AS)).expect(&[0]);
    assert_eq!(t.comparer.stats().stale, 1);
}

#[test]
fn a_frame_of_another_base_is_dropped() {
    let mut t = Tester::live();
    t.checkpoint();
    t.base = Epoch(0);
    t.g(data(1, AS)).c(data(1, AS)).expect(&[]);
    t.base = Epoch(1);
    t.c(data(1, AS)).expect(&[0]);
}

#[test]
fn frames_after_the_next_cut_wait_for_the_next_base() {
    let mut t = Tester::live();
    t.g(data(1, AS)).comparer.cut(Epoch(1));
    t.epoch = Epoch(2);
    t.g(data(101, AS)).g(ack(201, 1)).c(data(1, AS)).c(data(101, AS)).c(ack(201, 1)).expect(&[0]);
    // The counterpart of what the copy sent more is not missed.
    t.wait(2000).says(&[]);
    t.comparer.released(Epoch(1));
    t.comparer.live(t.now, Epoch(1));
    t.base = Epoch(1);
    t.expect(&[2]).c(data(101, AS)).expect(&[1]);
}

#[test]
fn after_an_ack_the_position_is_the_primarys() {
    let mut t = Tester::live();
    t.g(data(1, AS))
        .c(data(1, b"b"))
        .says(&[Said::Diverged(Why::Payload { at: understudy_colo::comparer::Number(1) })]);
    t.g(data(101, AS).ack(77)).checkpoint();
    // Repeats what left with the ack, and acknowledges what the image contains.
    t.g(data(1, AS).ack(77)).g(ack(201, 77)).expect(&[2, 3]);
    t.c(data(201, AS).ack(77)).g(data(201, AS).ack(77)).expect(&[4]);
}

#[test]
fn a_base_is_not_live_twice_once_something_left() {
    let mut t = Tester::live();
    t.comparer.stop();
    t.comparer.live(t.now, Epoch(0));
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]);
    t.comparer.stop();
    t.comparer.live(t.now, Epoch(0));
    t.g(data(101, AS)).c(data(101, AS)).expect(&[]);
    t.checkpoint().c(data(201, AS)).g(data(201, AS)).expect(&[2]);
}

#[test]
fn the_time_before_a_copy_is_live_is_not_waited() {
    let mut t = Tester::idle(Limits::default());
    t.comparer.released(Epoch(0));
    t.g(data(1, AS));
    t.now = Time(10_000_000_000);
    t.comparer.live(t.now, Epoch(0));
    t.wait(1).says(&[]).c(data(1, AS)).expect(&[0]);
}

#[test]
fn a_timeout_is_asked_for_again_after_the_next_base() {
    let mut t = Tester::live();
    t.g(data(1, AS)).wait(100).says(&[Said::Diverged(Why::Timeout)]).g(data(101, AS)).wait(100).says(&[]);
    t.checkpoint().g(data(201, AS)).wait(100).says(&[Said::Diverged(Why::Timeout)]);
}

#[test]
fn a_flow_that_has_no_room_after_it_differed_does_not_hang() {
    let mut t = Tester::with(Limits { flow_frames_max: 3, ..Limits::default() });
    t.g(data(1, AS)).wait(100).says(&[Said::Diverged(Why::Timeout)]).comparer.cut(Epoch(1));
    t.epoch = Epoch(2);
    for number in 1..5 {
        t.g(data(1 + number * 100, AS));
    }
    t.comparer.released(Epoch(1));
    t.comparer.live(t.now, Epoch(1));
    t.wait(1000).says(&[]).checkpoint().g(data(501, AS)).c(data(501, AS)).expect(&[5]);
}

#[test]
fn a_frame_that_leaves_by_its_ack_is_not_told() {
    let mut t = Tester::live();
    t.g(data(1, AS)).guest(&udp(9, b"x"));
    t.comparer.cut(Epoch(1));
    t.comparer.released(Epoch(1));
    assert_eq!((t.comparer.waiting_frames(), t.comparer.waiting_bytes()), (0, 0));
    t.c(data(1, AS)).copy(&udp(9, b"x")).wait(1000).says(&[]);
    assert_eq!(t.comparer.stats().acked, 2);
}

#[test]
fn a_full_table_forgets_idle_flows_and_never_those_of_which_something_waits() {
    let mut t = Tester::with(Limits { flows_max: 8, ..Limits::default() });
    let mut id = 0;
    for port in 0..100 {
        t.g(data(1, AS).port(port)).c(data(1, AS).port(port)).expect(&[id]);
        id += 1;
    }
    assert!(t.comparer.flows() <= 8);
    for port in 0..8 {
        t.g(data(1, AS).port(200 + port));
    }
    t.says(&[]);
    t.g(data(1, AS).port(300)).g(data(1, AS).port(301));
    let said = t.said();
    assert!(matches!(said[..], [Said::Diverged(Why::Full(_))]), "once, {said:?}");
    for port in 0..8 {
        t.c(data(1, AS).port(200 + port)).expect(&[id]);
        id += 1;
    }
}

#[test]
fn closed_flows_are_forgotten_first() {
    let mut t = Tester::with(Limits { flows_max: 3, ..Limits::default() });
    t.g(data(1, AS).port(1)).c(data(1, AS).port(1)).expect(&[0]);
    t.g(data(1, AS).port(2).fin()).c(data(1, AS).port(2).fin()).expect(&[1]);
    t.g(data(1, AS).port(3)).c(data(1, AS).port(3)).expect(&[2]);
    t.g(data(1, AS).port(4)).c(data(1, AS).port(4)).expect(&[3]);
    // Those that stayed know what was compared: a repetition leaves at once.
    t.g(data(1, AS).port(1)).g(data(1, AS).port(3)).expect(&[4, 5]);
    t.g(data(1, AS).port(2)).expect(&[]);
}
