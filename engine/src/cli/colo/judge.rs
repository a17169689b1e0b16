//! Both captures through the comparer and the rewriter that a live pair would have.
//!
//! ```text
//!   primary, from the guest ─────────────────────────────────► comparer ─► left, or waits
//!                                                               │     └──► Handshake ─┐
//!   secondary, from the guest ─► clients ─► rewriter ──────────►┘                      │
//!   secondary, to the guest ───► clients ─► rewriter ◄─────────────────────────────────┘
//! ```
//!
//! No checkpoint is made: a flow that diverged is not compared any more, and the others go on. So one pass tells of every
//! flow whether it can be compared at all.
//!
//! Not here: what is printed (`report`).

use super::alignment::Reason;
use super::both::Host;
use super::capture::{Captured, Nanoseconds};
use super::clients::Clients;
use super::evidence::Evidence;
use super::findings::Findings;
use super::flows::{Standing, kind, place_of};
use super::frames::{Fate, FrameReport};
use super::guest::{Guest, Sender};
use super::report::{DivergenceReport, Waits};
use hdrhistogram::Histogram;
use std::collections::{HashMap, VecDeque};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::comparer::{self, Comparer, FrameId, Why};
use understudy_colo::packet::{Content, Flags, Packet, Side};
use understudy_colo::rewriter::{self, Rewriter, Verdict};
use understudy_colo::{Card, Flow, Frame, Patch};

/// A live pair would take a checkpoint for a frame that waits longer than this.
const LATE: Nanoseconds = 50_000_000;

/// Divergences that are listed.
const LISTED_MAX: usize = 100;

/// The copy's base, and the epoch of everything that is captured.
const BASE: Epoch = Epoch(0);
const EPOCH: Epoch = Epoch(1);

/// Nothing is decided by time before the captures end.
const NEVER: Span = Span::from_ms(7 * 24 * 3_600_000);

/// A frame of the primary that has not left.
struct Waiting {
    frame: u64,
    at: Nanoseconds,
    bytes: u64,
    flow: Flow,
}

/// The comparison.
pub(super) struct Judge {
    guest: Guest,
    /// Whether times of the two captures can be compared.
    is_one_clock: bool,
    comparer: Comparer,
    rewriter: Rewriter,
    clients: Clients,
    evidence: Evidence,
    waiting: HashMap<FrameId, Waiting>,
    /// Frames of the secondary's guest that wait in the rewriter, by flow: their numbers and times.
    unnumbered: HashMap<Flow, VecDeque<(u64, Nanoseconds)>>,
    next_id: u64,
    began_at: Option<Nanoseconds>,
    now: Nanoseconds,
    found: Findings,
    waits: Histogram<u64>,
    frames: Option<VecDeque<FrameReport>>,
}

fn parse(frame: &[u8]) -> Packet<'_> {
    Packet::parse(whole(frame), Side::Guest)
}

fn whole(bytes: &[u8]) -> Frame<'_> {
    Frame { card: Card(0), offload: Default::default(), bytes }
}

impl Judge {
    /// `is_told`: each frame's fate is told, by [`poll_frame`](Self::poll_frame).
    pub(super) fn new(guest: Guest, clients: Clients, reason: Reason, is_told: bool) -> Self {
        let limits = comparer::Limits {
            match_min: NEVER,
            match_max: NEVER,
            ack_max: NEVER,
            silence_max: NEVER,
            ..comparer::Limits::default()
        };
        let mut comparer =
            Comparer::new(limits, std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
        comparer.live(Time(0), BASE);
        let limits = rewriter::Limits {
            frames_max: 65_536,
            bytes_max: 64 << 20,
            wait_max: NEVER,
            ..rewriter::Limits::default()
        };
        Self {
            guest,
            is_one_clock: reason != Reason::FirstFrames,
            comparer,
            rewriter: Rewriter::new(BASE, limits),
            clients,
            evidence: Evidence::default(),
            waiting: HashMap::new(),
            unnumbered: HashMap::new(),
            next_id: 0,
            began_at: None,
            now: 0,
            found: Findings::default(),
            waits: Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("three digits are a histogram's"),
            frames: is_told.then(VecDeque::new),
        }
    }

    /// The next frame of either capture.
    pub(super) fn frame(&mut self, host: Host, frame: Captured) {
        self.began_at.get_or_insert(frame.at);
        self.now = self.now.max(frame.at);
        let sender = self.guest.sender(&frame.bytes);
        self.found.saw(host, sender, frame.at);
        match (host, sender) {
            (_, Sender::Stranger) | (Host::Primary, Sender::World) => {}
            (_, Sender::Guest) if frame.missing_bytes > 0 => self.cut(host, frame),
            (Host::Primary, Sender::Guest) => self.primary(frame),
            (Host::Secondary, Sender::Guest) => self.secondary(frame),
            (Host::Secondary, Sender::World) => self.input(frame),
        }
    }

    /// The next frame of the primary of which it is known what became of it.
    pub(super) fn poll_frame(&mut self) -> Option<FrameReport> {
        self.frames.as_mut()?.pop_front()
    }

    fn time(&self) -> Time {
        let ns = self.now.saturating_sub(self.began_at.unwrap_or(self.now));
        Time(u64::try_from(ns).unwrap_or(0))
    }

    fn cut(&mut self, host: Host, mut frame: Captured) {
        self.found.seen[host as usize].cut_frames += 1;
        // A packet has 64 KiB; with its bytes in place its flow can be read.
        let missing = (frame.missing_bytes as usize).min(1 << 16);
        let bytes = frame.bytes.len() as u64 + missing as u64;
        frame.bytes.resize(frame.bytes.len() + missing, 0);
        if host == Host::Secondary {
            self.clients.replace(&mut frame.bytes, Side::Guest);
        }
        let flow = parse(&frame.bytes).flow;
        let Some(record) = self.found.flows.enter(&flow) else { return };
        if record.standing == Standing::Compared {
            record.standing = Standing::Cut;
        }
        if host == Host::Primary {
            record.fates.frames += 1;
            record.fates.bytes += bytes;
            record.fates.cut += 1;
            let waiting = Waiting { frame: frame.number, at: frame.at, bytes, flow };
            self.tell(&waiting, Fate::Cut);
        }
        self.let_go(&flow, Fate::Cut);
    }

    fn primary(&mut self, frame: Captured) {
        let packet = parse(&frame.bytes);
        let flow = packet.flow;
        let waiting = Waiting { frame: frame.number, at: frame.at, bytes: frame.bytes.len() as u64, flow };
        let Some(record) = self.found.flows.enter(&flow) else {
            self.diverged(flow, Why::Full(comparer::Full::Flows));
            return;
        };
        record.fates.frames += 1;
        record.fates.bytes += waiting.bytes;
        if let Content::Tcp(segment) = packet.content {
            let is_syn = segment.flags.has(Flags::SYN);
            let first = segment.sequence.wrapping_add(u32::from(is_syn));
            if is_syn || record.first_byte.is_none() {
                record.first_byte = Some(first);
            }
        }
        match record.standing {
            Standing::Diverged(_) => {
                record.fates.after_divergence += 1;
                self.tell(&waiting, Fate::AfterDivergence);
            }
            Standing::Cut => {
                record.fates.cut += 1;
                self.tell(&waiting, Fate::Cut);
            }
            Standing::Compared => {
                let id = FrameId(self.next_id);
                self.next_id += 1;
                record.waiting.insert(id);
                self.waiting.insert(id, waiting);
                self.comparer.primary(self.time(), id, whole(&frame.bytes), EPOCH);
                self.evidence.keep(Host::Primary, frame);
            }
        }
        self.settle();
    }

    fn secondary(&mut self, mut frame: Captured) {
        self.clients.replace(&mut frame.bytes, Side::Guest);
        let flow = parse(&frame.bytes).flow;
        let verdict = self.rewriter.output(self.time(), Card(0), Default::default(), &mut frame.bytes);
        match verdict {
            Verdict::Pass => self.copy(flow, frame),
            Verdict::Waits => {
                self.unnumbered.entry(flow).or_default().push_back((frame.number, frame.at));
            }
            Verdict::Refused(_) => self.diverged(flow, Why::Full(comparer::Full::Frames)),
        }
        self.settle();
    }

    fn input(&mut self, mut frame: Captured) {
        if frame.missing_bytes > 0 {
            return;
        }
        self.clients.replace(&mut frame.bytes, Side::World);
        // What becomes of it is for a copy that runs; here only the rewriter's state matters.
        let _ = self.rewriter.input(self.time(), Card(0), Default::default(), &mut frame.bytes);
        self.settle();
    }

    /// A frame of the copy, in the primary's numbers.
    fn copy(&mut self, flow: Flow, frame: Captured) {
        let Some(record) = self.found.flows.enter(&flow) else { return };
        record.secondary_at = record.secondary_at.max(frame.at);
        if record.standing == Standing::Compared {
            self.comparer.copy(self.time(), whole(&frame.bytes), BASE);
            self.evidence.keep(Host::Secondary, frame);
        }
    }

    /// Does what comparer and rewriter ask for, until both are content.
    fn settle(&mut self) {
        loop {
            if let Some(output) = self.comparer.poll_output() {
                self.act(output);
            } else if let Some(output) = self.rewriter.poll_output() {
                self.deliver(output);
            } else {
                break;
            }
        }
    }

    fn act(&mut self, output: comparer::Output) {
        match output {
            comparer::Output::Release(id) => self.left(id, Patch::default()),
            comparer::Output::ReleaseAs(id, patch) => self.left(id, patch),
            comparer::Output::Handshake(handshake) => {
                if self.rewriter.handshake(self.time(), &handshake).is_err() {
                    self.diverged(handshake.flow, Why::Full(comparer::Full::Flows));
                }
            }
            comparer::Output::Diverged(divergence) => self.diverged(divergence.flow, divergence.why),
            // A later frame that left says the same: nobody waits for this one.
            comparer::Output::Outdated(id) => self.left(id, Patch::default()),
            // No frames of the captures.
            comparer::Output::Acknowledge(_) | comparer::Output::ReleasePart(..) => {}
        }
    }

    fn deliver(&mut self, output: rewriter::Output) {
        let rewriter::Output::Deliver(waited) = output else { return };
        if waited.side == Side::World {
            return self.rewriter.recycle(waited.bytes);
        }
        let flow = parse(&waited.bytes).flow;
        let all = self.unnumbered.get_mut(&flow);
        let (number, at) = all.and_then(VecDeque::pop_front).unwrap_or((0, self.now));
        if self.unnumbered.get(&flow).is_some_and(VecDeque::is_empty) {
            self.unnumbered.remove(&flow);
        }
        self.copy(flow, Captured { number, at, bytes: waited.bytes, missing_bytes: 0 });
    }

    fn left(&mut self, id: FrameId, patch: Patch) {
        let Some(waiting) = self.waiting.remove(&id) else { return };
        let wait = self.now.saturating_sub(waiting.at).max(0);
        let is_capped = patch.ack.is_some() || patch.window.is_some();
        let is_late = self.is_one_clock && wait > LATE;
        if let Some(record) = self.found.flows.known(&waiting.flow) {
            record.waiting.remove(&id);
            record.fates.matched += 1;
            record.fates.capped += u64::from(is_capped);
            record.fates.late += u64::from(is_late);
            record.longest_wait = record.longest_wait.max(wait);
        }
        self.waits.saturating_record(u64::try_from(wait / 1000).unwrap_or(0));
        self.tell(&waiting, Fate::Matched { wait, is_late, is_capped });
    }

    fn diverged(&mut self, flow: Flow, why: Why) {
        let record = self.found.flows.enter(&flow);
        if record.as_ref().is_some_and(|record| record.standing != Standing::Compared) {
            return;
        }
        *self.found.by_kind.entry(kind(why)).or_default() += 1;
        let first_byte = record.and_then(|record| {
            record.standing = Standing::Diverged(why);
            record.first_byte
        });
        if self.found.divergences.len() < LISTED_MAX {
            let report = self.describe(&flow, why, first_byte);
            self.found.divergences.push(report);
        }
        self.let_go(&flow, Fate::Waited);
    }

    fn describe(&self, flow: &Flow, why: Why, first_byte: Option<u32>) -> DivergenceReport {
        let at = place_of(why);
        let sent = |host| match why {
            Why::Payload { at } => self.evidence.at(host, flow, at.0),
            _ => self.evidence.newest(host, flow),
        };
        DivergenceReport {
            flow: flow.to_string(),
            kind: kind(why),
            why: why.to_string(),
            at_s: self.time().0 as f64 / 1e9,
            stream_position: at.zip(first_byte).map(|(at, first)| u64::from(at.wrapping_sub(first))),
            primary: sent(Host::Primary),
            secondary: sent(Host::Secondary),
        }
    }

    /// All frames of a flow that wait have this fate.
    fn let_go(&mut self, flow: &Flow, fate: Fate) {
        let Some(record) = self.found.flows.known(flow) else { return };
        let ids = std::mem::take(&mut record.waiting);
        ids.iter().for_each(|_| fate.count(&mut record.fates));
        for id in ids {
            if let Some(waiting) = self.waiting.remove(&id) {
                self.tell(&waiting, fate);
            }
        }
    }

    fn tell(&mut self, waiting: &Waiting, fate: Fate) {
        let began_at = self.began_at.unwrap_or(waiting.at);
        if let Some(frames) = &mut self.frames {
            frames.push_back(FrameReport::new(
                waiting.frame,
                waiting.at - began_at,
                &waiting.flow,
                waiting.bytes,
                fate,
            ));
        }
    }

    /// Both captures are over: what waits now was never sent by the other guest, or too near the end to say.
    pub(super) fn finish(&mut self) {
        let ends = self.found.seen.map(|seen| seen.last_at.unwrap_or(Nanoseconds::MIN));
        let open_from = ends[0].min(ends[1]).saturating_sub(LATE);
        let mut oldest: HashMap<Flow, Nanoseconds> = HashMap::new();
        for waiting in self.waiting.values() {
            let at = oldest.entry(waiting.flow).or_insert(waiting.at);
            *at = (*at).min(waiting.at);
        }
        for (flow, _) in oldest.into_iter().filter(|(_, at)| *at >= open_from) {
            self.let_go(&flow, Fate::Open);
        }
        self.comparer.handle_timeout(self.time() + NEVER);
        while let Some(output) = self.comparer.poll_output() {
            let comparer::Output::Diverged(divergence) = output else { continue };
            let Some(record) = self.found.flows.known(&divergence.flow) else { continue };
            let is_certain = match divergence.why {
                Why::Silent => record.secondary_at < open_from,
                _ => !record.waiting.is_empty(),
            };
            if is_certain {
                self.diverged(divergence.flow, divergence.why);
            }
        }
        // What no rule compares leaves by its epoch's ack.
        let rest: Vec<Flow> = self.waiting.values().map(|waiting| waiting.flow).collect();
        for flow in rest {
            self.let_go(&flow, Fate::Waited);
        }
    }

    /// What was found, and how many connections had another client in the secondary's capture.
    pub(super) fn findings(mut self) -> (Findings, u64) {
        self.found.waits = Waits::of(&self.waits);
        (self.found, self.clients.replaced)
    }
}
