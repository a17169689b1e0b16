//! The live copy, on the other host, of a guest that runs here: the input that it is sent, and the output of the guest that leaves because the copy
//! has sent the same.
//!
//! ```text
//!   session ─ MirrorInput, MatchFrom, StopMatch, Release ─┐
//!   guest   ─ held frames ────────────────────────────────┼─► comparer ─ Release(id) ────► held output: it leaves
//!   link    ─ Output ─────────────────────────────────────┘            ├ Diverged ───────► session: a checkpoint
//!   network ─ what the guest hears ─► link: Input, Cut                 └ Handshake, used ► link: Handshake, Released
//! ```
//!
//! All of this runs in an iteration of the loop. Frames of the guest are compared where they are held; none is copied.
//!
//! Not here: when a copy is wanted (the session), and when two frames match (`colo`).

use super::PrimaryGuest;
use super::input_load::InputLoad;
use crate::guest::{Batch, CARD, Compared, CopyLimits, Cut, Heard};
use crate::node::context::Context;
use crate::node::inbound::GuestPackets;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use understudy_checkpoint::{Epoch, Generation};
use understudy_colo::comparer::{self, CopyNumber, Output, Why};
use understudy_colo::packet::{Frame, Offload};
use understudy_colo::rewriter::carried;
use understudy_colo::{Comparer, FrameId, Part, Patch, mirror};
use understudy_link::{GuestFrame, INPUT_TAKEN_SINCE, Lane, PacketFrame, PacketList};
use understudy_netbuf::HeldId;
use understudy_session::primary::Input;
use understudy_session::{Divergence, Mode, Span, Time};

/// How often the session is told how many frames left by a match and how many by an ack.
const TELL_EVERY: Span = Span::from_ms(50);

/// The live copy at the other host, if there is one.
#[derive(Debug)]
pub(in crate::node) struct CopyElsewhere {
    /// `None` if the guest's input cannot be recorded.
    heard: Option<Arc<Heard>>,
    /// Whether the guest's output can be compared.
    can_compare: bool,
    /// The mode that the operator wants.
    wished: Mode,
    limits: CopyLimits,
    /// Whether the log already says that the copy's host has less room than this host's settings ask for.
    says_less: bool,
    /// Set while the guest's input is sent to the copy.
    comparing: Option<Comparing>,
    /// The counts by match and by ack that the session was told last, and the time.
    told: (u64, u64),
    tell_at: Option<Time>,
}

struct Comparing {
    generation: Generation,
    comparer: Comparer,
    /// The next held frame to compare.
    next: HeldId,
    /// Frames may leave by a match with the copy of this epoch.
    base: Option<Epoch>,
    /// The copy's host knows that frames up to this one are no longer needed.
    used: Option<CopyNumber>,
    input: InputLoad,
    /// The number of frames missing from the copy's input that the log has already reported.
    lost_said: u64,
    todo: Todo,
    /// The comparer's counts at the last look.
    stats: comparer::Stats,
    limits: CopyLimits,
}

/// The comparer's actions, in order.
#[derive(Debug, Default)]
struct Todo {
    leaving: Vec<Leaving>,
    /// Handshakes, each with the epoch in which it was sent.
    handshakes: Vec<(Epoch, Vec<u8>)>,
    diverged: Vec<comparer::Divergence>,
}

#[derive(Debug)]
enum Leaving {
    Held(HeldId, Patch),
    /// A part of a frame leaves; the frame itself stays held.
    Part(HeldId, Part),
    Made(Vec<u8>),
    /// A frame that newer frames have made obsolete: it must not leave after them.
    Outdated(HeldId),
}

impl std::fmt::Debug for Comparing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comparing")
            .field("base", &self.base)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Comparing {
    fn new(generation: Generation, next: HeldId, limits: CopyLimits) -> Self {
        // The key is secret: who knows it could slow down the table of flows.
        let seed = RandomState::new().build_hasher().finish();
        Self {
            generation,
            comparer: Comparer::new(limits.comparer, seed),
            next,
            base: None,
            used: None,
            input: InputLoad::new(limits.input),
            lost_said: 0,
            todo: Todo::default(),
            stats: comparer::Stats::default(),
            limits,
        }
    }

    /// Adopts the room that the copy's host has. Returns whether that is less than this host's settings.
    fn limit(&mut self, input: mirror::Limits, output_frames: usize) -> bool {
        self.input.limit(input);
        self.comparer.limit_frames(output_frames);
        let CopyLimits { comparer, input: own, .. } = self.limits;
        input.frames_max < own.frames_max
            || input.bytes_max < own.bytes_max
            || output_frames < comparer.frames_max
    }

    /// Compares what the guest has sent since the last call.
    fn look(&mut self, held: &dyn Compared, now: Time) {
        let Self { comparer, next, todo, .. } = self;
        *next = held.look(*next, &mut |id, epoch, bytes| {
            comparer.primary(now, FrameId(id.0), frame(bytes), epoch);
            todo.note(comparer, Some(bytes));
        });
    }

    /// Takes frames that the copy has sent.
    fn copy_sent(&mut self, base: Epoch, first: u64, packets: &PacketList, now: Time) {
        let Some(packets) = packets.packets() else { return };
        for (number, bytes) in (first..).zip(packets.iter()) {
            self.comparer.copy_numbered(now, CopyNumber(number), frame(bytes), base);
            self.todo.note(&mut self.comparer, None);
        }
    }
}

impl Todo {
    /// Collects the comparer's actions for its last input, which is `sent` if that was a frame of the guest.
    fn note(&mut self, comparer: &mut Comparer, sent: Option<&[u8]>) {
        while let Some(output) = comparer.poll_output() {
            match output {
                Output::Release(FrameId(id)) => {
                    self.leaving.push(Leaving::Held(HeldId(id), Patch::default()));
                }
                Output::ReleaseAs(FrameId(id), patch) => self.leaving.push(Leaving::Held(HeldId(id), patch)),
                Output::Handshake(handshake) => {
                    self.handshakes.extend(sent.map(|sent| (handshake.epoch, sent.to_vec())));
                }
                Output::Diverged(divergence) => self.diverged.push(divergence),
                Output::Acknowledge(what) => {
                    let mut frame = Vec::new();
                    if comparer.write_acknowledgement(&what, &mut frame) {
                        self.leaving.push(Leaving::Made(frame));
                    }
                }
                Output::Outdated(FrameId(id)) => self.leaving.push(Leaving::Outdated(HeldId(id))),
                Output::ReleasePart(FrameId(id), part) => {
                    self.leaving.push(Leaving::Part(HeldId(id), part));
                }
            }
        }
    }

    fn let_out(&mut self, held: &dyn Compared, guest: &str) {
        for leaving in self.leaving.drain(..) {
            match leaving {
                Leaving::Made(frame) => held.add(frame),
                Leaving::Outdated(id) => held.discard(id),
                Leaving::Part(id, part) => {
                    let mut cut = Vec::new();
                    let mut is_cut = Ok(());
                    held.show(id, &mut |bytes| is_cut = part.cut(frame(bytes), &mut cut));
                    match is_cut {
                        // A frame that is no longer held has left as a whole.
                        Ok(()) if cut.is_empty() => {}
                        Ok(()) => held.add(cut),
                        Err(error) => {
                            tracing::error!(guest, %error, "Some of a frame waits with the rest of it")
                        }
                    }
                }
                Leaving::Held(id, patch) => held.let_out(id, &mut |frame| {
                    if !patch.is_empty()
                        && let Err(error) = patch.apply(frame, Offload::default())
                    {
                        tracing::error!(guest, %error, "A frame leaves as it is");
                    }
                }),
            }
        }
    }
}

impl CopyElsewhere {
    /// The copy of a guest whose input is `heard`.
    pub(in crate::node) fn new(
        heard: Option<Arc<Heard>>,
        can_compare: bool,
        wished: Mode,
        limits: CopyLimits,
    ) -> Self {
        Self {
            heard,
            can_compare,
            wished,
            limits,
            says_less: false,
            comparing: None,
            told: (0, 0),
            tell_at: None,
        }
    }

    /// The mode that the operator wants.
    pub(in crate::node) fn wished(&self) -> Mode {
        self.wished
    }

    /// The effective mode: a guest that cannot have a live copy is protected by checkpoints alone.
    pub(in crate::node) fn mode(&self) -> Mode {
        if self.obstacle().is_some() { Mode::Remus } else { self.wished }
    }

    /// Why the guest cannot have a live copy; `None` if it can.
    pub(in crate::node) fn obstacle(&self) -> Option<&'static str> {
        match (&self.heard, self.can_compare) {
            (None, _) => Some("copies of guests of this kind are not run yet"),
            (_, false) => Some("what leaves by an interface of the kernel is not compared yet"),
            _ => None,
        }
    }

    pub(in crate::node) fn next_timeout(&self) -> Option<Time> {
        let comparer = self.comparing.as_ref().and_then(|comparing| comparing.comparer.next_timeout());
        comparer.into_iter().chain(self.tell_at).min()
    }
}

impl PrimaryGuest {
    /// Sets the mode that the operator wants.
    pub(in crate::node) fn set_mode(&mut self, mode: Mode, cx: &mut dyn Context) {
        self.copy.wished = mode;
        self.handle(Input::Mode(self.copy.mode()), cx);
    }

    /// On the session's order: begins to send the guest's input to the copy, or stops.
    pub(super) fn mirror_input(&mut self, from: Option<Epoch>) {
        let (Some(held), Some(heard)) = (self.output.compared(), &self.copy.heard) else { return };
        heard.listen(from.is_some());
        held.watch(from.is_some());
        let (generation, limits) = (self.session.generation(), self.copy.limits);
        self.copy.comparing = from.map(|_| Comparing::new(generation, held.next_id(), limits));
        if let Some(comparing) = &mut self.copy.comparing {
            comparing.lost_said = heard.lost();
        }
    }

    /// On the session's order: frames may leave by a match with the copy of `base`, once the guest is marked.
    pub(super) fn match_from(&mut self, base: Epoch, now: Time) {
        if !self.is_marked() {
            return;
        }
        let (Some(held), Some(comparing)) = (self.output.compared(), &mut self.copy.comparing) else {
            return;
        };
        comparing.look(held, now);
        (comparing.base, comparing.used) = (Some(base), None);
        comparing.input.copy_runs();
        comparing.comparer.live(now, base);
        comparing.todo.note(&mut comparing.comparer, None);
    }

    /// On the session's order: nothing leaves by a match from here on.
    pub(super) fn stop_match(&mut self) {
        if let Some(comparing) = &mut self.copy.comparing {
            comparing.base = None;
            comparing.comparer.stop();
            // A frame that has matched and not left yet leaves by its ack.
            (comparing.todo.leaving, comparing.todo.diverged) = Default::default();
        }
    }

    /// Epochs up to `through` are acked, and their output leaves after this call.
    pub(super) fn matching_released(&mut self, through: Epoch, now: Time) {
        let (Some(held), Some(comparing)) = (self.output.compared(), &mut self.copy.comparing) else {
            return;
        };
        // A frame that left without being compared would be missing from its stream.
        comparing.look(held, now);
        comparing.comparer.released(through);
        comparing.todo.note(&mut comparing.comparer, None);
        comparing.input.acked(through);
    }

    /// A capture has cut `epoch`: tells the copy's host how much input the image contains, and which connections in it have
    /// numbers that differ from those that clients know. A guest started from the image needs the latter as well.
    pub(super) fn cut_input(&mut self, epoch: Epoch, cx: &mut dyn Context) {
        self.send_input(cx);
        let (Some((guest, _)), Some(heard)) = (&self.place, &self.copy.heard) else { return };
        let Some(Cut { next, carried, .. }) = heard.cut_of(epoch) else { return };
        match &mut self.copy.comparing {
            Some(comparing) => {
                comparing.comparer.cut(epoch);
                comparing.input.cut(epoch, next);
            }
            None if carried.is_empty() => return,
            None => {}
        }
        let mut bytes = Vec::new();
        carried::write(&carried, &mut bytes);
        let cut = PacketFrame::Cut { generation: self.session.generation(), epoch, next, carried: &bytes };
        cx.send(&self.peer, &GuestFrame::Packets(cut).of(*guest));
    }

    /// Sends the guest's input to the copy.
    fn send_input(&mut self, cx: &mut dyn Context) {
        let (Some(heard), Some(comparing)) = (&self.copy.heard, &mut self.copy.comparing) else { return };
        while let Some(Batch { first, count, list }) = heard.take() {
            let Some((guest, _)) = self.place else { continue };
            if !cx.has_room(&self.peer, Lane::OfferedPackets(guest))
                || !comparing.input.send(first, count, list.len_bytes())
            {
                // The packets' numbers show the gap, and the copy's host asks for a checkpoint.
                comparing.input.lose(count);
                continue;
            }
            if let Some(packets) = list.packets() {
                let input = PacketFrame::Input { generation: comparing.generation, first, packets };
                cx.send(&self.peer, &GuestFrame::Packets(input).of(guest));
            }
        }
        let next = heard.first_needed();
        // A peer that is not told keeps the input.
        if let Some((guest, _)) = self.place
            && cx.link_version(&self.peer) >= Some(INPUT_TAKEN_SINCE)
            && comparing.input.tells_taken(next)
        {
            let taken = PacketFrame::Taken { generation: comparing.generation, next };
            cx.send(&self.peer, &GuestFrame::Packets(taken).of(guest));
        }
    }

    /// Logs input that the copy missed and will not receive before it is set anew.
    fn say_lost_input(&mut self) {
        let (Some(heard), Some(comparing)) = (&self.copy.heard, &mut self.copy.comparing) else { return };
        let lost = comparing.input.lost() + heard.lost();
        if lost > comparing.lost_said {
            comparing.lost_said = lost;
            tracing::warn!(
                guest = %self.name, frames = lost,
                "The copy lacks frames that the guest has heard, since there was no room for them; a checkpoint sets it anew"
            );
        }
    }

    /// Takes a message of the copy's host.
    pub(super) fn copy_says(&mut self, packets: GuestPackets, cx: &mut dyn Context) {
        match packets {
            GuestPackets::Output { generation, base, first, packets } => {
                self.copy_sent(generation, base, first, &packets, cx);
            }
            GuestPackets::Room { generation, input_packets, input_bytes, output_packets } => {
                let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
                let input =
                    mirror::Limits { frames_max: count(input_packets), bytes_max: count(input_bytes) };
                self.copy_has_room(generation, input, count(output_packets));
            }
            _ => {}
        }
    }

    fn copy_has_room(&mut self, generation: Generation, input: mirror::Limits, output_frames: usize) {
        let Some(comparing) = self.copy.comparing.as_mut().filter(|it| it.generation == generation) else {
            return;
        };
        if comparing.limit(input, output_frames) && !std::mem::replace(&mut self.copy.says_less, true) {
            tracing::warn!(
                guest = %self.name, peer = %self.peer, input_frames = input.frames_max, input_bytes = input.bytes_max,
                output_frames,
                "The copy's host keeps less than this host's settings say, and what it keeps counts: give both the same \
                 colo-frames-max, colo-input-frames-max and colo-input-max"
            );
        }
    }

    /// Takes frames that the copy has sent.
    fn copy_sent(
        &mut self,
        generation: Generation,
        base: Epoch,
        first: u64,
        packets: &PacketList,
        cx: &mut dyn Context,
    ) {
        let (Some(held), Some(comparing)) = (self.output.compared(), &mut self.copy.comparing) else {
            return;
        };
        if generation != comparing.generation {
            return;
        }
        let now = cx.now();
        // Frames are compared in the order in which the guest sent them.
        comparing.look(held, now);
        comparing.copy_sent(base, first, packets, now);
        self.settle_matching(cx);
    }

    /// Called once in each iteration of the loop.
    pub(super) fn run_matching(&mut self, cx: &mut dyn Context) {
        self.send_input(cx);
        self.say_lost_input();
        let now = cx.now();
        if let (Some(held), Some(comparing)) = (self.output.compared(), &mut self.copy.comparing) {
            comparing.look(held, now);
            if comparing.comparer.next_timeout().is_some_and(|at| at <= now) {
                comparing.comparer.handle_timeout(now);
                comparing.todo.note(&mut comparing.comparer, None);
            }
        }
        self.settle_matching(cx);
        self.tell_what_left(cx);
    }

    /// Performs the comparer's actions.
    fn settle_matching(&mut self, cx: &mut dyn Context) {
        let (Some(held), Some(comparing)) = (self.output.compared(), &mut self.copy.comparing) else {
            return;
        };
        comparing.todo.let_out(held, &self.name);
        let stats = *comparing.comparer.stats();
        self.meter.matched(&comparing.stats.waits, &stats.waits);
        comparing.stats = stats;
        if let Some((guest, _)) = self.place {
            let generation = comparing.generation;
            for (epoch, packet) in comparing.todo.handshakes.drain(..) {
                // The receiver counts from the last cut, not from the epoch in which the frame was sent.
                let epoch = Epoch(epoch.0.saturating_sub(1));
                let handshake = PacketFrame::Handshake { generation, epoch, packet: &packet };
                cx.send(&self.peer, &GuestFrame::Packets(handshake).of(guest));
            }
            if let (Some(base), Some(used)) = (comparing.base, comparing.comparer.used_through())
                && comparing.used < Some(used)
            {
                comparing.used = Some(used);
                let released = PacketFrame::Released { generation, base, through: used.0 };
                cx.send(&self.peer, &GuestFrame::Packets(released).of(guest));
            }
        }
        self.tell_divergences(cx);
    }

    fn tell_divergences(&mut self, cx: &mut dyn Context) {
        let Some(comparing) = &mut self.copy.comparing else { return };
        let diverged = std::mem::take(&mut comparing.todo.diverged);
        let Some(base) = comparing.base else { return };
        let captured = self.session.newest_captured();
        // If that epoch has been cut already, no other checkpoint is needed.
        let mut whys: Vec<Divergence> =
            diverged.iter().filter(|it| Some(it.through) > captured).map(|it| kind(it.why)).collect();
        for divergence in &diverged {
            tracing::debug!(guest = %self.name, %divergence, "What the copy sends is not what the guest sends");
        }
        if comparing.input.becomes_full() {
            whys.push(Divergence::Full);
        }
        whys.into_iter().for_each(|why| self.handle(Input::Diverged { base, why }, cx));
    }

    /// Tells the session from time to time how many frames left by a match and how many by an ack.
    fn tell_what_left(&mut self, cx: &mut dyn Context) {
        if self.copy.mode() == Mode::Remus {
            self.copy.tell_at = None;
            return;
        }
        let stats = self.output.stats();
        let left = (stats.matched_frames, stats.acked_frames);
        if left == self.copy.told {
            self.copy.tell_at = None;
            return;
        }
        let now = cx.now();
        if now < *self.copy.tell_at.get_or_insert(now + TELL_EVERY) {
            return;
        }
        let (by_match, by_ack) = (left.0 - self.copy.told.0, left.1 - self.copy.told.1);
        (self.copy.told, self.copy.tell_at) = (left, None);
        self.handle(Input::FramesLeft { by_match, by_ack }, cx);
    }
}

/// The session's word for the comparer's reason.
fn kind(why: Why) -> Divergence {
    match why {
        Why::Timeout => Divergence::Silence,
        Why::Full(_) => Divergence::Full,
        Why::Payload { .. }
        | Why::End { .. }
        | Why::Reset { .. }
        | Why::Handshake { .. }
        | Why::Urgent { .. }
        | Why::Silent => Divergence::Content,
    }
}

/// A frame as a lab guest's card sends it: no offloads are pending.
fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame { card: CARD, offload: Offload::default(), bytes }
}

#[cfg(test)]
mod tests;
