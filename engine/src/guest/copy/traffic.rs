//! What passes between a copy and the world, shared by the loop, the receive thread and the copy's own thread.
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

/// What passes between one copy and the world.
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
    /// The number of the next frame that is to be told.
    next_told: u64,
    /// Frames that the copy sent and that had no room.
    unkept: u64,
}

enum Stage {
    /// It does not run.
    Idle,
    /// It runs, hears, and is told.
    Told { generation: Generation, base: Epoch },
    /// It has run, and may still. Nothing of it is told, it hears nothing, and what it sends is kept.
    Muted,
    /// It is the guest.
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

/// Frames of the copy that the primary is to be told of.
#[derive(Debug)]
pub struct Untold {
    /// That of the epoch.
    pub generation: Generation,
    /// What the copy was set to.
    pub base: Epoch,
    /// The number of the first frame.
    pub first: u64,
    /// They.
    pub list: PacketList,
}

/// What was lost on the way.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TrafficStats {
    /// Frames for the copy that had no room.
    pub input_lost: u64,
    /// Frames of the copy that had no room.
    pub output_lost: u64,
    /// Connections whose numbers were not told in time.
    pub unanswered: u64,
}

impl Traffic {
    /// Of a copy that is not there yet; the loop is woken by `reporter` when there is something to tell.
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

    // ── the loop, about what comes by the link ───────────────────────────────────────────────────────────────────────

    /// What the guest has heard, `first` the number of the first packet. A copy that runs was given all that came before; where
    /// some of that is missing it hears nothing more and nothing of it is told, which asks for a checkpoint.
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
        drop(inside);
        self.reporter.wake();
        Ok(())
    }

    /// The guest has taken all before `next` of what it has heard.
    pub fn taken(&self, generation: Generation, next: u64) {
        self.inside.lock().input.taken(generation, next);
    }

    /// `epoch` was cut: its image contains all before the packet `next`, and has other numbers for `carried` connections than the
    /// world knows. The answer is how many of those have no room.
    pub fn cut(
        &self,
        generation: Generation,
        epoch: Epoch,
        next: u64,
        carried: Vec<Carried>,
    ) -> Result<usize, OutOfStep> {
        self.inside.lock().input.cut(generation, epoch, next, carried)
    }

    /// Whether a guest that is started from the image of `epoch` has other numbers than the world knows.
    pub fn carries(&self, epoch: Epoch) -> bool {
        self.inside.lock().input.carried(epoch).next().is_some()
    }

    /// Connections whose numbers are rewritten here, of a copy that is the guest.
    pub fn rewritten(&self) -> Vec<Carried> {
        self.inside.lock().way.carried()
    }

    /// The guest has begun a connection after the cut of `epoch`.
    pub fn handshake(&self, epoch: Epoch, packet: &[u8]) {
        self.inside.lock().with_way(|way, out| way.handshake(epoch, packet, out));
        self.reporter.wake();
    }

    /// What the copy of `base` sent up to this has left.
    pub fn released(&self, generation: Generation, base: Epoch, through: u64) {
        let mut inside = self.inside.lock();
        let is_it = matches!(inside.stage, Stage::Told { generation: of, base: is } if (of, is) == (generation, base));
        // What was not told cannot have left.
        if let (true, Some(last_told)) = (is_it, inside.next_told.checked_sub(1)) {
            inside.sent.released(through.min(last_told));
        }
    }

    /// The link is gone: what is told on the next one has a beginning of its own.
    pub fn link_lost(&self) {
        self.inside.lock().input.clear();
    }

    /// What the copy has sent and the primary is to be told of; `None` if there is nothing for now.
    pub fn take_untold(&self) -> Option<Untold> {
        let mut inside = self.inside.lock();
        let Stage::Told { generation, base } = inside.stage else { return None };
        let mut list = PacketList::default();
        let mut first = None;
        let mut next = inside.next_told;
        for (number, kept) in inside.sent.from(inside.next_told) {
            // Nothing that a card sends is too long.
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

    /// Whether a copy can run from `base`: its cut was told, and all that the guest heard since is here.
    pub fn reaches(&self, base: Epoch) -> Result<(), Missing> {
        self.inside.lock().input.reaches(base)
    }

    /// The copy was set to `base`, and is about to run: it hears what the guest has heard since.
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
        }
        input.has_run(base);
    }

    /// Nothing more of the copy is told, and it hears nothing more.
    pub fn mute(&self) {
        let mut inside = self.inside.lock();
        if matches!(inside.stage, Stage::Told { .. }) {
            inside.stage = Stage::Muted;
        }
    }

    /// There is no copy, or it is to be set anew.
    pub fn idle(&self) {
        let mut inside = self.inside.lock();
        inside.stage = Stage::Idle;
        inside.sent.clear();
        inside.next_told = 0;
        inside.way.halt();
    }

    /// No copy will be set to an epoch before this one.
    pub fn forget(&self, before: Epoch) {
        self.inside.lock().input.forget(before);
    }

    /// Whether the primary was told of anything since the copy ran last.
    pub fn has_forwarded(&self) -> bool {
        self.inside.lock().next_told > 0
    }

    /// Whether there was a copy that is no more.
    pub fn has_ended(&self) -> bool {
        self.inside.lock().way.card.as_ref().is_some_and(|card| card.has_ended())
    }

    /// Time has passed.
    pub fn tick(&self) {
        self.inside.lock().with_way(Way::tick);
    }

    /// What was lost so far.
    pub fn stats(&self) -> TrafficStats {
        let inside = self.inside.lock();
        TrafficStats {
            input_lost: inside.input.lost + inside.way.lost,
            output_lost: inside.unkept,
            unanswered: inside.way.unanswered,
        }
    }

    // ── the copy's host ──────────────────────────────────────────────────────────────────────────────────────────────

    /// There is a copy with this card.
    pub(in crate::guest) fn connect(&self, card: Box<dyn CopyCard>) {
        self.inside.lock().way.card = Some(card);
    }

    /// The copy stands still: what waits for numbers counts for nothing any more.
    pub(super) fn stands_still(&self) {
        self.inside.lock().way.halt();
    }

    /// The copy, which was set to `base` last, is the guest. What it sent and nobody has seen goes to `output` before all that it
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

    /// A frame of the world for the copy that is the guest; its number in the order in which the guest takes them.
    pub fn deliver(&self, packet: &[u8]) -> Option<u64> {
        self.inside.lock().hear(packet)
    }
}

impl Inside {
    fn hear(&mut self, packet: &[u8]) -> Option<u64> {
        let mut number = None;
        self.with_way(|way, out| number = way.input(packet, out));
        if matches!(self.stage, Stage::Owner(_)) {
            self.with_way(Way::tick);
        }
        number
    }

    /// Where what comes out goes by the stage.
    fn with_way(&mut self, step: impl FnOnce(&mut Way, &mut dyn FnMut(&[u8]))) {
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
