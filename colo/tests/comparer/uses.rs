//! Which of the copy's frames are used up. That none is too early, and none too late once all has left, is a property of
//! streams (`judges`).

use super::support::*;
use understudy_checkpoint::Epoch;
use understudy_colo::comparer::{CopyNumber, Limits};

const AS: &[u8] = &[b'a'; 100];

impl Tester {
    #[track_caller]
    fn used(&mut self, through: Option<u64>) -> &mut Self {
        assert_eq!(self.comparer.used_through(), through.map(CopyNumber));
        self
    }
}

#[test]
fn a_frame_is_used_up_once_all_of_it_has_left() {
    let mut t = Tester::live();
    t.used(None).c(data(1, AS)).used(None).g(data(1, AS)).used(Some(0));
    // It was compared, and what contains it waits for the rest.
    t.g(data(101, &[b'a'; 200])).c(data(101, AS)).used(Some(0)).c(data(201, AS)).used(Some(2));
}

#[test]
fn the_frame_that_contains_it_may_be_of_the_next_epoch() {
    let mut t = Tester::live();
    t.g(data(1, AS)).comparer.cut(Epoch(1));
    t.epoch = Epoch(2);
    t.g(data(101, AS)).c(data(1, AS)).used(Some(0)).c(data(101, AS)).used(Some(0));
    t.comparer.released(Epoch(1));
    t.used(None);
    t.comparer.live(t.now, Epoch(1));
    t.base = Epoch(1);
    t.used(None).c(data(101, AS)).used(Some(0));
}

#[test]
fn an_acknowledgement_is_used_up_once_it_was_told_or_outdone() {
    let mut t = Tester::live();
    t.c(ack(1, 5000)).used(None).c(ack(1, 6000)).used(Some(0)).g(ack(1, 6000)).used(Some(1));
    t.g(data(1, AS).ack(6000)).c(data(1, AS).ack(7000)).expect(&[0, 1]).used(Some(1));
    t.g(ack(101, 7000)).used(Some(2));
}

#[test]
fn of_a_flow_that_differs_nothing_is_used_up_until_the_next_base() {
    let mut t = Tester::live();
    t.g(data(1, AS).port(1)).c(data(1, AS).port(1)).used(Some(0));
    t.g(data(1, AS)).c(data(1, b"b")).g(data(101, AS).port(1)).c(data(101, AS).port(1)).used(Some(0));
    t.checkpoint().used(None).g(data(101, AS)).c(data(101, AS)).used(Some(0));
}

#[test]
fn a_reset_and_a_new_connection_end_what_was_not_told() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).c(ack(101, 9000)).used(Some(0));
    t.g(data(101, &[]).rst().without_ack()).c(data(101, &[]).rst().without_ack()).used(Some(2));
    let mut t = Tester::live();
    t.g(syn_ack(5000, &[])).c(syn_ack(5000, &[])).c(ack(5001, 9000)).used(Some(0));
    t.c(syn_ack(1000, &[])).c(data(1001, AS)).used(Some(0));
    t.g(syn_ack(1000, &[])).used(Some(2)).g(data(1001, AS)).used(Some(3));
}

#[test]
fn datagrams_are_used_up_in_any_order() {
    let mut t = Tester::live();
    t.copy(&udp(9, b"one")).copy(&udp(9, b"two")).guest(&udp(9, b"two")).used(None);
    t.guest(&udp(9, b"one")).used(Some(1)).guest(&udp(9, b"six")).copy(&udp(9, b"six")).used(Some(2));
}

#[test]
fn from_a_gap_or_from_a_full_list_on_nothing_is_used_up() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).g(data(101, AS));
    t.comparer.copy_numbered(t.now, CopyNumber(2), whole(&data(101, AS).frame()), t.base);
    t.expect(&[0, 1]).used(Some(0)).checkpoint().g(data(201, AS)).c(data(201, AS)).used(Some(0));
    let mut t = Tester::with(Limits { frames_max: 4, ..Limits::default() });
    for number in 0..6 {
        t.c(data(1 + 100 * number, AS).port(number as u16));
    }
    t.used(None);
}

#[test]
fn a_flow_that_was_forgotten_holds_nothing_back() {
    let mut t = Tester::with(Limits { flows_max: 2, ..Limits::default() });
    t.c(ack(1, 5000).port(1)).used(None);
    for port in 2..9 {
        t.g(data(1, AS).port(port)).c(data(1, AS).port(port));
    }
    t.used(Some(7));
}
