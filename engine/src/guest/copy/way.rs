//! The way of frames between a copy and the world: through the rewriter, both ways.
//!
//! ```text
//!   input  ─► rewriter ─► card        full: they wait here, in order, up to a bound
//!   output ◄─ rewriter ◄─ card
//! ```
//!
//! What is lost here is lost as on a network: the guests' protocols send it again, and until then what the copy sends matches
//! nothing, which asks for a checkpoint. It is counted.
//!
//! Not here: what of the output is told or kept ([`traffic`](super::traffic)).

use super::card::{CopyCard, Delivery};
use super::input::CARD;
use std::collections::VecDeque;
use std::time::Instant;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;
use understudy_colo::packet::{Frame, Offload, Packet, Side};
use understudy_colo::rewriter::{self, Carried, Rewriter, Verdict};
use understudy_colo::unreleased::Kept;
use understudy_colo::{Handshake, Opening};

/// The most frames that wait for room in the copy's card, and their bytes.
const PENDING_MAX: usize = 1 << 14;
const PENDING_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Way {
    began: Instant,
    rewriter: Rewriter,
    pub(super) card: Option<Box<dyn CopyCard>>,
    /// The card took frames since the copy was last told of any.
    has_delivered: bool,
    pending: VecDeque<Vec<u8>>,
    pending_bytes: usize,
    scratch: Vec<u8>,
    /// Frames that were dropped for lack of room.
    pub(super) lost: u64,
    /// Connections whose sequence numbers the primary sent too late.
    pub(super) unanswered: u64,
}

impl Way {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            rewriter: Rewriter::new(Epoch(0), rewriter::Limits::default()),
            card: None,
            has_delivered: false,
            pending: VecDeque::new(),
            pending_bytes: 0,
            scratch: Vec::new(),
            lost: 0,
            unanswered: 0,
        }
    }

    fn now(&self) -> Time {
        Time(self.began.elapsed().as_nanos() as u64)
    }

    /// The copy was set to `base`, whose image has `carried` connections with numbers that differ from those that clients know.
    pub(super) fn set(&mut self, base: Epoch, carried: impl Iterator<Item = Carried>) {
        self.forget_pending();
        let now = self.now();
        if self.rewriter.set_base(now, base, carried).is_err() {
            self.lost += 1;
        }
    }

    /// The copy is halted.
    pub(super) fn halt(&mut self) {
        self.rewriter.halt();
        self.forget_pending();
    }

    fn forget_pending(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
    }

    /// The copy has become the guest. Its `sent` output that has not left the primary leaves first, then what waited here.
    pub(super) fn takeover(&mut self, sent: Vec<Kept>, out: &mut dyn FnMut(&[u8])) {
        let now = self.now();
        self.rewriter.takeover(now);
        for mut kept in sent {
            self.rewriter.bring_forward(kept.card, kept.offload, &mut kept.bytes);
            out(&kept.bytes);
        }
        self.settle(out);
    }

    /// The connections that are rewritten here.
    pub(super) fn carried(&self) -> Vec<Carried> {
        self.rewriter.offsets()
    }

    /// The guest has opened a connection in the epoch after `cut`.
    pub(super) fn handshake(&mut self, cut: Epoch, packet: &[u8], out: &mut dyn FnMut(&[u8])) {
        let parsed = Packet::parse(frame(packet), Side::Guest);
        let understudy_colo::packet::Content::Tcp(segment) = &parsed.content else { return };
        let Some(opening) = Opening::of(segment) else { return };
        let handshake = Handshake { epoch: cut.next(), flow: parsed.flow, opening };
        let now = self.now();
        if self.rewriter.handshake(now, &handshake).is_err() {
            self.lost += 1;
        }
        self.settle(out);
    }

    /// Delivers a frame to the copy; output that was waiting goes to `out`. Returns the frame's number in the order in
    /// which the copy takes frames, unless the frame waits or is lost.
    pub(super) fn input(&mut self, packet: &[u8], out: &mut dyn FnMut(&[u8])) -> Option<u64> {
        self.through(Side::World, packet, out)
    }

    /// Takes a frame of the copy; `out` receives the rewritten frame and what waited.
    pub(super) fn output(&mut self, packet: &[u8], out: &mut dyn FnMut(&[u8])) {
        self.through(Side::Guest, packet, out);
    }

    fn through(&mut self, side: Side, packet: &[u8], out: &mut dyn FnMut(&[u8])) -> Option<u64> {
        let now = self.now();
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        bytes.extend_from_slice(packet);
        let (whole, rewriter) = (Offload::default(), &mut self.rewriter);
        let verdict = match side {
            Side::World => rewriter.input(now, CARD, whole, &mut bytes),
            Side::Guest => rewriter.output(now, CARD, whole, &mut bytes),
        };
        let mut number = None;
        match (verdict, side) {
            (Verdict::Pass, Side::World) => number = self.deliver(&bytes),
            (Verdict::Pass, Side::Guest) => out(&bytes),
            (Verdict::Waits, _) => {}
            (Verdict::Refused(_), _) => self.lost += 1,
        }
        self.scratch = bytes;
        self.settle(out);
        number
    }

    /// Tries again to deliver what waits for room in the card.
    pub(super) fn tick(&mut self, out: &mut dyn FnMut(&[u8])) {
        let now = self.now();
        if self.rewriter.next_timeout().is_some_and(|at| at <= now) {
            self.rewriter.handle_timeout(now);
            self.settle(out);
        }
        while let Some(card) = &self.card
            && self.pending.front().is_some_and(|frame| card.deliver(frame) != Delivery::NoRoom)
        {
            self.has_delivered = true;
            let delivered = self.pending.pop_front().map_or(0, |frame| frame.len());
            self.pending_bytes -= delivered;
        }
    }

    /// Performs the rewriter's actions until there are none left.
    fn settle(&mut self, out: &mut dyn FnMut(&[u8])) {
        while let Some(output) = self.rewriter.poll_output() {
            match output {
                rewriter::Output::Deliver(waited) => {
                    match waited.side {
                        Side::World => _ = self.deliver(&waited.bytes),
                        Side::Guest => out(&waited.bytes),
                    }
                    self.rewriter.recycle(waited.bytes);
                }
                rewriter::Output::Unanswered(_) => self.unanswered += 1,
            }
        }
    }

    /// Tells the copy of what was delivered, at the end of a batch.
    pub(super) fn notify(&mut self) {
        if std::mem::take(&mut self.has_delivered) {
            self.card.iter().for_each(|card| card.notify());
        }
    }

    fn deliver(&mut self, frame: &[u8]) -> Option<u64> {
        let card = self.card.as_ref()?;
        if !card.takes(frame) {
            // With a number it would be given again to the frame behind it, which the copy's host takes for a breach.
            return None;
        }
        if self.pending.is_empty() {
            match card.deliver(frame) {
                Delivery::Taken(number) => {
                    self.has_delivered = true;
                    return Some(number);
                }
                Delivery::Lost => return None,
                Delivery::NoRoom => {}
            }
        }
        if self.pending.len() >= PENDING_MAX || self.pending_bytes + frame.len() > PENDING_BYTES_MAX {
            self.lost += 1;
            return None;
        }
        let number = card.next_number() + self.pending.len() as u64;
        self.pending_bytes += frame.len();
        self.pending.push_back(frame.to_vec());
        Some(number)
    }
}

/// A frame as a lab guest's card sends it: no offloads are pending.
pub(super) fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame { card: CARD, offload: Offload::default(), bytes }
}
