//! What would stand still if a frame waited for what never comes, and what must not leave after another.

use super::support::*;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use understudy_checkpoint::time::Span;
use understudy_colo::comparer::Limits;
use understudy_colo::packet::{Flags, Frame, Offload};
use understudy_colo::{Part, Patch};

const AS: &[u8] = &[b'a'; 100];

fn part(from: u32, bytes: u32) -> Part {
    Part { from, bytes, patch: patch(None, None) }
}

/// Both have sent bytes 1 to 100, and the copy has room for half of what the guest has.
fn with_less_room() -> Tester {
    let mut t = Tester::live();
    t.g(syn_ack(0, &[]).window(500)).c(syn_ack(0, &[]).window(500));
    t.says(&[Said::Left(0)]);
    t.g(data(1, AS).window(1000)).c(data(1, AS).window(500)).says(&[Said::LeftAs(1, patch(None, Some(500)))]);
    t
}

#[test]
fn a_probe_leaves_though_the_copy_has_less_room() {
    // A window that was closed is probed by one number before the next, and so is an idle connection.
    with_less_room().g(ack(100, 1).window(1000)).says(&[Said::LeftAs(2, patch(None, Some(500)))]);
}

#[test]
fn an_answer_to_the_worlds_probe_leaves_though_the_copy_has_less_room() {
    with_less_room().g(ack(101, 1).window(1000)).says(&[Said::LeftAs(2, patch(None, Some(500)))]);
    // More room is no answer, and waits for the copy's; the same again is one.
    let mut t = with_less_room();
    t.g(ack(101, 1).window(1200)).says(&[]).g(ack(101, 1).window(1200));
    t.says(&[Said::LeftAs(3, patch(None, Some(500))), Said::Outdated(2)]);
}

#[test]
fn an_ack_that_waited_does_not_leave_after_a_later_frame() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]);
    t.g(ack(101, 9000)).says(&[]);
    t.c(data(101, AS).ack(5000)).g(data(101, AS).ack(9000));
    t.says(&[Said::LeftAs(2, patch(Some(5000), None)), Said::Outdated(1)]);
    let said = t.c(ack(201, 9000)).said();
    let [Said::Told(what)] = said[..] else { panic!("{said:?}") };
    assert_eq!((what.sequence, what.ack), (201, 9000), "what it said is told");
    assert_eq!(t.comparer.stats().outdated, 1);
}

#[test]
fn what_the_guest_sends_again_overtakes_what_waits() {
    let stamps = |clock: u8| [1, 1, 8, 10, 0, 0, 0, clock, 0, 0, 0, 1];
    let mut t = Tester::live();
    t.g(data(1, AS).options(&stamps(5))).c(data(1, AS)).expect(&[0]);
    t.g(data(101, AS).options(&stamps(6))).c(data(101, &AS[..40])).says(&[]);
    // It was lost on its way to the world, and the copy may send no more until the world has it.
    t.g(data(1, AS).options(&stamps(8))).says(&[Said::Left(2)]);
    // A receiver that has taken a clock of 8 refuses one of 6.
    let later = Patch { clock: Some(8), ..Patch::default() };
    t.c(data(141, &AS[40..])).says(&[Said::LeftAs(1, later)]);
    t.g(data(201, AS).options(&stamps(9))).c(data(201, AS)).says(&[Said::Left(3)]);
}

#[test]
fn what_the_copy_sends_again_leaves_as_a_part_of_what_waits() {
    let mut t = Tester::live();
    t.g(data(1, AS).fin()).c(data(1, &AS[..40])).says(&[]);
    t.c(data(1, &AS[..40])).says(&[Said::Part(0, part(0, 40))]);
    t.c(data(41, &AS[40..70])).says(&[]);
    t.c(data(41, &AS[40..70])).says(&[Said::Part(0, part(40, 30))]);
    t.c(data(31, &AS[30..50])).says(&[Said::Part(0, part(30, 20))]);
    t.c(data(71, &AS[70..]).fin()).says(&[Said::Left(0)]);
}

#[test]
fn a_part_acknowledges_no_more_than_the_copy() {
    let mut t = Tester::live();
    t.g(data(1, AS).ack(9000)).c(data(1, &AS[..40]).ack(5000)).c(data(1, &AS[..40]).ack(5000));
    t.says(&[Said::Part(0, Part { patch: patch(Some(5000), None), ..part(0, 40) })]);
}

#[test]
fn no_part_leaves_of_what_was_not_matched() {
    let mut other = AS.to_vec();
    other[30] = b'b';
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, &AS[..20])).c(data(1, &other[..40]));
    assert!(matches!(t.said()[..], [Said::Diverged(_)]), "the byte at 31 differs");
    t.c(data(1, &AS[..20])).says(&[]);
    // Of a later epoch than the copy's.
    let limits = Limits { match_max: Span::from_ms(1000), ..Limits::default() };
    let mut t = Tester::with(limits);
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]);
    t.comparer.cut(t.epoch);
    t.epoch = t.epoch.next();
    t.g(data(101, AS)).c(data(101, &AS[..40])).c(data(101, &AS[..40])).says(&[]);
    // Urgent bytes are counted from where the segment begins.
    let mut t = Tester::live();
    let urgent = |bytes: &[u8]| Seg { urgent: 5, ..data(1, bytes) }.flag(Flags::URG);
    t.g(urgent(AS)).c(urgent(&AS[..40])).c(urgent(&AS[..40])).says(&[]);
}

#[test]
fn a_part_is_a_whole_segment() {
    let odd = part(3, 41);
    for (is_v6, vlan) in [(false, None), (true, None), (false, Some(7)), (true, Some(7))] {
        let payload: Vec<u8> = (0..100).collect();
        let whole = Seg { is_v6, vlan, ..data(1000, &payload) }.fin().ack(77).options(&[1, 1, 1, 0]);
        let expected = Seg { is_v6, vlan, ..data(1003, &payload[3..44]) }.ack(70).options(&[1, 1, 1, 0]);
        for offload in [Offload::default(), Offload { is_checksum_partial: true, segment_bytes: 41 }] {
            let mut out = vec![9; 7];
            let bytes = if offload.segment_bytes > 0 { 60 } else { 41 };
            let part = Part { bytes, patch: patch(Some(70), None), ..odd };
            part.cut(Frame { offload, ..super::support::whole(&whole.frame()) }, &mut out).unwrap();
            assert_eq!(out, expected.frame());
            let sliced = SlicedPacket::from_ethernet(&out).unwrap();
            assert!(matches!(sliced.net, Some(NetSlice::Ipv4(_) | NetSlice::Ipv6(_))));
            assert!(matches!(sliced.transport, Some(TransportSlice::Tcp(_))));
        }
    }
}

#[test]
fn what_is_no_part_of_a_frame_is_refused() {
    let mut out = Vec::new();
    let frame = data(1, AS).frame();
    assert!(part(60, 41).cut(whole(&frame), &mut out).is_err());
    assert!(part(0, 1).cut(whole(&udp(9, AS)), &mut out).is_err());
    assert!(part(u32::MAX, u32::MAX).cut(whole(&frame), &mut out).is_err());
}
