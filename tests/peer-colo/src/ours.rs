//! Our comparer and rewriter, given the same frames as QEMU's.

use crate::cases::{Outcome, Step};
use crate::frames;
use std::collections::BTreeMap;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::comparer::{self, Comparer, FrameId};
use understudy_colo::packet::{Content, Packet, Side};
use understudy_colo::rewriter::{self, Rewriter};
use understudy_colo::{Card, Frame, Handshake, Opening};

/// Frames come this far apart.
const STEP: Span = Span::from_ms(1);

/// Longer than any frame waits.
const PATIENCE: Span = Span::from_ms(10_000);

pub(crate) fn whole(bytes: &[u8]) -> Frame<'_> {
    Frame { card: Card(0), offload: Default::default(), bytes }
}

/// A comparer with a live copy, and the queue that holds the primary's frames.
struct Compare {
    comparer: Comparer,
    now: Time,
    base: Epoch,
    /// The ack of each frame that has not left.
    held: BTreeMap<FrameId, Option<u32>>,
    next_id: u64,
    outcome: Outcome,
}

/// What comes of a case.
pub(crate) fn outcome(steps: &[Step]) -> Outcome {
    let mut compare = Compare::new();
    for step in steps {
        compare.now = compare.now + STEP;
        compare.step(step);
        compare.act();
    }
    let outcome = compare.outcome;
    compare.now = compare.now + PATIENCE;
    compare.comparer.handle_timeout(compare.now);
    compare.act();
    // Whatever waits is asked for in the end: no output is held for ever.
    assert!(
        compare.held.is_empty() || compare.outcome.asked,
        "frames wait, and no checkpoint is asked for: {steps:?}"
    );
    outcome
}

impl Compare {
    fn new() -> Self {
        let mut comparer = Comparer::new(comparer::Limits::default(), 7);
        comparer.live(Time(0), Epoch(0));
        Self {
            comparer,
            now: Time(0),
            base: Epoch(0),
            held: BTreeMap::new(),
            next_id: 0,
            outcome: Outcome::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Primary(frame) => {
                let id = FrameId(self.next_id);
                self.next_id += 1;
                self.held.insert(id, frames::numbers(frame).map(|(_, ack)| ack));
                self.comparer.primary(self.now, id, whole(frame), self.base.next());
            }
            Step::Copy(frame) => self.comparer.copy(self.now, whole(frame), self.base),
            Step::StaleCopy(frame) => {
                let former = Epoch(self.base.0.checked_sub(1).expect("a checkpoint was before"));
                self.comparer.copy(self.now, whole(frame), former);
            }
            Step::Checkpoint => {
                let cut = self.base.next();
                self.comparer.cut(cut);
                self.comparer.released(cut);
                let held: Vec<FrameId> = self.held.keys().copied().collect();
                held.into_iter().for_each(|id| self.left(id, None));
                self.base = cut;
                self.comparer.live(self.now, cut);
            }
        }
    }

    fn act(&mut self) {
        while let Some(output) = self.comparer.poll_output() {
            match output {
                comparer::Output::Release(id) => self.left(id, None),
                comparer::Output::ReleaseAs(id, patch) => self.left(id, patch.ack),
                comparer::Output::Handshake(_)
                | comparer::Output::Acknowledge(_)
                | comparer::Output::ReleasePart(..)
                | comparer::Output::Outdated(_) => {}
                comparer::Output::Diverged(_) => self.outcome.asked = true,
            }
        }
    }

    fn left(&mut self, id: FrameId, ack: Option<u32>) {
        let own = self.held.remove(&id).expect("a frame leaves once");
        self.outcome.left += 1;
        self.outcome.ack = ack.or(own);
    }
}

/// A rewriter of a copy.
pub(crate) struct Rewrite {
    rewriter: Rewriter,
    now: Time,
    base: Epoch,
}

impl Rewrite {
    pub(crate) fn new() -> Self {
        Self { rewriter: Rewriter::new(Epoch(0), rewriter::Limits::default()), now: Time(0), base: Epoch(0) }
    }

    /// The primary's guest sent a SYN or SYN-ACK, and its comparer tells.
    pub(crate) fn told(&mut self, frame: &[u8]) -> Vec<(Side, Vec<u8>)> {
        let packet = Packet::parse(whole(frame), Side::Guest);
        let Content::Tcp(segment) = packet.content else { return Vec::new() };
        let opening = Opening::of(&segment).expect("the primary's frame opens a connection");
        let handshake = Handshake { epoch: self.base.next(), flow: packet.flow, opening };
        self.rewriter.handshake(self.now, &handshake).expect("there is room");
        self.come_out()
    }

    pub(crate) fn checkpoint(&mut self) {
        self.base = self.base.next();
        self.rewriter.set_base(self.now, self.base, []).expect("there is room");
    }

    /// What comes out, and to whom, after a frame of `side`.
    pub(crate) fn frame(&mut self, side: Side, frame: &[u8]) -> Vec<(Side, Vec<u8>)> {
        self.now = self.now + STEP;
        let mut frame = frame.to_vec();
        let verdict = match side {
            Side::World => self.rewriter.input(self.now, Card(0), Default::default(), &mut frame),
            Side::Guest => self.rewriter.output(self.now, Card(0), Default::default(), &mut frame),
        };
        let mut out = Vec::new();
        if verdict == rewriter::Verdict::Pass {
            out.push((side, frame));
        }
        out.extend(self.come_out());
        out
    }

    fn come_out(&mut self) -> Vec<(Side, Vec<u8>)> {
        let outputs = std::iter::from_fn(|| self.rewriter.poll_output());
        let delivered = outputs.filter_map(|output| match output {
            rewriter::Output::Deliver(waited) => Some((waited.side, waited.bytes)),
            rewriter::Output::Unanswered(_) => None,
        });
        delivered.collect()
    }
}
