//! What is changed in a segment, and what is not.

use crate::bench::*;
use crate::support::*;
use understudy_checkpoint::Epoch;
use understudy_colo::packet::{Content, Frame, Offload, Packet, Side};
use understudy_colo::rewriter::{Output, Verdict};
use understudy_colo::{Handshake, Opening};

#[test]
fn resets() {
    let mut bench = Bench::new();
    bench.open(1);
    assert_eq!(segment(&bench.pass(guest(RST, 9002, 0).port(1))).sequence, 1002, "without ACK");
    assert_eq!(segment(&bench.pass(guest(RST | ACK, 9002, 101).port(1))).sequence, 1002);
    assert_eq!(segment(&bench.pass(world(RST | ACK, 101, 1001).port(1))).ack, 9001);
    assert_eq!(segment(&bench.pass(world(RST, 101, 0).port(1))).ack, 0);
    // The answer to a segment without ACK counts nothing.
    assert_eq!(segment(&bench.pass(guest(RST | ACK, 0, 101).port(1))).sequence, 0);
}

#[test]
fn selective_acks_and_echoes_at_any_alignment() {
    let mut bench = Bench::new();
    bench.open(1);
    let blocks = sacks(&[(1500, 1600), (1700, 1800)]);
    let tcp = world(ACK, 101, 1001).port(1);
    let frame = bench.pass(tcp.clone().options(&stamps(80, P_CLOCK)).options(&blocks));
    assert_eq!(segment(&frame).options.selective_acks().collect::<Vec<_>>(), [(9500, 9600), (9700, 9800)]);
    assert_eq!(echo(&bench.pass(tcp.clone().options(&odd_stamps(81, P_CLOCK)))), C_CLOCK);
    let odd = [&[1][..], &sacks(&[(1500, 1600)])[2..], &[0]].concat();
    let frame = bench.pass(tcp.clone().options(&odd));
    assert_eq!(segment(&frame).options.selective_acks().next(), Some((9500, 9600)));
    // What the guests acknowledge is the client's count.
    let frame = bench.pass(guest(ACK, 9001, 101).options(&sacks(&[(150, 160)])).port(1));
    assert_eq!(segment(&frame).options.selective_acks().next(), Some((150, 160)));
    assert_eq!(echo(&bench.pass(tcp.options(&stamps(82, 0)))), 0, "nothing to echo");
}

#[test]
fn an_echo_is_a_time_that_the_copy_told() {
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.tell(Epoch(8), &primary_syn_ack());
    bench.pass(copy_syn_ack());
    // The primary repeated its SYN-ACK a second later, and the client echoes the second.
    bench.tell(Epoch(8), &guest(SYN | ACK, PRIMARY, 101).options(&stamps(P_CLOCK + 1000, 70)));
    let ack = bench.pass(world(ACK, 101, 1001).options(&stamps(72, P_CLOCK + 1000)));
    assert_eq!(echo(&ack), C_CLOCK);

    // Its second was told first, and the client echoes the first.
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.tell(Epoch(8), &guest(SYN | ACK, PRIMARY, 101).options(&stamps(P_CLOCK + 1000, 70)));
    bench.pass(copy_syn_ack());
    bench.tell(Epoch(8), &primary_syn_ack());
    assert_eq!(echo(&bench.pass(client_ack())), C_CLOCK);
    // The copy repeated its own before anything was told.
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.wait(copy_syn_ack());
    bench.wait(guest(SYN | ACK, COPY, CLIENT + 1).options(&stamps(C_CLOCK + 7, 70)));
    bench.tell(Epoch(8), &guest(SYN | ACK, PRIMARY, 101).options(&stamps(P_CLOCK + 9, 70)));
    let times: Vec<_> = bench.later().iter().map(|(_, frame)| stamp(frame)).collect();
    assert_eq!(times, [P_CLOCK + 9, P_CLOCK + 16]);
    assert_eq!(echo(&bench.pass(client_ack())), C_CLOCK);
    // Long after, nothing is too early.
    for quarter in 1..=3_u32 {
        let clock = C_CLOCK + (quarter << 30);
        bench.pass(guest(ACK, 9001, 101).options(&stamps(clock, 72)));
        let back = world(ACK, 101, 1001).options(&stamps(73, clock - C_CLOCK + P_CLOCK + 1000));
        assert_eq!(echo(&bench.pass(back)), clock);
    }
}

/// A sender that reads an echo from before it sent again would take its timer for too early, and send no more of what was lost.
#[test]
fn an_ack_of_what_the_copy_sent_again_echoes_that() {
    let mut bench = Bench::new();
    bench.open(1);
    let sends = |sequence: u32, clock: u32| {
        guest(ACK, sequence, 101).payload(&[7; 100]).options(&stamps(C_CLOCK + clock, 80)).port(1)
    };
    let acked = |bench: &mut Bench, ack: u32, clock: u32| {
        let frame = bench.pass(world(ACK, 101, ack).options(&stamps(81, P_CLOCK + clock)).port(1));
        echo(&frame) - C_CLOCK
    };
    for sequence in [9001, 9101, 9201] {
        bench.pass(sends(sequence, 10));
    }
    assert_eq!(acked(&mut bench, 1001, 10), 10);
    bench.pass(sends(9001, 300));
    assert_eq!(acked(&mut bench, 1001, 10), 10, "not of what was sent again");
    assert_eq!(acked(&mut bench, 1101, 10), 300);
    bench.pass(sends(9101, 500));
    assert_eq!(acked(&mut bench, 1201, 10), 300, "since the first of them");
    assert_eq!(acked(&mut bench, 1201, 400), 400);
    assert_eq!(acked(&mut bench, 1301, 10), 300, "the last of what was sent before");
    bench.pass(sends(9301, 600));
    assert_eq!(acked(&mut bench, 1401, 590), 590);
    // It owns the connection, and its own segments have reached the world.
    bench.pass(sends(9301, 900));
    bench.rewriter.takeover(bench.now);
    assert_eq!(acked(&mut bench, 1401, 600), 600);
}

#[test]
fn the_clock_that_the_world_sees_never_goes_back() {
    let mut bench = Bench::new();
    bench.open(1);
    // The primary's clock was faster: the client has seen P_CLOCK + 30.
    bench.pass(world(ACK, 101, 1001).options(&stamps(80, P_CLOCK + 30)).port(1));
    let reply = |clock| guest(ACK, 9001, 101).options(&stamps(clock, 80)).port(1);
    assert_eq!(stamp(&bench.pass(reply(C_CLOCK + 10))), P_CLOCK + 30);
    assert_eq!(stamp(&bench.pass(reply(C_CLOCK + 31))), P_CLOCK + 31);
    assert_eq!(stamp(&bench.pass(reply(C_CLOCK + 29))), P_CLOCK + 31, "overtaken on its way");
    // Half of all numbers later, silence has made every former stamp void.
    let late = 1 << 31;
    assert_eq!(stamp(&bench.pass(reply(C_CLOCK + late + 100))), P_CLOCK + late + 100);
}

#[test]
fn the_clock_of_a_copy_stood_still_between_cut_and_start() {
    let mut bench = Bench::new();
    // From before the base: no shift. Since its cut, the primary's clock went on by 40.
    let reply = |clock| guest(ACK, 1001, 101).options(&stamps(clock, 80));
    bench.pass(reply(P_CLOCK));
    bench.pass(world(ACK, 101, 1001).options(&stamps(81, P_CLOCK + 40)));
    assert_eq!(stamp(&bench.pass(reply(P_CLOCK + 1))), P_CLOCK + 40);
    bench.rebase(Epoch(8), vec![]);
    assert_eq!(stamp(&bench.pass(reply(P_CLOCK + 39))), P_CLOCK + 40);
    let echoed = bench.pass(world(ACK, 101, 1001).options(&stamps(82, P_CLOCK + 40)));
    assert_eq!(echo(&echoed), P_CLOCK + 39, "a time that the copy told");
}

/// By how much the world's clock of the guest leaps at a takeover that comes when the copy was seen to be behind by this.
fn leap(behind: u32) -> u32 {
    let mut bench = Bench::new();
    bench.open(1);
    let reply = |clock| guest(ACK, 9001, 101).options(&stamps(C_CLOCK + clock, 80)).port(1);
    bench.pass(reply(100));
    bench.pass(world(ACK, 101, 1001).options(&stamps(81, P_CLOCK + 100 + behind)).port(1));
    let mut unseen = guest(ACK, 1001, 101).options(&stamps(P_CLOCK + 100, 80)).payload(b"x").port(1).frame();
    bench.rewriter.takeover(bench.now);
    bench.rewriter.bring_forward(CARD, WHOLE, &mut unseen);
    assert!(is_checksum_right(&unseen));
    let told = stamp(&bench.pass(reply(101)));
    let sent = told - P_CLOCK - 101;
    assert!(stamp(&unseen) > P_CLOCK + 100 + behind && stamp(&unseen) <= told);
    // Both ways are exact: what the copy told before, and what it tells now.
    let echoed = |bench: &mut Bench, value| {
        echo(&bench.pass(world(ACK, 101, 1001).options(&stamps(82, value)).port(1)))
    };
    assert_eq!(echoed(&mut bench, P_CLOCK + 90), C_CLOCK + 90);
    assert_eq!(echoed(&mut bench, told), C_CLOCK + 101);
    // A time that only the primary can have told.
    assert_eq!(echoed(&mut bench, P_CLOCK + 100 + behind + 7), C_CLOCK + 101);
    // Long after, every echo is of a time after the takeover.
    for quarter in 1..=3_u32 {
        let clock = 101 + (quarter << 30);
        let told = stamp(&bench.pass(reply(clock)));
        assert_eq!(told.wrapping_sub(P_CLOCK + clock), sent);
        assert_eq!(echoed(&mut bench, told), C_CLOCK + clock);
    }
    sent
}

#[test]
fn a_clock_leaps_ahead_of_what_the_world_may_have_seen() {
    let calm = leap(0);
    assert!(calm >= 1000, "echo and mirror are under way for a while");
    assert_eq!(leap(20_000), calm + 20_000);
}

#[test]
fn a_copy_that_has_said_nothing_since_its_base_leaps_too() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.rebase(Epoch(8), vec![]);
    bench.rewriter.takeover(bench.now);
    let old = world(ACK, 101, 1001).options(&stamps(81, P_CLOCK + 5)).port(1);
    assert_eq!(echo(&bench.pass(old)), P_CLOCK + 5, "the image's clock");
    let told = stamp(&bench.pass(guest(ACK, 1001, 101).options(&stamps(P_CLOCK + 6, 81)).port(1)));
    assert!(told > P_CLOCK + 1000);
    assert_eq!(echo(&bench.pass(world(ACK, 101, 1001).options(&stamps(82, told)).port(1))), P_CLOCK + 6);
}

#[test]
fn wrapping_numbers() {
    let mut bench = Bench::new();
    let (primary, copy) = (u32::MAX - 1, 3);
    bench.pass(world(SYN, u32::MAX, 0));
    bench.tell(Epoch(8), &guest(SYN | ACK, primary, 0).options(&stamps(u32::MAX, 1)));
    assert_eq!(segment(&bench.pass(guest(SYN | ACK, copy, 0).options(&stamps(2, 1)))).sequence, primary);
    let ack = bench.pass(world(ACK, 0, u32::MAX).options(&stamps(1, u32::MAX)));
    assert_eq!((segment(&ack).ack, echo(&ack)), (4, 2));
    let data = bench.pass(guest(ACK, 4, 0).options(&stamps(3, 1)).payload(b"xyz"));
    assert_eq!((segment(&data).sequence, stamp(&data)), (u32::MAX, 0));
}

#[test]
fn a_wrong_checksum_stays_wrong_and_without_a_shift_nothing_is_touched() {
    let mut bench = Bench::new();
    bench.open(1);
    for (port, is_shifted) in [(1, true), (2, false)] {
        for tcp in [
            world(ACK, 101, 1001).options(&stamps(80, P_CLOCK)).port(port),
            guest(ACK, 9001, 101).options(&stamps(C_CLOCK + 9, 80)).port(port),
        ] {
            let mut frame = tcp.frame();
            let place = segment(&frame).at + 16;
            frame[place] ^= 0x40;
            let before = frame.clone();
            let verdict = match tcp.side {
                Side::World => bench.rewriter.input(bench.now, CARD, WHOLE, &mut frame),
                Side::Guest => bench.rewriter.output(bench.now, CARD, WHOLE, &mut frame),
            };
            assert_eq!(verdict, Verdict::Pass);
            assert_eq!(frame != before, is_shifted);
            assert!(!is_checksum_right(&frame));
        }
    }
}

#[test]
fn super_frames_and_partial_checksums() {
    let mut bench = Bench::new();
    bench.open(1);
    let offload = Offload { is_checksum_partial: true, segment_bytes: 1448 };
    let mut frame = guest(ACK, 9001, 101).options(&stamps(C_CLOCK, 70)).payload(&[7; 60_000]).port(1).frame();
    let before = frame.clone();
    let place = segment(&frame).at + 16;
    assert_eq!(bench.rewriter.output(bench.now, CARD, offload, &mut frame), Verdict::Pass);
    assert_eq!(segment(&frame).sequence, 1001);
    assert_eq!(frame[place..place + 2], before[place..place + 2], "the sum of the pseudo header");
    assert_eq!(frame.len(), before.len());
    assert_eq!(frame[place + 2..][30..], before[place + 2..][30..]);

    // Of frames that wait, as well.
    bench.pass(syn().port(2));
    assert_eq!(
        bench.rewriter.output(bench.now, CARD, offload, &mut copy_syn_ack().port(2).frame()),
        Verdict::Waits
    );
    let primary = primary_syn_ack().port(2).frame();
    let (flow, segment_of_primary) = parsed(&primary, Side::Guest);
    let opening = Opening::of(&segment_of_primary).unwrap();
    bench.rewriter.handshake(bench.now, &Handshake { epoch: Epoch(8), flow, opening }).unwrap();
    let Some(Output::Deliver(waited)) = bench.rewriter.poll_output() else { panic!("it waited") };
    assert_eq!((waited.side, waited.offload), (Side::Guest, offload));

    let whole = bench.pass(guest(ACK, 9001, 101).payload(&[7; 1448]).ipv6().port(1));
    assert_eq!(segment(&whole).sequence, 9001, "another flow");
}

#[test]
fn whatever_is_no_tcp_passes_unchanged() {
    let mut bench = Bench::new();
    bench.open(1);
    let mut fragment = guest(ACK, 9001, 101).payload(b"data").port(1).frame();
    fragment[14 + 6] = 0x20;
    let arp = [&[2; 12][..], &[8, 6], &[0; 46]].concat();
    for mut frame in [fragment, arp, vec![], vec![0; 13]] {
        let before = frame.clone();
        let bytes = &mut frame[..];
        assert_eq!(bench.rewriter.output(bench.now, CARD, WHOLE, bytes), Verdict::Pass);
        assert_eq!(bench.rewriter.input(bench.now, CARD, WHOLE, bytes), Verdict::Pass);
        assert_eq!(frame, before);
        let parsed = Packet::parse(Frame { card: CARD, offload: WHOLE, bytes: &frame }, Side::Guest);
        assert!(matches!(parsed.content, Content::Datagram(_)));
    }
}
