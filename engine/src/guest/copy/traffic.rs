//! The traffic between a copy and the world, shared by the loop, the receive thread and the copy's own thread.
//!
//! ```text
//!            run(base)             mute                     begin
//!   Idle ──────────────► Told ──────────────► Muted ─────────────────────► Owner
//!    ▲                  hears, is told       keeps what it sends             sends to its held output
//!    └──────────────────── set anew: what it sent is forgotten ───┘
//! ```
//!
//! Told is what is kept, and nothing else (`colo::Unreleased`): what the primary matches will leave first if the copy becomes
//! the guest.
//!
//! Locks: the copy's thread comes here with its guest locked. Who is here takes no lock of the guest.

use super::card::CopyCard;
use super::input::{Input, OutOfStep};
use super::limits::CopyLimits;
use super::way::{Way, frame};
use crate::guest::report::Reporter;
use parking_lot::Mutex;
use std::sync::Arc;
use understudy_checkpoint::{Epoch, Generation};
use understudy_colo::mirror::Missing;
use understudy_colo::rewriter::Carried;
use understudy_colo::unreleased::Unreleased;
use understudy_lab::Port;
use understudy_link::{PacketList, Packets};

/// The traffic between one copy and the world.
#[derive(Debug)]
pub struct Traffic {
    inside: Mutex<Inside>,
    limits: CopyLimits,
    reporter: Reporter,
}

#[derive(Debug)]
struct Inside {
    stage: Stage,
    input: Input,
    way: Way,
    sent: Unreleased,
    /// The number of the next frame to report to the primary.
    next_told: u64,
    /// Frames of the copy that were dropped for lack of room.
    unkept: u64,
}

enum Stage {
    /// The copy does not run.
    Idle,
    /// The copy runs and receives input, and its output is reported to the primary.
    Told { generation: Generation, base: Epoch },
    /// The copy has run and may still run. It receives no input; its output is kept and not reported.
    Muted,
    /// The copy has become the guest.
    Owner(Arc<dyn Port>),
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Told { .. } => "Told",
            Self::Muted => "Muted",
            Self::Owner(_) => "Owner",
        })
    }
}

/// Frames of the copy to report to the primary.
#[derive(Debug)]
pub struct Untold {
    /// The generation of that epoch.
    pub generation: Generation,
    /// The epoch that the copy was set to.
    pub base: Epoch,
    /// The number of the first frame.
    pub first: u64,
    pub list: PacketList,
}

/// What was lost on the way.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TrafficStats {
    /// Input of the copy that was dropped for lack of room.
    pub input_lost: u64,
    /// Output of the copy that was dropped for lack of room.
    pub output_lost: u64,
    /// Connections whose sequence numbers arrived too late.
    pub unanswered: u64,
}

impl Traffic {
    /// The traffic of a copy that does not exist yet; `reporter` wakes the loop when there is output to report.
    pub fn new(reporter: Reporter, limits: CopyLimits) -> Self {
        let inside = Inside {
            stage: Stage::Idle,
            input: Input::new(limits.input),
            way: Way::new(),
            sent: Unreleased::new(limits.sent),
            next_told: 0,
            unkept: 0,
        };
        Self { inside: Mutex::new(inside), limits, reporter }
    }

    /// How much is kept here.
    pub fn limits(&self) -> CopyLimits {
        self.limits
    }

    // ── the loop, about what comes by the link. What the copy says to it is told later in the same turn. ─────────────

    /// Takes input of the guest; `first` is the number of the first packet. A running copy has received everything before it; if
    /// packets are missing, the copy is muted, which makes the primary take a checkpoint.
    pub fn input(&self, generation: Generation, first: u64, packets: Packets<'_>) -> Result<(), OutOfStep> {
        let mut inside = self.inside.lock();
        let is_missing = inside.input.begin(generation, first)?;
        let mut hears = matches!(inside.stage, Stage::Told { generation: of, .. } if of == generation);
        if hears && is_missing {
            (hears, inside.stage) = (false, Stage::Muted);
        }
        if hears {
            inside.with_way(Way::tick);
        }
        for packet in packets.iter() {
            inside.input.push(packet);
            if hears {
                inside.hear(packet);
            }
        }
        inside.way.notify();
        Ok(())
    }

    /// The guest has taken all input before `next`.
    pub fn taken(&self, generation: Generation, next: u64) {
        self.inside.lock().input.taken(generation, next);
    }

    /// Notes the cut of `epoch`: its image contains all packets before `next`, and `carried` connections whose numbers differ from
    /// those that clients know. Returns how many of them had no room.
    pub fn cut(
        &self,
        generation: Generation,
        epoch: Epoch,
        next: u64,
        carried: Vec<Carried>,
    ) -> Result<usize, OutOfStep> {
        self.inside.lock().input.cut(generation, epoch, next, carried)
    }

    /// Whether a guest started from the image of `epoch` has connections whose numbers differ from those that clients know.
    pub fn carries(&self, epoch: Epoch) -> bool {
        self.inside.lock().input.carried(epoch).next().is_some()
    }

    /// The connections that are rewritten here, of a copy that has become the guest.
    pub fn rewritten(&self) -> Vec<Carried> {
        self.inside.lock().way.carried()
    }

    /// The guest has opened a connection after the cut of `epoch`.
    pub fn handshake(&self, epoch: Epoch, packet: &[u8]) {
        self.inside.lock().with_way(|way, out| way.handshake(epoch, packet, out));
    }

    /// Output of the copy of `base` has left the primary up to this frame.
    pub fn released(&self, generation: Generation, base: Epoch, through: u64) {
        let mut inside = self.inside.lock();
        let is_it = matches!(inside.stage, Stage::Told { generation: of, base: is } if (of, is) == (generation, base));
        // Output that was not reported cannot have left.
        if let (true, Some(last_told)) = (is_it, inside.next_told.checked_sub(1)) {
            inside.sent.released(through.min(last_told));
        }
    }

    /// The link is gone; frames on the next one are numbered anew.
    pub fn link_lost(&self) {
        self.inside.lock().input.clear();
    }

    /// Takes output of the copy to report to the primary; `None` if there is none now.
    pub fn take_untold(&self) -> Option<Untold> {
        let mut inside = self.inside.lock();
        let Stage::Told { generation, base } = inside.stage else { return None };
        let mut list = PacketList::default();
        let mut first = None;
        let mut next = inside.next_told;
        for (number, kept) in inside.sent.from(inside.next_told) {
            // No frame of a card is too long.
            if list.push(&kept.bytes).is_err() {
                break;
            }
            first.get_or_insert(number);
            next = number + 1;
        }
        inside.next_told = next;
        Some(Untold { generation, base, first: first?, list })
    }

    // ── the loop, by the session's word ──────────────────────────────────────────────────────────────────────────────

    /// Whether a copy can run from `base`: the cut is known, and all input since is here.
    pub fn reaches(&self, base: Epoch) -> Result<(), Missing> {
        self.inside.lock().input.reaches(base)
    }

    /// The copy was set to `base` and is about to run: delivers the input since `base`.
    pub fn run(&self, generation: Generation, base: Epoch) {
        let mut guard = self.inside.lock();
        let inside = &mut *guard;
        inside.way.set(base, inside.input.carried(base));
        inside.sent.clear();
        inside.next_told = 0;
        inside.stage = Stage::Told { generation, base };
        let Inside { input, way, sent, unkept, .. } = inside;
        if let Ok(backlog) = input.after(base) {
            for packet in backlog {
                way.input(packet, &mut |bytes| *unkept += u64::from(sent.push(frame(bytes)).is_err()));
            }
            way.notify();
        }
        input.has_run(base);
    }

    /// Mutes the copy: no more input, no more reports.
    pub fn mute(&self) {
        let mut inside = self.inside.lock();
        if matches!(inside.stage, Stage::Told { .. }) {
            inside.stage = Stage::Muted;
        }
    }

    /// Resets: there is no copy, or it will be set anew.
    pub fn idle(&self) {
        let mut inside = self.inside.lock();
        inside.stage = Stage::Idle;
        inside.sent.clear();
        inside.next_told = 0;
        inside.way.halt();
    }

    /// No copy will be set to an epoch before this one, so older input goes.
    pub fn forget(&self, before: Epoch) {
        self.inside.lock().input.forget(before);
    }

    /// Whether any output was reported since the copy last began to run.
    pub fn has_forwarded(&self) -> bool {
        self.inside.lock().next_told > 0
    }

    /// Whether a copy has ended.
    pub fn has_ended(&self) -> bool {
        self.inside.lock().way.card.as_ref().is_some_and(|card| card.has_ended())
    }

    /// Does what is due.
    pub fn tick(&self) {
        self.inside.lock().with_way(Way::tick);
    }

    /// Frames that are kept: of input, and of what the copy has sent.
    pub fn kept_frames(&self) -> [usize; 2] {
        let inside = self.inside.lock();
        [inside.input.kept_frames(), inside.sent.len()]
    }

    /// Counts of what was lost so far.
    pub fn stats(&self) -> TrafficStats {
        let inside = self.inside.lock();
        TrafficStats {
            input_lost: inside.input.lost + inside.way.lost,
            output_lost: inside.unkept,
            unanswered: inside.way.unanswered,
        }
    }

    // ── the copy's host ──────────────────────────────────────────────────────────────────────────────────────────────

    /// Connects the card of a new copy.
    pub(in crate::guest) fn connect(&self, card: Box<dyn CopyCard>) {
        self.inside.lock().way.card = Some(card);
    }

    /// The copy is halted: what still waits for sequence numbers is void.
    pub(super) fn stands_still(&self) {
        self.inside.lock().way.halt();
    }

    /// The copy, last set to `base`, becomes the guest. Its output that has not left the primary goes to `output` before everything that it
    /// sends from here on.
    pub fn begin(&self, base: Epoch, output: Arc<dyn Port>) {
        let mut guard = self.inside.lock();
        let inside = &mut *guard;
        if matches!(inside.stage, Stage::Idle) {
            inside.way.set(base, inside.input.carried(base));
        }
        let sent = inside.sent.take();
        inside.way.takeover(sent, &mut |bytes| output.transmit(bytes));
        inside.stage = Stage::Owner(output);
    }

    /// Delivers a frame to the copy that has become the guest, and returns the frame's number. The guest may take it only once
    /// [`notify`](Self::notify) is called.
    pub fn deliver(&self, packet: &[u8]) -> Option<u64> {
        self.inside.lock().hear(packet)
    }

    /// Tells the guest of the frames that were delivered.
    pub fn notify(&self) {
        self.inside.lock().way.notify();
    }
}

impl Inside {
    fn hear(&mut self, packet: &[u8]) -> Option<u64> {
        let mut number = None;
        self.route(|way, out| number = way.input(packet, out));
        if matches!(self.stage, Stage::Owner(_)) {
            self.route(Way::tick);
        }
        number
    }

    /// As [`route`](Self::route), and tells the copy of what that delivered to it.
    fn with_way(&mut self, step: impl FnOnce(&mut Way, &mut dyn FnMut(&[u8]))) {
        self.route(step);
        self.way.notify();
    }

    /// Routes the copy's output according to the stage.
    fn route(&mut self, step: impl FnOnce(&mut Way, &mut dyn FnMut(&[u8]))) {
        let Self { stage, way, sent, unkept, .. } = self;
        let mut out = |bytes: &[u8]| match stage {
            Stage::Idle => {}
            Stage::Told { .. } | Stage::Muted => *unkept += u64::from(sent.push(frame(bytes)).is_err()),
            Stage::Owner(output) => output.transmit(bytes),
        };
        step(way, &mut out);
    }
}

impl Port for Traffic {
    fn transmit(&self, packet: &[u8]) {
        let mut inside = self.inside.lock();
        let had_news = inside.sent.next() > inside.next_told;
        inside.with_way(|way, out| way.output(packet, out));
        let wakes = !had_news && matches!(inside.stage, Stage::Told { .. });
        drop(inside);
        if wakes {
            self.reporter.wake();
        }
    }
}

#[cfg(test)]
mod tests;
