//! The copy's side: what a copy counts from its own beginning becomes what the world knows from the primary, both ways.
//!
//! Two guests of one state choose other sequence numbers and have other clocks. Per connection, both differ by a constant,
//! which is known as soon as both guests' SYNs are: the copy's passes here, the primary's is told ([`Handshake`]).
//!
//! ```text
//!   world ─► input ──┬──────────── ack, SACK, TSecr + shift ───────────► copy
//!                    └─ waits, until the shift is known ─┐               │
//!                       Handshake ─► shift ──────────────┤               │
//!                    ┌─ waits, until the shift is known ─┘               │
//!   comparer ◄───────┴──────────── sequence, TSval − shift ◄─ output ◄───┘
//! ```
//!
//! A copy that is set to an image has the numbers of the image: those of the primary's guest. They are the world's as well,
//! unless the primary's host was a copy's host before and rewrites them itself: then it hands over its table
//! ([`Rewriter::offsets`], [`Rewriter::set_base`]). After a takeover the rewriter stays for the connections that it knows: the
//! clocks of all of them are shifted.
//!
//! # What a driver does
//!
//! * [`input`](Rewriter::input) and [`output`](Rewriter::output) change a frame in place and say what becomes of it. At most
//!   one of them runs at a time, and
//! * [`poll_output`](Rewriter::poll_output) is asked after every call until it is `None`, before the next: it lets go what
//!   waited. What it gives comes after the frame that the call itself passed.
//! * [`next_timeout`](Rewriter::next_timeout) says when [`handle_timeout`](Rewriter::handle_timeout) is due.
//! * [`halt`](Rewriter::halt) stands before the ack of the epoch that the copy is set to: output that still waits would count
//!   as an ack of a copy that is no more.
//! * What is refused, full or unanswered asks for a checkpoint. The copy then lacks a frame, or will.
//!
//! Not rewritten: segments that are signed (TCP-MD5, TCP-AO), and fragments.
//!
//! Not here: what a match is (the comparer), input that a copy gets again after it was set (the mirror).

pub mod carried;
mod connection;
mod ending;
mod quote;
mod repeats;
mod shift;
mod table;
mod waiting;

pub use shift::Shift;
pub use table::Carried;
pub use waiting::Waited;

use crate::checksum::Header;
use crate::handshake::{Handshake, Opening};
use crate::packet::{
    Card, Content, Flags, Flow, Frame, ICMP, ICMPV6, Offload, Options, Packet, Protocol, Quote, Segment, Side,
};
use connection::{Half, Stage, Step, Told, Turn};
use std::collections::VecDeque;
use table::Table;
use thiserror::Error;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use waiting::Waiting;

/// How much a rewriter keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections.
    pub connections_max: usize,
    /// Frames that wait for a shift, or were let go and are not fetched.
    pub frames_max: usize,
    /// The bytes of these frames.
    pub bytes_max: usize,
    /// How long a frame waits before a checkpoint is asked for.
    pub wait_max: Span,
    /// How long a connection that is over is remembered after its last frame (TIME_WAIT).
    pub linger: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 65_536,
            frames_max: 1024,
            bytes_max: 4 << 20,
            wait_max: Span::from_ms(50),
            linger: Span::from_ms(60_000),
        }
    }
}

/// What has no room. A frame that is refused is lost for the copy: a checkpoint sets it anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Full {
    /// All connections are in use.
    #[error(
        "the copy's table of connections is full; a checkpoint is asked for, and more connections at once need a higher limit"
    )]
    Connections,
    /// Too many frames wait for the numbers of their connections.
    #[error("too many frames wait for the sequence numbers of their connections; a checkpoint is asked for")]
    Waiting,
}

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// It goes on, changed or not.
    Pass,
    /// It was copied, and comes out later.
    Waits,
    /// It goes nowhere. Asks for a checkpoint.
    Refused(Full),
}

/// What a driver is to do.
#[derive(Debug)]
pub enum Output {
    /// This frame goes on.
    Deliver(Waited),
    /// A frame of this connection waited too long. Asks for a checkpoint; asked once for each base.
    Unanswered(Flow),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Its guest is a copy that was set to the image of this epoch.
    Copy(Epoch),
    /// Its guest is the only one.
    Owner,
}

/// One guest's.
#[derive(Debug)]
pub struct Rewriter {
    role: Role,
    wait_max: Span,
    table: Table,
    waiting: Waiting,
    ready: VecDeque<Output>,
    /// A checkpoint was asked for since the copy was set.
    is_overdue: bool,
}

impl Rewriter {
    /// For a copy that was set to the image of `base`, whose primary rewrites nothing itself.
    pub fn new(base: Epoch, limits: Limits) -> Self {
        Self {
            role: Role::Copy(base),
            wait_max: limits.wait_max,
            table: Table::new(limits.connections_max, limits.linger),
            waiting: Waiting::new(limits.frames_max, limits.bytes_max),
            ready: VecDeque::new(),
            is_overdue: false,
        }
    }

    /// The copy is halted: what waits is forgotten, since nothing of this copy may be forwarded any more. Handshakes are
    /// still told; input is logged and given to the copy once it is set.
    pub fn halt(&mut self) {
        self.waiting.clear();
        self.ready.clear();
        self.table.nothing_waits(None);
    }

    /// The copy is set to the image of `base`: frames that wait are forgotten, and input since the cut of `base` is given
    /// again. `carried` is what the primary itself rewrote at that cut.
    pub fn set_base(
        &mut self,
        now: Time,
        base: Epoch,
        carried: impl IntoIterator<Item = Carried>,
    ) -> Result<(), Full> {
        self.halt();
        self.role = Role::Copy(base);
        self.is_overdue = false;
        self.table.rebase(now, base, carried)
    }

    /// The copy is the guest from now on. Nobody was told of connections whose numbers are not known, so that they are as
    /// the copy has them; what waited comes out. The clock of a known connection leaps ahead of all that the world may have seen
    /// of the primary's. What the copy sent before and nobody has seen needs [`bring_forward`](Self::bring_forward).
    pub fn takeover(&mut self, now: Time) {
        self.role = Role::Owner;
        self.table.take_over();
        self.release(now, None);
    }

    /// A frame that the copy sent, which was rewritten before the takeover and leaves after it: its clock becomes one that is
    /// not older than what the world has seen, and not newer than what the guest tells next.
    pub fn bring_forward(&mut self, card: Card, offload: Offload, frame: &mut [u8]) {
        let packet = Packet::parse(Frame { card, offload, bytes: frame }, Side::Guest);
        let Content::Tcp(segment) = packet.content else { return };
        let place = segment.header();
        let connection = self.table.get(&packet.flow).filter(|_| !segment.options.is_signed());
        let Some(connection) = connection else { return };
        let mut header = Header::new(&mut frame[place], offload);
        let mut from = 0;
        while let Some((kind, value)) = header.next_option(from) {
            from = value.end;
            if kind == Options::TIMESTAMPS && value.len() == 8 {
                header.map_u32(value.start, |stamp| connection.stamps.bring_forward(stamp));
            }
        }
        header.finish();
    }

    /// What is rewritten, in the order of flows: for a copy that is made of this guest.
    pub fn offsets(&self) -> Vec<Carried> {
        self.table.carried()
    }

    /// The primary's guest opened a connection.
    pub fn handshake(&mut self, now: Time, handshake: &Handshake) -> Result<(), Full> {
        let Role::Copy(base) = self.role else { return Ok(()) };
        let told = Told { epoch: handshake.epoch, opening: handshake.opening };
        let opening = Stage::Opening(Half::default());
        let connection = self.table.get_or_insert(now, handshake.flow, opening)?;
        if connection.told(told, base) {
            self.release(now, Some(handshake.flow));
        }
        Ok(())
    }

    /// A frame of the world, for the copy.
    pub fn input(&mut self, now: Time, card: Card, offload: Offload, frame: &mut [u8]) -> Verdict {
        self.handle(now, Side::World, card, offload, frame)
    }

    /// A frame of the copy.
    pub fn output(&mut self, now: Time, card: Card, offload: Offload, frame: &mut [u8]) -> Verdict {
        self.handle(now, Side::Guest, card, offload, frame)
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.ready.pop_front()?;
        if let Output::Deliver(frame) = &output {
            self.waiting.fetched(frame);
        }
        Some(output)
    }

    /// Takes back the buffer of a [`Waited`].
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.waiting.recycle(buffer);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Time> {
        let overdue =
            self.waiting.oldest().filter(|_| !self.is_overdue).map(|(since, _)| since + self.wait_max);
        overdue.into_iter().chain(self.table.next_timeout()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.table.forget(now);
        if let Some((since, flow)) = self.waiting.oldest()
            && !self.is_overdue
            && since + self.wait_max <= now
        {
            self.is_overdue = true;
            self.ready.push_back(Output::Unanswered(flow));
        }
    }

    /// How many connections are remembered, and how many frames wait.
    pub fn load(&self) -> (usize, usize) {
        (self.table.len(), self.waiting.count())
    }

    fn handle(&mut self, now: Time, side: Side, card: Card, offload: Offload, frame: &mut [u8]) -> Verdict {
        let (verdict, flow, turn) = self.step(now, side, card, offload, frame);
        let verdict = match (verdict, flow) {
            (Verdict::Waits, Some(flow)) => match self.waiting.push(flow, now, side, offload, frame) {
                Ok(()) => {
                    self.table.wait(&flow, side);
                    Verdict::Waits
                }
                Err(full) => Verdict::Refused(full),
            },
            (verdict, _) => verdict,
        };
        if turn != Turn::None {
            self.release(now, flow);
        }
        verdict
    }

    /// Changes a frame, and says what becomes of it.
    fn step(
        &mut self,
        now: Time,
        side: Side,
        card: Card,
        offload: Offload,
        frame: &mut [u8],
    ) -> (Verdict, Option<Flow>, Turn) {
        let packet = Packet::parse(Frame { card, offload, bytes: frame }, side);
        let Content::Tcp(segment) = packet.content else {
            if matches!(packet.flow.protocol, Protocol::Ip(ICMP | ICMPV6)) {
                self.rewrite_quote(side, card, offload, frame);
            }
            return (Verdict::Pass, None, Turn::None);
        };
        let (flow, flags, place) = (packet.flow, segment.flags, segment.header());
        if segment.options.is_signed() {
            return (Verdict::Pass, Some(flow), Turn::None);
        }
        let (step, turn) = match self.judge(now, side, flow, &segment) {
            Ok(judged) => judged,
            Err(full) => return (Verdict::Refused(full), Some(flow), Turn::None),
        };
        let mut header = Header::new(&mut frame[place], offload);
        if flags.has(Flags::SYN) && self.role != Role::Owner {
            header.blank_options(Options::MULTIPATH);
        }
        if let (Step::Rewrite(shift), Some(connection)) = (step, self.table.get(&flow)) {
            match side {
                Side::World => shift.into_copy(&mut header, flags, &mut connection.stamps),
                Side::Guest => shift.out_of_copy(&mut header, flags, &mut connection.stamps),
            }
        }
        header.finish();
        let verdict = if step == Step::Wait { Verdict::Waits } else { Verdict::Pass };
        (verdict, Some(flow), turn)
    }

    fn rewrite_quote(&mut self, side: Side, card: Card, offload: Offload, frame: &mut [u8]) {
        let Some(quote) = Quote::find(Frame { card, offload, bytes: frame }, side) else { return };
        if let Some(numbers) = self.table.get(&quote.flow).and_then(|connection| connection.numbers()) {
            quote::rewrite(frame, &quote, side, numbers.shift);
        }
    }

    fn judge(
        &mut self,
        now: Time,
        side: Side,
        flow: Flow,
        segment: &Segment<'_>,
    ) -> Result<(Step, Turn), Full> {
        let opens = Opening::of(segment);
        let connection = match (self.role, opens) {
            (Role::Owner, Some(opening)) if side == Side::Guest => {
                self.table.forget_former(&flow, opening.sequence);
                self.table.get(&flow)
            }
            // A SYN-ACK of the world answers a SYN of the guest, which was there before.
            (Role::Copy(_), Some(opening)) if side == Side::Guest || opening.answers.is_none() => {
                Some(self.table.get_or_insert(now, flow, Stage::Opening(Half::default()))?)
            }
            (Role::Copy(_), None) if side == Side::Guest && segment.options.timestamps().is_some() => {
                self.table.get_or_insert_plain(now, flow)
            }
            _ => self.table.get(&flow),
        };
        let Some(connection) = connection else { return Ok((Step::Pass, Turn::None)) };
        connection.seen = now;
        let was_over = connection.ending.is_over();
        let judged = match (side, self.role) {
            (Side::World, Role::Copy(_)) => (connection.input(segment), Turn::None),
            (Side::World, Role::Owner) => (connection.owned_input(segment), Turn::None),
            (Side::Guest, _) => connection.output(segment),
        };
        if connection.ending.is_over() && !was_over {
            self.table.over(now, flow);
        }
        if judged.1 == Turn::Plain {
            self.table.remove(&flow);
        }
        Ok(judged)
    }

    /// Lets go what waited for the numbers of `flow`, or of all flows, as far as they are known.
    fn release(&mut self, now: Time, flow: Option<Flow>) {
        if flow
            .is_some_and(|flow| self.table.get(&flow).is_some_and(|connection| connection.waiting == [0; 2]))
        {
            return;
        }
        self.table.nothing_waits(flow.as_ref());
        for _ in 0..self.waiting.count() {
            let Some(mut held) = self.waiting.take() else { break };
            if flow.is_some_and(|flow| flow != held.flow) {
                self.waiting.put_back(held);
                continue;
            }
            let frame = &mut held.frame;
            match self.step(now, frame.side, frame.card, frame.offload, &mut frame.bytes).0 {
                Verdict::Waits => {
                    self.table.wait(&held.flow, held.frame.side);
                    self.waiting.put_back(held);
                }
                // What has no room in the table has no other numbers in it either.
                Verdict::Pass | Verdict::Refused(_) => self.ready.push_back(Output::Deliver(held.frame)),
            }
        }
    }
}
