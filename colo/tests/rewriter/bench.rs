//! A rewriter with who speaks through it. The primary's guest counts from 1,000 and its clock stands at 5,000; its copy counts from
//! 9,000 with a clock at 5,300; the client counts from 100, with a clock at 70.

use crate::support::*;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::packet::Side;
use understudy_colo::rewriter::{Carried, Limits, Output, Rewriter, Verdict};
use understudy_colo::{Flow, Handshake, Opening};

pub(crate) const PRIMARY: u32 = 1000;
pub(crate) const COPY: u32 = 9000;
pub(crate) const CLIENT: u32 = 100;
pub(crate) const P_CLOCK: u32 = 5000;
pub(crate) const C_CLOCK: u32 = 5300;
pub(crate) const BASE: Epoch = Epoch(7);

pub(crate) struct Bench {
    pub(crate) rewriter: Rewriter,
    pub(crate) base: Epoch,
    pub(crate) now: Time,
    /// What came out later: to the copy, and from it.
    pub(crate) later: Vec<(Side, Vec<u8>)>,
    pub(crate) unanswered: usize,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        Self {
            rewriter: Rewriter::new(BASE, limits),
            base: BASE,
            now: Time(0),
            later: Vec::new(),
            unanswered: 0,
        }
    }

    pub(crate) fn poll(&mut self) {
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

    pub(crate) fn offer(&mut self, tcp: &Tcp) -> (Verdict, Vec<u8>) {
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
    pub(crate) fn pass(&mut self, tcp: Tcp) -> Vec<u8> {
        let (verdict, frame) = self.offer(&tcp);
        assert_eq!(verdict, Verdict::Pass, "{tcp:?}");
        frame
    }

    /// Offers a segment that must wait.
    pub(crate) fn wait(&mut self, tcp: Tcp) {
        assert_eq!(self.offer(&tcp).0, Verdict::Waits, "{tcp:?}");
    }

    pub(crate) fn tell(&mut self, epoch: Epoch, primary: &Tcp) {
        let frame = primary.frame();
        let (flow, segment) = parsed(&frame, Side::Guest);
        let opening = Opening::of(&segment).unwrap();
        self.rewriter.handshake(self.now, &Handshake { epoch, flow, opening }).unwrap();
        self.poll();
    }

    pub(crate) fn later(&mut self) -> Vec<(Side, Vec<u8>)> {
        std::mem::take(&mut self.later)
    }

    /// A client's connection, open.
    pub(crate) fn open(&mut self, port: u16) {
        self.pass(syn().port(port));
        self.tell(Epoch(self.base.0 + 1), &primary_syn_ack().port(port));
        assert_eq!(segment(&self.pass(copy_syn_ack().port(port))).sequence, PRIMARY);
        let ack = self.pass(client_ack().port(port));
        assert_eq!(segment(&ack).ack, COPY + 1);
    }

    pub(crate) fn rebase(&mut self, base: Epoch, carried: Vec<Carried>) {
        self.base = base;
        self.rewriter.set_base(self.now, base, carried).unwrap();
        self.poll();
    }

    pub(crate) fn advance(&mut self, span: Span) {
        self.now = self.now + span;
        while self.rewriter.next_timeout().is_some_and(|due| due <= self.now) {
            self.rewriter.handle_timeout(self.now);
            self.poll();
        }
    }
}

pub(crate) fn syn() -> Tcp {
    world(SYN, CLIENT, 0).options(&stamps(70, 0))
}

pub(crate) fn primary_syn_ack() -> Tcp {
    guest(SYN | ACK, PRIMARY, CLIENT + 1).options(&stamps(P_CLOCK, 70))
}

pub(crate) fn copy_syn_ack() -> Tcp {
    guest(SYN | ACK, COPY, CLIENT + 1).options(&stamps(C_CLOCK, 70))
}

pub(crate) fn client_ack() -> Tcp {
    world(ACK, CLIENT + 1, PRIMARY + 1).options(&stamps(71, P_CLOCK))
}

pub(crate) fn echo(frame: &[u8]) -> u32 {
    segment(frame).options.timestamps().unwrap().0.echo
}

pub(crate) fn stamp(frame: &[u8]) -> u32 {
    segment(frame).options.timestamps().unwrap().0.value
}

pub(crate) fn flow_of(tcp: &Tcp) -> Flow {
    parsed(&tcp.frame(), tcp.side).0
}

pub(crate) fn close(bench: &mut Bench) {
    let fin = bench.pass(world(FIN | ACK, 101, 1001).port(1));
    assert_eq!(segment(&fin).ack, 9001);
    assert_eq!(segment(&bench.pass(guest(FIN | ACK, 9001, 102).port(1))).sequence, 1001);
    assert_eq!(segment(&bench.pass(world(ACK, 102, 1002).port(1))).ack, 9002);
}
