//! A primary's guest, its copy and their clients in virtual milliseconds, with the rewriter between, and a comparison that is
//! as simple as can be.
//!
//! ```text
//!   clients ─ loss-free, late, twice, out of order ─► primary ── link ─► mirror ─► rewriter ─► copy
//!      ▲                                                 │ held            ▲                    │
//!      └──── same, or its epoch acked ◄──────────────────┴─ Handshake ─────┘◄─── rewriter ◄─────┘
//! ```

pub(crate) mod guest;
pub(crate) mod socket;
pub(crate) mod world;

use crate::support::*;
use guest::Guest;
use std::collections::{BTreeMap, VecDeque};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::mirror::Mirror;
use understudy_colo::packet::{Frame, Side};
use understudy_colo::rewriter::{Carried, Limits, Output, Rewriter, Verdict};
use understudy_colo::{Handshake, Opening};
use world::World;

/// What a run is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) link_ms: u64,
    /// How much later than input a Handshake may come.
    pub(crate) told_ms: u64,
    pub(crate) jitter_ms: u64,
    pub(crate) checkpoint_ms: u64,
    pub(crate) takeovers: Vec<u64>,
    pub(crate) scripts: Vec<(u64, Vec<u8>)>,
}

/// What a run saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) matched: u32,
    pub(crate) acked: u32,
    pub(crate) waited: u32,
    pub(crate) carried: usize,
    pub(crate) takeovers: u32,
    pub(crate) checkpoints: u32,
}

enum Item {
    Input(Vec<u8>),
    Mark(Epoch),
}

struct Held {
    epoch: Epoch,
    frame: Vec<u8>,
}

/// What the copy of this base has sent on one port, in the world's numbers: the end of its stream, and its ack.
type Sent = BTreeMap<u16, (u32, Option<u32>)>;

enum Copy {
    Live(Guest),
    /// Halted, and set at that time to an image that was cut at another.
    Halted {
        at: u64,
        image: Guest,
        cut: u64,
        carried: Vec<Carried>,
    },
}

struct Checkpoint {
    epoch: Epoch,
    image: Guest,
    cut: u64,
    whole_at: u64,
    carried: Vec<Carried>,
}

pub(crate) struct Simulation {
    plan: Plan,
    now: u64,
    world: World,
    primary: Guest,
    /// The primary's host was a copy's host before.
    own: Option<Rewriter>,
    epoch: Epoch,
    held: VecDeque<Held>,
    link: VecDeque<(u64, Item)>,
    told: Vec<(u64, Handshake)>,
    checkpoint: Option<Checkpoint>,
    copy: Copy,
    base: Epoch,
    mirror: Mirror,
    rewriter: Rewriter,
    back: VecDeque<(u64, Vec<u8>)>,
    sent: Sent,
    faults: Vec<String>,
    pub(crate) seen: Seen,
}

fn later(base: u32, number: u32) -> bool {
    (number.wrapping_sub(base) as i32) >= 0
}

impl Simulation {
    pub(crate) fn new(plan: Plan) -> Self {
        let primary = Guest::new(plan.seed ^ 1, u32::MAX - 300);
        let base = Epoch(0);
        let mut mirror = Mirror::new(Default::default());
        mirror.mark(base).unwrap();
        Self {
            now: 0,
            world: World::new(&plan),
            copy: Copy::Live(primary.clone().start(0, 0, plan.seed ^ 2)),
            primary,
            own: None,
            epoch: Epoch(1),
            held: VecDeque::new(),
            link: VecDeque::new(),
            told: Vec::new(),
            checkpoint: None,
            base,
            mirror,
            rewriter: Rewriter::new(base, Limits::default()),
            back: VecDeque::new(),
            sent: Sent::new(),
            faults: Vec::new(),
            seen: Seen::default(),
            plan,
        }
    }

    /// Runs until every client has what it asked for. `Err`: what was wrong.
    pub(crate) fn run(mut self) -> Result<Seen, String> {
        while !self.world.is_done() || self.now < self.plan.takeovers.last().copied().unwrap_or(0) + 500 {
            self.now += 1;
            if self.now > 60_000 {
                return Err(format!("not done: {:#?}", self.world));
            }
            self.step();
            self.faults.extend(self.primary.faults().into_iter().chain(self.world.faults()));
            if let Some(fault) = self.faults.first() {
                return Err(format!("at {} ms: {fault}", self.now));
            }
        }
        self.world.judge().map(|()| self.seen)
    }

    fn time(&self) -> Time {
        Time(0) + Span::from_ms(self.now)
    }

    fn step(&mut self) {
        for frame in self.world.poll(self.now) {
            self.link.push_back((self.now + self.plan.link_ms, Item::Input(frame.clone())));
            let frame = through(&mut self.own, self.now, Side::World, frame);
            frame.into_iter().for_each(|frame| self.primary.receive(&frame));
        }
        for tcp in self.primary.poll(self.now) {
            let frames = through(&mut self.own, self.now, Side::Guest, tcp.frame());
            frames.into_iter().for_each(|frame| self.hold(frame));
        }
        self.secondary();
        self.compare();
        self.checkpoints();
        if self.plan.takeovers.first().is_some_and(|at| *at <= self.now) && matches!(self.copy, Copy::Live(_))
        {
            self.plan.takeovers.remove(0);
            self.take_over();
        }
    }

    fn hold(&mut self, frame: Vec<u8>) {
        let (flow, segment) = parsed(&frame, Side::Guest);
        if let Some(opening) = Opening::of(&segment) {
            let handshake = Handshake { epoch: self.epoch, flow, opening };
            for _ in 0..1 + self.world.draw(2) {
                let at = self.now + self.world.draw(self.plan.link_ms + self.plan.told_ms + 1);
                self.told.push((at, handshake));
            }
        }
        self.held.push_back(Held { epoch: self.epoch, frame });
    }

    fn secondary(&mut self) {
        let due: Vec<_> = self.told.extract_if(.., |(at, _)| *at <= self.now).collect();
        for (_, handshake) in due {
            self.rewriter.handshake(self.time(), &handshake).unwrap();
            self.poll_rewriter();
        }
        while let Some((_, item)) = self.link.pop_front_if(|(at, _)| *at <= self.now) {
            match item {
                Item::Mark(epoch) => self.mirror.mark(epoch).unwrap(),
                Item::Input(frame) => {
                    self.mirror.push(Frame { card: CARD, offload: WHOLE, bytes: &frame }).unwrap();
                    if matches!(self.copy, Copy::Live(_)) {
                        self.input(frame);
                    }
                }
            }
        }
        if let Copy::Live(copy) = &mut self.copy {
            for tcp in copy.poll(self.now) {
                let mut frame = tcp.frame();
                match self.rewriter.output(self.time(), CARD, WHOLE, &mut frame) {
                    Verdict::Pass => self.back.push_back((self.now + self.plan.link_ms, frame)),
                    Verdict::Waits => self.seen.waited += 1,
                    Verdict::Refused(full) => self.faults.push(full.to_string()),
                }
                self.poll_rewriter();
            }
        }
    }

    fn input(&mut self, mut frame: Vec<u8>) {
        let Copy::Live(copy) = &mut self.copy else { return };
        match self.rewriter.input(Time(0) + Span::from_ms(self.now), CARD, WHOLE, &mut frame) {
            Verdict::Pass => copy.receive(&frame),
            Verdict::Waits => self.seen.waited += 1,
            Verdict::Refused(full) => self.faults.push(full.to_string()),
        }
        self.poll_rewriter();
    }

    fn poll_rewriter(&mut self) {
        while let Some(output) = self.rewriter.poll_output() {
            let Output::Deliver(waited) = output else { continue };
            match (waited.side, &mut self.copy) {
                (Side::World, Copy::Live(copy)) => copy.receive(&waited.bytes),
                (Side::Guest, _) => self.back.push_back((self.now + self.plan.link_ms, waited.bytes)),
                _ => self.faults.push("a frame for a copy that is halted".into()),
            }
        }
        if let Copy::Live(copy) = &self.copy {
            self.faults.extend(copy.faults());
        }
    }

    fn compare(&mut self) {
        while let Some((_, frame)) = self.back.pop_front_if(|(at, _)| *at <= self.now) {
            let (flow, segment) = parsed(&frame, Side::Guest);
            let end = segment.sequence.wrapping_add(segment.sequence_span());
            let ack = segment.flags.has(ACK).then_some(segment.ack);
            let sent = self.sent.entry(flow.world_port).or_insert((end, ack));
            sent.0 = if later(sent.0, end) { end } else { sent.0 };
            sent.1 = sent.1.max_by(ack);
        }
        let sent = &self.sent;
        let is_same = |held: &Held| {
            let (flow, segment) = parsed(&held.frame, Side::Guest);
            let end = segment.sequence.wrapping_add(segment.sequence_span());
            let is_acked =
                |ack: Option<u32>| !segment.flags.has(ACK) || ack.is_some_and(|ack| later(segment.ack, ack));
            sent.get(&flow.world_port).is_some_and(|(there, ack)| later(end, *there) && is_acked(*ack))
        };
        for held in std::mem::take(&mut self.held) {
            if held.epoch.0 == self.base.0 + 1 && is_same(&held) {
                self.seen.matched += 1;
                self.world.deliver(self.now, held.frame);
            } else {
                self.held.push_back(held);
            }
        }
    }

    fn checkpoints(&mut self) {
        if self.now.is_multiple_of(self.plan.checkpoint_ms)
            && self.checkpoint.is_none()
            && matches!(self.copy, Copy::Live(_))
        {
            let (epoch, link_ms) = (self.epoch, self.plan.link_ms);
            let carried = self.own.as_ref().map_or_else(Vec::new, Rewriter::offsets);
            let whole_at = self.now + link_ms + 1 + self.world.draw(30);
            let image = self.primary.clone();
            self.checkpoint = Some(Checkpoint { epoch, image, cut: self.now, whole_at, carried });
            self.link.push_back((self.now + link_ms, Item::Mark(epoch)));
            self.epoch = Epoch(epoch.0 + 1);
        }
        if let Some(Checkpoint { epoch, image, cut, carried, .. }) =
            self.checkpoint.take_if(|checkpoint| checkpoint.whole_at <= self.now)
        {
            self.seen.checkpoints += 1;
            self.copy = Copy::Halted { at: self.now + self.world.draw(20), image, cut, carried };
            self.rewriter.halt();
            self.base = epoch;
            self.back.clear();
            self.sent.clear();
            while let Some(held) = self.held.pop_front_if(|held| held.epoch <= epoch) {
                self.seen.acked += 1;
                self.world.deliver(self.now, held.frame);
            }
        }
        if let Copy::Halted { at, image, cut, carried } = &self.copy
            && *at <= self.now
        {
            let seed = self.plan.seed ^ (self.base.0 << 8);
            let copy = image.clone().start(self.now, *cut, seed);
            self.rewriter.set_base(self.time(), self.base, carried.iter().copied()).unwrap();
            self.copy = Copy::Live(copy);
            let missed: Vec<_> =
                self.mirror.after(self.base).unwrap().map(|(_, frame)| frame.bytes.to_vec()).collect();
            missed.into_iter().for_each(|frame| self.input(frame));
            self.mirror.forget(self.base);
        }
    }

    /// The primary's host is gone; a new copy is made of the guest that is left.
    fn take_over(&mut self) {
        self.seen.takeovers += 1;
        self.held.clear();
        self.link.clear();
        self.told.clear();
        self.checkpoint = None;
        self.rewriter.takeover(self.time());
        self.poll_rewriter();
        // What it sent, and what is not known to have left: it goes out now, perhaps again.
        for (_, mut frame) in std::mem::take(&mut self.back) {
            self.rewriter.bring_forward(CARD, WHOLE, &mut frame);
            self.world.deliver(self.now, frame);
        }
        self.sent.clear();
        let Copy::Live(copy) = &self.copy else { return };
        self.primary = copy.clone();
        let carried = self.rewriter.offsets();
        self.seen.carried += carried.len();
        let seed = self.plan.seed ^ (self.base.0 << 8) ^ 3;
        self.base = self.epoch;
        self.epoch = Epoch(self.epoch.0 + 1);
        self.mirror.mark(self.base).unwrap();
        let mut next = Rewriter::new(self.base, Limits::default());
        next.set_base(self.time(), self.base, carried).unwrap();
        self.own = Some(std::mem::replace(&mut self.rewriter, next));
        self.copy = Copy::Live(self.primary.clone().start(self.now, self.now, seed));
    }
}

/// A frame through the rewriter of a host whose guest was a copy.
fn through(own: &mut Option<Rewriter>, now: u64, side: Side, mut frame: Vec<u8>) -> Vec<Vec<u8>> {
    let Some(rewriter) = own else { return vec![frame] };
    let now = Time(0) + Span::from_ms(now);
    let verdict = match side {
        Side::World => rewriter.input(now, CARD, WHOLE, &mut frame),
        Side::Guest => rewriter.output(now, CARD, WHOLE, &mut frame),
    };
    assert_eq!(verdict, Verdict::Pass, "nothing waits once there is no copy");
    assert!(rewriter.poll_output().is_none());
    vec![frame]
}

trait Later {
    fn max_by(self, other: Option<u32>) -> Option<u32>;
}

impl Later for Option<u32> {
    fn max_by(self, other: Option<u32>) -> Option<u32> {
        match (self, other) {
            (Some(a), Some(b)) => Some(if later(a, b) { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}
