//! Both guests' frames, and what may leave: the comparer and the rewriter, with the bytes that they speak of.
//!
//! ```text
//!   input ─────────────────────► rewriter ─► copy
//!   primary ─► held ─► comparer ─ handshakes ─► late as the mirror is ─► rewriter
//!                 └─ released ─► world    ▲
//!   copy ─► rewriter ─► unreleased ───────┘      and at a takeover: unreleased, brought forward ─► world
//! ```
//!
//! There are no checkpoints: base 0 stays, every frame is of epoch 1. A flow that is not the same any more is told, and the
//! primary's frames of it leave at once, as they would by the ack of a checkpoint.

use crate::knobs::Mutant;
use crate::mutant;
use crate::wire::{Bytes, view, with_header};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::comparer::{self, Comparer, CopyNumber, FrameId};
use understudy_colo::packet::{Flow, Offload, Packet, Side};
use understudy_colo::rewriter::{self, Rewriter, Verdict};
use understudy_colo::unreleased::{self, Unreleased};
use understudy_colo::{Handshake, Part, Patch};
use understudy_netbuf::kernel::Tap;

const BASE: Epoch = Epoch(0);
const EPOCH: Epoch = Epoch(1);
/// Longer than a client's patience: no checkpoint would help whom this test makes wait.
const PATIENCE: Span = Span::from_ms(20_000);
/// Nothing is forgotten from a flow on that differs, and no checkpoint ends that.
const KEPT: unreleased::Limits = unreleased::Limits { frames_max: 1 << 20, bytes_max: 256 << 20 };

/// What is to be done.
#[derive(Default)]
pub(crate) struct Out {
    /// Input for the copy.
    pub(crate) to_copy: Vec<Bytes>,
    /// What leaves, and how long it was held.
    pub(crate) to_world: Vec<(Bytes, Duration)>,
    /// Why a checkpoint would have been needed.
    pub(crate) diverged: Vec<String>,
}

/// A frame of the primary.
struct Held {
    since: Instant,
    flow: Flow,
    bytes: Bytes,
}

/// See the head of this file.
pub(crate) struct Pair {
    began: Instant,
    comparer: Comparer,
    rewriter: Rewriter,
    held: BTreeMap<u64, Held>,
    /// Flows that are not the same any more.
    lost: HashSet<Flow>,
    next_id: u64,
    handshakes: VecDeque<(Instant, Handshake)>,
    handshake_delay: Duration,
    unreleased: Unreleased,
    has_taken_over: bool,
    mutant: Option<Mutant>,
}

impl Pair {
    pub(crate) fn new(now: Instant, seed: u64, handshake_delay: Duration, mutant: Option<Mutant>) -> Self {
        let limits = comparer::Limits {
            match_min: PATIENCE,
            match_max: PATIENCE,
            ack_max: PATIENCE,
            silence_max: PATIENCE,
            ..comparer::Limits::default()
        };
        let mut comparer = Comparer::new(limits, seed);
        comparer.live(Time(0), BASE);
        let limits = rewriter::Limits { wait_max: PATIENCE, ..rewriter::Limits::default() };
        Self {
            began: now,
            comparer,
            rewriter: Rewriter::new(BASE, limits),
            held: BTreeMap::new(),
            lost: HashSet::new(),
            next_id: 0,
            handshakes: VecDeque::new(),
            handshake_delay,
            unreleased: Unreleased::new(KEPT),
            has_taken_over: false,
            mutant,
        }
    }

    fn time(&self, now: Instant) -> Time {
        Time(now.saturating_duration_since(self.began).as_nanos() as u64)
    }

    /// A frame of the world has reached the copy's host.
    pub(crate) fn input(&mut self, now: Instant, mut frame: Bytes) -> Out {
        let mut out = Out::default();
        let original = self.mutant.map(|_| frame.clone());
        let verdict = self.rewrite(now, Side::World, &mut frame);
        match (verdict, original, self.mutant) {
            (Verdict::Pass, Some(original), Some(Mutant::TsecrKept)) => {
                mutant::restore_timestamps(&mut frame, &original, Side::World);
                out.to_copy.push(frame);
            }
            (Verdict::Pass, ..) => out.to_copy.push(frame),
            (Verdict::Waits, Some(original), Some(Mutant::HandshakeNotAwaited)) => out.to_copy.push(original),
            (Verdict::Waits, ..) => {}
            (Verdict::Refused(full), ..) => out.diverged.push(full.to_string()),
        }
        self.settle(now, &mut out);
        out
    }

    /// The primary's guest has sent a frame.
    pub(crate) fn primary(&mut self, now: Instant, frame: Bytes) -> Out {
        let mut out = Out::default();
        let flow = Packet::parse(view(&frame), Side::Guest).flow;
        if self.lost.contains(&flow) {
            out.to_world.push((frame, Duration::ZERO));
            return out;
        }
        self.next_id += 1;
        self.comparer.primary(self.time(now), FrameId(self.next_id), view(&frame), EPOCH);
        self.held.insert(self.next_id, Held { since: now, flow, bytes: frame });
        self.settle(now, &mut out);
        out
    }

    /// The copy has sent a frame.
    pub(crate) fn copy(&mut self, now: Instant, mut frame: Bytes) -> Out {
        let mut out = Out::default();
        let original = self.mutant.map(|_| frame.clone());
        match self.rewrite(now, Side::Guest, &mut frame) {
            Verdict::Pass => {
                if let (Some(original), Some(Mutant::TsecrKept)) = (&original, self.mutant) {
                    mutant::restore_timestamps(&mut frame, original, Side::Guest);
                }
                self.sent_by_copy(now, frame, &mut out);
            }
            Verdict::Waits => {
                if let (Some(original), Some(Mutant::HandshakeNotAwaited)) = (original, self.mutant) {
                    self.sent_by_copy(now, original, &mut out);
                }
            }
            Verdict::Refused(full) => out.diverged.push(full.to_string()),
        }
        self.settle(now, &mut out);
        out
    }

    fn rewrite(&mut self, now: Instant, side: Side, frame: &mut Bytes) -> Verdict {
        let (time, before) = (self.time(now), view(frame));
        let (card, offload) = (before.card, before.offload);
        let ethernet = &mut frame[Tap::HEADER_BYTES..];
        match side {
            Side::World => self.rewriter.input(time, card, offload, ethernet),
            Side::Guest => self.rewriter.output(time, card, offload, ethernet),
        }
    }

    fn sent_by_copy(&mut self, now: Instant, frame: Bytes, out: &mut Out) {
        if self.has_taken_over {
            out.to_world.push((frame, Duration::ZERO));
            return;
        }
        let number = CopyNumber(self.unreleased.next());
        if let Err(full) = self.unreleased.push(view(&frame)) {
            return out.diverged.push(full.to_string());
        }
        let mut seen = frame;
        if self.mutant == Some(Mutant::AckRuleOff) {
            mutant::acknowledge_all(&mut seen);
        }
        self.comparer.copy_numbered(self.time(now), number, view(&seen), BASE);
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let due = [self.comparer.next_timeout(), self.rewriter.next_timeout()].into_iter().flatten();
        let due = due.map(|at| self.began + Duration::from_nanos(at.0));
        due.chain(self.handshakes.front().map(|(at, _)| *at)).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Out {
        let (mut out, time) = (Out::default(), self.time(now));
        while self.handshakes.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, handshake)) = self.handshakes.pop_front() else { break };
            if let Err(full) = self.rewriter.handshake(time, &handshake) {
                out.diverged.push(full.to_string());
            }
        }
        if self.comparer.next_timeout().is_some_and(|at| at <= time) {
            self.comparer.handle_timeout(time);
        }
        if self.rewriter.next_timeout().is_some_and(|at| at <= time) {
            self.rewriter.handle_timeout(time);
        }
        self.settle(now, &mut out);
        out
    }

    /// The primary has ended. How many of its frames never left, and what the copy sent and nobody saw.
    pub(crate) fn take_over(&mut self, now: Instant) -> (u64, Out) {
        let mut out = Out::default();
        let held = self.held.len() as u64;
        self.held.clear();
        self.handshakes.clear();
        self.comparer.stop();
        self.has_taken_over = true;
        self.rewriter.takeover(self.time(now));
        for mut kept in self.unreleased.take() {
            if self.mutant != Some(Mutant::NotBroughtForward) {
                self.rewriter.bring_forward(kept.card, kept.offload, &mut kept.bytes);
            }
            let frame = with_header(Side::Guest, kept.offload, &kept.bytes);
            // Of a flow that differs, the world has heard the primary.
            if !self.lost.contains(&Packet::parse(view(&frame), Side::Guest).flow) {
                out.to_world.push((frame, Duration::ZERO));
            }
        }
        self.settle(now, &mut out);
        (held, out)
    }

    /// Does what comparer and rewriter say, until both have no more to say.
    fn settle(&mut self, now: Instant, out: &mut Out) {
        loop {
            if let Some(output) = self.rewriter.poll_output() {
                self.rewritten(now, output, out);
            } else if let Some(output) = self.comparer.poll_output() {
                self.compared(now, output, out);
            } else {
                break;
            }
        }
        if let Some(CopyNumber(through)) = self.comparer.used_through() {
            self.unreleased.released(through);
        }
    }

    fn rewritten(&mut self, now: Instant, output: rewriter::Output, out: &mut Out) {
        let waited = match output {
            rewriter::Output::Deliver(waited) => waited,
            rewriter::Output::Unanswered(flow) => {
                out.diverged.push(format!("{flow}: its numbers are not known"));
                return;
            }
        };
        let frame = with_header(waited.side, waited.offload, &waited.bytes);
        match waited.side {
            // This one went on at once.
            _ if self.mutant == Some(Mutant::HandshakeNotAwaited) => {}
            Side::World => out.to_copy.push(frame),
            Side::Guest => self.sent_by_copy(now, frame, out),
        }
        self.rewriter.recycle(waited.bytes);
    }

    fn compared(&mut self, now: Instant, output: comparer::Output, out: &mut Out) {
        match output {
            comparer::Output::Release(id) => self.release(now, id, Patch::default(), out),
            comparer::Output::ReleaseAs(id, patch) => self.release(now, id, patch, out),
            comparer::Output::Handshake(handshake) => {
                self.handshakes.push_back((now + self.handshake_delay, handshake));
            }
            comparer::Output::Diverged(divergence) => {
                out.diverged.push(divergence.to_string());
                self.lose(now, divergence.flow, out);
            }
            comparer::Output::Acknowledge(what) => {
                let mut ethernet = Vec::new();
                if self.comparer.write_acknowledgement(&what, &mut ethernet) {
                    let frame = with_header(Side::Guest, Offload::default(), &ethernet);
                    out.to_world.push((frame, Duration::ZERO));
                }
            }
            comparer::Output::ReleasePart(FrameId(id), part) => self.release_part(now, id, part, out),
            // What must not leave any more.
            comparer::Output::Outdated(FrameId(id)) => drop(self.held.remove(&id)),
        }
    }

    fn release_part(&mut self, now: Instant, id: u64, part: Part, out: &mut Out) {
        let Some(held) = self.held.get(&id) else {
            out.diverged.push(format!("a part of frame {id}, which is not held"));
            return;
        };
        let mut ethernet = Vec::new();
        match part.cut(view(&held.bytes), &mut ethernet) {
            Ok(()) => {
                let frame = with_header(Side::Guest, Offload::default(), &ethernet);
                out.to_world.push((frame, now - held.since));
            }
            Err(error) => out.diverged.push(error.to_string()),
        }
    }

    fn release(&mut self, now: Instant, id: FrameId, patch: Patch, out: &mut Out) {
        let Some(mut held) = self.held.remove(&id.0) else {
            out.diverged.push(format!("frame {} was released twice", id.0));
            return;
        };
        if !patch.is_empty() {
            let offload = view(&held.bytes).offload;
            if let Err(error) = patch.apply(&mut held.bytes[Tap::HEADER_BYTES..], offload) {
                out.diverged.push(error.to_string());
            }
        }
        out.to_world.push((held.bytes, now - held.since));
    }

    fn lose(&mut self, now: Instant, flow: Flow, out: &mut Out) {
        self.lost.insert(flow);
        let of_flow: Vec<_> = self.held.extract_if(.., |_, held| held.flow == flow).collect();
        out.to_world.extend(of_flow.into_iter().map(|(_, held)| (held.bytes, now - held.since)));
    }
}
