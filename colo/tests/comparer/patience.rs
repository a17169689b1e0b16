//! How long the copy is waited for: as long as it has taken lately, and what is late is told from what differs.

use super::support::*;
use understudy_checkpoint::time::Span;
use understudy_colo::comparer::Why;

const AS: &[u8] = &[b'a'; 100];

/// Answers come at once, and one after `ms`; the flow goes on at 201.
fn one_is_late(ms: u64) -> Tester {
    let mut t = Tester::live();
    for at in 0..50 {
        let port = 5000 + at;
        t.guest(&udp(port, AS)).copy(&udp(port, AS)).expect(&[u64::from(at)]);
    }
    t.g(data(1, AS)).wait(ms).c(data(1, AS)).expect(&[50]);
    t
}

#[test]
fn one_long_wait_among_many_short_ones_has_the_next_wait_for_twice_as_long() {
    // Twice the mean would be 5 ms still.
    let mut t = one_is_late(4);
    t.g(data(101, AS)).wait(7).says(&[]);
    t.c(data(101, AS)).expect(&[51]);
    t.g(data(201, AS)).wait(13).says(&[]);
    t.wait(2).says(&[Said::Diverged(Why::Timeout)]);
}

#[test]
fn what_was_long_ago_counts_for_little() {
    let mut t = one_is_late(4);
    t.wait(1_000).guest(&udp(1, AS)).copy(&udp(1, AS)).expect(&[51]);
    t.g(data(101, AS)).wait(6).says(&[Said::Diverged(Why::Timeout)]);
}

#[test]
fn a_frame_that_comes_after_all_was_late_and_the_next_one_has_longer() {
    let mut t = Tester::live();
    t.guest(&udp(1, AS)).g(data(1, AS)).wait(5);
    t.says(&[Said::Diverged(Why::Timeout), Said::Diverged(Why::Timeout)]);
    t.wait(4).copy(&udp(1, AS)).says(&[]);
    t.checkpoint().guest(&udp(1, AS)).wait(17).says(&[]);
    t.copy(&udp(1, AS)).expect(&[2]);
}

#[test]
fn a_segment_that_comes_after_all_was_late_too() {
    let mut t = Tester::live();
    t.g(data(1, AS)).wait(5).says(&[Said::Diverged(Why::Timeout)]);
    t.wait(4).c(data(1, &AS[..50])).c(data(51, &AS[50..])).says(&[]);
    t.checkpoint().g(data(101, AS)).wait(17).says(&[]);
    t.c(data(101, AS)).expect(&[1]);
}

#[test]
fn a_frame_that_differs_was_not_late() {
    let mut t = Tester::live();
    t.guest(&udp(1, AS)).wait(5).says(&[Said::Diverged(Why::Timeout)]);
    t.wait(4).copy(&udp(1, b"another")).copy(&udp(2, AS)).says(&[]);
    t.checkpoint().guest(&udp(1, AS)).wait(5).says(&[Said::Diverged(Why::Timeout)]);
}

#[test]
fn nobody_waits_for_longer_than_the_operator_lets_them() {
    let mut t = Tester::with(understudy_colo::comparer::Limits {
        match_max: Span::from_ms(12),
        ..understudy_colo::comparer::Limits::default()
    });
    for (frame, ms) in [(0, 4), (1, 7), (2, 11)] {
        t.guest(&udp(1, AS)).wait(ms).copy(&udp(1, AS)).expect(&[frame]);
    }
    t.guest(&udp(1, AS)).wait(12).says(&[Said::Diverged(Why::Timeout)]);
}
