//! The rewriter, case by case. The primary's guest counts from 1,000 and its clock stands at 5,000; its copy counts from
//! 9,000 with a clock at 5,300; the client counts from 100, with a clock at 70.

mod support;

use support::*;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::packet::{Content, Frame, Offload, Packet, Side};
use understudy_colo::rewriter::{Carried, Full, Limits, Output, Rewriter, Shift, Verdict};
use understudy_colo::{Flow, Handshake, Opening};

const PRIMARY: u32 = 1000;
const COPY: u32 = 9000;
const CLIENT: u32 = 100;
const P_CLOCK: u32 = 5000;
const C_CLOCK: u32 = 5300;
const BASE: Epoch = Epoch(7);

struct Bench {
    rewriter: Rewriter,
    base: Epoch,
    now: Time,
    /// What came out later: to the copy, and from it.
    later: Vec<(Side, Vec<u8>)>,
    unanswered: usize,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self {
            rewriter: Rewriter::new(BASE, limits),
            base: BASE,
            now: Time(0),
            later: Vec::new(),
            unanswered: 0,
        }
    }

    fn poll(&mut self) {
        while let Some(output) = self.rewriter.poll_output() {
            match output {
                Output::Deliver(waited) => {
                    assert!(is_checksum_right(&waited.bytes));
                    self.later.push((waited.side, waited.bytes.clone()));
                    self.rewriter.recycle(waited.bytes);
                }
                Output::Unanswered(_) => self.unanswered += 1,
            }
        }
    }

    fn offer(&mut self, tcp: &Tcp) -> (Verdict, Vec<u8>) {
        let mut frame = tcp.frame();
        let verdict = match tcp.side {
            Side::World => self.rewriter.input(self.now, CARD, WHOLE, &mut frame),
            Side::Guest => self.rewriter.output(self.now, CARD, WHOLE, &mut frame),
        };
        assert!(is_checksum_right(&frame), "{tcp:?}");
        self.poll();
        (verdict, frame)
    }

    /// Offers a segment that must pass at once.
    fn pass(&mut self, tcp: Tcp) -> Vec<u8> {
        let (verdict, frame) = self.offer(&tcp);
        assert_eq!(verdict, Verdict::Pass, "{tcp:?}");
        frame
    }

    /// Offers a segment that must wait.
    fn wait(&mut self, tcp: Tcp) {
        assert_eq!(self.offer(&tcp).0, Verdict::Waits, "{tcp:?}");
    }

    fn tell(&mut self, epoch: Epoch, primary: &Tcp) {
        let frame = primary.frame();
        let (flow, segment) = parsed(&frame, Side::Guest);
        let opening = Opening::of(&segment).unwrap();
        self.rewriter.handshake(self.now, &Handshake { epoch, flow, opening }).unwrap();
        self.poll();
    }

    fn later(&mut self) -> Vec<(Side, Vec<u8>)> {
        std::mem::take(&mut self.later)
    }

    /// A client's connection, open.
    fn open(&mut self, port: u16) {
        self.pass(syn().port(port));
        self.tell(Epoch(self.base.0 + 1), &primary_syn_ack().port(port));
        assert_eq!(segment(&self.pass(copy_syn_ack().port(port))).sequence, PRIMARY);
        let ack = self.pass(client_ack().port(port));
        assert_eq!(segment(&ack).ack, COPY + 1);
    }

    fn rebase(&mut self, base: Epoch, carried: Vec<Carried>) {
        self.base = base;
        self.rewriter.set_base(self.now, base, carried).unwrap();
        self.poll();
    }

    fn advance(&mut self, span: Span) {
        self.now = self.now + span;
        while self.rewriter.next_timeout().is_some_and(|due| due <= self.now) {
            self.rewriter.handle_timeout(self.now);
            self.poll();
        }
    }
}

fn syn() -> Tcp {
    world(SYN, CLIENT, 0).options(&stamps(70, 0))
}

fn primary_syn_ack() -> Tcp {
    guest(SYN | ACK, PRIMARY, CLIENT + 1).options(&stamps(P_CLOCK, 70))
}

fn copy_syn_ack() -> Tcp {
    guest(SYN | ACK, COPY, CLIENT + 1).options(&stamps(C_CLOCK, 70))
}

fn client_ack() -> Tcp {
    world(ACK, CLIENT + 1, PRIMARY + 1).options(&stamps(71, P_CLOCK))
}

fn echo(frame: &[u8]) -> u32 {
    segment(frame).options.timestamps().unwrap().0.echo
}

fn stamp(frame: &[u8]) -> u32 {
    segment(frame).options.timestamps().unwrap().0.value
}

fn flow_of(tcp: &Tcp) -> Flow {
    parsed(&tcp.frame(), tcp.side).0
}

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
fn either_of_both_guests_may_answer_first() {
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
fn a_closed_port_is_forgotten_at_once() {
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.wait(world(ACK, 101, 55));
    assert_eq!(segment(&bench.pass(guest(RST | ACK, 0, 101))).sequence, 0);
    assert_eq!(segment(&bench.later()[0].1).ack, 55, "as it is: there is no connection");
    assert_eq!(bench.rewriter.load(), (0, 0));
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
fn established_before_the_base() {
    let mut bench = Bench::new();
    assert_eq!(segment(&bench.pass(world(ACK, 101, 1001))).ack, 1001);
    assert_eq!(segment(&bench.pass(guest(ACK, 1001, 101))).sequence, 1001);
    assert_eq!(segment(&bench.pass(guest(RST, 1001, 0))).sequence, 1001);
    // A forged SYN holds its input up only until the copy speaks.
    bench.pass(world(SYN, 5, 0));
    bench.wait(world(ACK, 101, 1001).payload(b"ask"));
    bench.pass(guest(ACK, 1001, 101));
    assert_eq!(segment(&bench.later()[0].1).ack, 1001);
    assert_eq!(segment(&bench.pass(world(ACK, 104, 1001))).ack, 1001);
}

#[test]
fn a_checkpoint_makes_the_numbers_the_primarys() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.rebase(Epoch(8), vec![]);
    assert_eq!(segment(&bench.pass(world(ACK, 101, 1001).port(1))).ack, 1001);
    assert_eq!(segment(&bench.pass(guest(ACK, 1001, 101).port(1))).sequence, 1001);
}

#[test]
fn a_checkpoint_in_the_middle_of_a_handshake() {
    // The primary answered in epoch 8, and 8 is the base: the copy has the primary's request.
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.tell(Epoch(8), &primary_syn_ack());
    bench.pass(copy_syn_ack());
    bench.rebase(Epoch(8), vec![]);
    assert_eq!(segment(&bench.pass(primary_syn_ack())).sequence, 1000, "repeated from the image");
    assert_eq!(segment(&bench.pass(client_ack())).ack, 1001);

    // Told late, when the base was set already.
    let mut bench = Bench::new();
    bench.rebase(Epoch(8), vec![]);
    bench.wait(primary_syn_ack());
    bench.tell(Epoch(8), &primary_syn_ack());
    assert_eq!(segment(&bench.later()[0].1).sequence, 1000);
    assert_eq!(segment(&bench.pass(client_ack())).ack, 1001);
}

#[test]
fn a_handshake_after_the_cut_still_counts() {
    for is_syn_after_the_cut in [true, false] {
        for former_copy_answered in [true, false] {
            let mut bench = Bench::new();
            bench.pass(syn());
            // The primary is in epoch 9 already, the copy about to be set to 8.
            bench.tell(Epoch(9), &primary_syn_ack());
            if former_copy_answered {
                bench.pass(guest(SYN | ACK, 6000, 101));
            }
            bench.rebase(Epoch(8), vec![]);
            if is_syn_after_the_cut {
                bench.pass(syn());
                bench.wait(client_ack());
            }
            assert_eq!(segment(&bench.pass(copy_syn_ack())).sequence, 1000);
            for (_, frame) in bench.later() {
                assert_eq!(segment(&frame).ack, 9001);
            }
            assert_eq!(segment(&bench.pass(client_ack())).ack, 9001);
        }
    }
}

#[test]
fn what_waits_is_forgotten_when_the_copy_is_set() {
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.wait(client_ack());
    bench.wait(copy_syn_ack());
    bench.rebase(Epoch(8), vec![]);
    assert_eq!(bench.rewriter.load(), (0, 0));
    bench.tell(Epoch(9), &primary_syn_ack());
    assert_eq!(bench.later().len(), 0, "input is given again, output is of a copy that is no more");
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

fn close(bench: &mut Bench) {
    let fin = bench.pass(world(FIN | ACK, 101, 1001).port(1));
    assert_eq!(segment(&fin).ack, 9001);
    assert_eq!(segment(&bench.pass(guest(FIN | ACK, 9001, 102).port(1))).sequence, 1001);
    assert_eq!(segment(&bench.pass(world(ACK, 102, 1002).port(1))).ack, 9002);
}

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
    bench.pass(syn().port(99));
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

#[test]
fn a_takeover_keeps_what_is_shifted_and_lets_go_what_waits() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.pass(syn().port(2));
    bench.wait(copy_syn_ack().port(2));
    bench.wait(guest(ACK, 9001, 101).payload(b"greeting").port(2));
    bench.pass(syn().port(3));
    bench.tell(Epoch(8), &primary_syn_ack().port(3));
    bench.rewriter.takeover(bench.now);
    bench.poll();
    // Nobody was told of the primary's numbers, since its frame waited for this one.
    let sequences: Vec<_> = bench.later().iter().map(|(_, frame)| segment(frame).sequence).collect();
    assert_eq!(sequences, [9000, 9001]);
    assert_eq!(segment(&bench.pass(copy_syn_ack().port(3))).sequence, 9000);
    assert_eq!(segment(&bench.pass(world(ACK, 101, 9001).port(3))).ack, 9001);
    // New connections need nothing, the old one does.
    bench.pass(syn().port(4));
    assert_eq!(segment(&bench.pass(copy_syn_ack().port(4))).sequence, 9000);
    assert_eq!(segment(&bench.pass(world(ACK, 101, 1001).port(1))).ack, 9001);
    assert_eq!(bench.rewriter.load(), (1, 0));
    // Its port is used again.
    close(&mut bench);
    bench.pass(world(SYN, 60_000, 0).port(1));
    assert_eq!(segment(&bench.pass(guest(FIN | ACK, 9001, 102).port(1))).sequence, 1001);
    assert_eq!(segment(&bench.pass(guest(SYN | ACK, 8000, 60_001).port(1))).sequence, 8000);
    assert_eq!(segment(&bench.pass(world(ACK, 60_001, 8001).port(1))).ack, 8001);
    assert_eq!(bench.rewriter.load(), (0, 0));
}

#[test]
fn the_table_goes_with_the_next_copy() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.rewriter.takeover(bench.now);
    let carried = bench.rewriter.offsets();
    let shift = Shift { sequence: COPY - PRIMARY, timestamp: C_CLOCK - P_CLOCK };
    assert_eq!(carried, [Carried { flow: flow_of(&syn().port(1)), shift, initial: COPY }]);

    let mut next = Bench::new();
    next.rebase(Epoch(20), carried.clone());
    assert_eq!(segment(&next.pass(world(ACK, 101, 1001).port(1))).ack, 9001);
    assert_eq!(segment(&next.pass(guest(ACK, 9001, 101).port(1))).sequence, 1001);
    assert_eq!(segment(&next.pass(world(ACK, 101, 1001).port(2))).ack, 1001);
    // A connection of its own, then a second takeover: both are shifted.
    next.pass(syn().port(2));
    next.tell(Epoch(21), &primary_syn_ack().port(2));
    next.pass(guest(SYN | ACK, 4000, 101).port(2));
    next.rewriter.takeover(next.now);
    assert_eq!(segment(&next.pass(world(ACK, 101, 1001).port(2))).ack, 4001);
    assert_eq!(segment(&next.pass(world(ACK, 101, 1001).port(1))).ack, 9001);
    assert_eq!(next.rewriter.offsets().len(), 2);
    // Set anew without the table, the image's numbers are the world's.
    next.rebase(Epoch(30), vec![]);
    assert_eq!(segment(&next.pass(world(ACK, 101, 1001).port(1))).ack, 1001);

    let mut small = Bench::with(Limits { connections_max: 1, ..Limits::default() });
    let two = [carried[0], Carried { flow: flow_of(&syn().port(2)), ..carried[0] }];
    assert_eq!(small.rewriter.set_base(Time(0), Epoch(20), two), Err(Full::Connections));
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
