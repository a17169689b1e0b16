//! The live copy, on the other host, of a guest that runs here: the input that the copy is sent, and the output of the guest that
//! leaves because the copy has sent the same.
//!
//! ```text
//!   session ─ MirrorInput, MatchFrom, StopMatch, Release ─┐
//!   guest   ─ held frames ────────────────────────────────┼─► comparer ─ Release(id) ────► held output: it leaves
//!   link    ─ Output ─────────────────────────────────────┘            ├ Diverged ───────► session: a checkpoint
//!   network ─ what the guest hears ─► link: Input, Cut                 └ Handshake, used ► link: Handshake, Released
//! ```
//!
//! All of this runs in an iteration of the loop.
//!
//! Not here: the comparing itself ([`comparing`]), and when a copy is wanted (the session).

mod comparing;
#[cfg(test)]
mod tests;
mod used;

use super::PrimaryGuest;
use crate::guest::{Batch, CopyLimits, Cut, Heard};
use crate::node::context::Context;
use crate::node::inbound::GuestPackets;
use comparing::{Comparing, kind};
use std::sync::Arc;
use understudy_checkpoint::{Epoch, Generation};
use understudy_colo::mirror;
use understudy_colo::rewriter::carried;
use understudy_link::{GuestFrame, Lane, PacketFrame, PacketList};
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
        let of_comparing =
            |comparing: &Comparing| [comparing.comparer.next_timeout(), comparing.used.next_timeout()];
        let comparing = self.comparing.iter().flat_map(of_comparing).flatten();
        comparing.chain(self.tell_at).min()
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
        comparing.base = Some(base);
        comparing.used.begin();
        comparing.input.copy_runs();
        comparing.comparer.live(now, base);
        comparing.todo.note(&mut comparing.comparer, None);
    }

    /// On the session's order: nothing leaves by a match from here on.
    pub(super) fn stop_match(&mut self) {
        if let Some(comparing) = &mut self.copy.comparing {
            comparing.base = None;
            comparing.used.end();
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

    /// Sends the guest's input to the copy. Returns whether there was any.
    fn send_input(&mut self, cx: &mut dyn Context) -> bool {
        let (Some(heard), Some(comparing)) = (&self.copy.heard, &mut self.copy.comparing) else {
            return false;
        };
        let mut is_sent = false;
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
                is_sent = true;
            }
        }
        let next = heard.first_needed();
        // A peer that is not told keeps the input.
        if let Some((guest, _)) = self.place
            && comparing.input.tells_taken(next, cx.link_version(&self.peer))
        {
            let taken = PacketFrame::Taken { generation: comparing.generation, next };
            cx.send(&self.peer, &GuestFrame::Packets(taken).of(guest));
        }
        is_sent
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
        self.settle_matching(false, cx);
    }

    /// Called once in each iteration of the loop.
    pub(super) fn run_matching(&mut self, cx: &mut dyn Context) {
        let is_input_sent = self.send_input(cx);
        self.say_lost_input();
        let now = cx.now();
        if let (Some(held), Some(comparing)) = (self.output.compared(), &mut self.copy.comparing) {
            comparing.look(held, now);
            if comparing.comparer.next_timeout().is_some_and(|at| at <= now) {
                comparing.comparer.handle_timeout(now);
                comparing.todo.note(&mut comparing.comparer, None);
            }
        }
        self.settle_matching(is_input_sent, cx);
        self.tell_what_left(cx);
    }

    /// Performs the comparer's actions. `is_input_sent`: something goes to the copy's host in any case.
    fn settle_matching(&mut self, is_input_sent: bool, cx: &mut dyn Context) {
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
            if let Some(base) = comparing.base
                && let Some(used) =
                    comparing.used.tell(comparing.comparer.used_through(), is_input_sent, cx.now())
            {
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
