//! [`EpochQueue`]: Ethernet frames, held by epoch.
//!
//! ```text
//!   push ─► │ open epoch │ cut ─► │ closed N │ closed N-1 │ … │ release(N-1) ─► take
//!           └── held, while Holding; straight to "may leave" while Passing ──┘
//!                        let_out(id): one of them, before the others ──────────────► take
//! ```
//!
//! Three states: *Passing* (the guest is unprotected, everything may leave), *Holding* (only released
//! epochs may leave) and *Fenced* (everything is thrown away; only a newer generation may hold again).

use crate::frame;
use crate::held::{Held, HeldId};
use std::collections::VecDeque;
use understudy_checkpoint::Epoch;

/// Bounds of a queue. A frame beyond them is dropped and counted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes held, over all epochs.
    pub bytes_max: usize,
    /// Most frames held, over all epochs.
    pub frames_max: usize,
    /// Above this share of either limit (percent) [`EpochQueue::push`] says [`Push::HeldNearLimit`].
    pub pressure_percent: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 32 << 20, frames_max: 65_536, pressure_percent: 50 }
    }
}

/// What happened to a pushed frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Push {
    /// It may leave now: call [`EpochQueue::take`].
    Passing,
    /// It is held until its epoch is released.
    Held,
    /// It is held, and the queue nears a limit: a checkpoint now would empty it.
    HeldNearLimit,
    /// It was dropped and counted: a limit is reached, or the queue is fenced.
    Dropped,
}

/// Frames of the open epoch, which only the next checkpoint can release. Counts of several queues may be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Waiting {
    /// Frames that a client may wait for.
    pub answers: u32,
    /// Frames that carry no data: TCP acknowledgements alone, ARP, neighbour discovery.
    pub bare: u32,
}

impl std::iter::Sum for Waiting {
    fn sum<I: Iterator<Item = Self>>(waiting: I) -> Self {
        waiting.fold(Self::default(), |sum, it| Self {
            answers: sum.answers.saturating_add(it.answers),
            bare: sum.bare.saturating_add(it.bare),
        })
    }
}

/// This many bare frames are news at once, because a sender's window depends on them.
pub const BARE_MANY: u32 = 8;

/// Counters for metrics. All but `held_*` count since the queue was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueStats {
    /// Bytes held now.
    pub held_bytes: usize,
    /// Frames held now.
    pub held_frames: usize,
    /// Frames that may leave or have left.
    pub released_frames: u64,
    /// Those released because their epoch was.
    pub acked_frames: u64,
    /// Those that left individually, before their epoch was released.
    pub matched_frames: u64,
    /// Frames that others had made needless.
    pub outdated_frames: u64,
    /// Frames dropped because a limit was reached.
    pub dropped_at_limit: u64,
    /// Frames dropped because the queue was fenced.
    pub dropped_fenced: u64,
}

impl QueueStats {
    /// How much of these limits is taken by what is held, of 1: the nearer one of bytes and frames.
    pub fn share_of(&self, limits: &Limits) -> f64 {
        let share = |held: usize, max: usize| held as f64 / max.max(1) as f64;
        share(self.held_bytes, limits.bytes_max).max(share(self.held_frames, limits.frames_max))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Passing,
    Holding,
    Fenced,
}

/// The frames of a guest's output, by epoch.
#[derive(Debug)]
pub struct EpochQueue {
    limits: Limits,
    mode: Mode,
    open: Epoch,
    held: Held,
    leaving: VecDeque<Vec<u8>>,
    stats: QueueStats,
    /// Bytes in front of each frame that are not part of it.
    head_bytes: usize,
    waiting: Waiting,
    /// The number of answers that is news; `None`: no number is.
    tell_at: Option<u32>,
    has_news: bool,
}

impl EpochQueue {
    /// A passing queue whose open epoch is `open`.
    pub fn new(open: Epoch, limits: Limits) -> Self {
        assert!(limits.frames_max > 0 && limits.bytes_max > 0, "a queue without room would drop everything");
        Self {
            limits,
            mode: Mode::Passing,
            open,
            held: Held::default(),
            leaving: VecDeque::new(),
            stats: QueueStats::default(),
            head_bytes: 0,
            waiting: Waiting::default(),
            tell_at: Some(1),
            has_news: false,
        }
    }

    /// Makes the queue expect a header of `head_bytes` in front of each frame.
    pub fn behind(self, head_bytes: usize) -> Self {
        Self { head_bytes, ..self }
    }

    /// A queue that holds from the start: for a guest whose host may not let anything out yet.
    pub fn holding(open: Epoch, limits: Limits) -> Self {
        Self { mode: Mode::Holding, ..Self::new(open, limits) }
    }

    /// Takes one frame, which the guest sent in the open epoch.
    pub fn push(&mut self, frame: &[u8]) -> Push {
        if self.mode == Mode::Fenced {
            self.stats.dropped_fenced += 1;
            return Push::Dropped;
        }
        let frames = self.held.len() + self.leaving.len() + 1;
        let bytes = self.stats.held_bytes + frame.len();
        if frames > self.limits.frames_max || bytes > self.limits.bytes_max {
            self.stats.dropped_at_limit += 1;
            return Push::Dropped;
        }
        if self.mode == Mode::Passing {
            self.stats.released_frames += 1;
            self.leaving.push_back(frame.to_vec());
            return Push::Passing;
        }
        self.held.push(self.open, frame.to_vec());
        self.stats.held_bytes = bytes;
        self.stats.held_frames = self.held.len();
        self.count(frame);
        if self.near_limit() { Push::HeldNearLimit } else { Push::Held }
    }

    /// Closes `epoch`, which must be the open one or later, opens the next, and holds from here on. Called inside the
    /// pause: no frame is moved.
    pub fn cut(&mut self, epoch: Epoch) {
        assert!(epoch >= self.open, "epoch {epoch} was closed before (open: {})", self.open);
        self.open = epoch.next();
        if self.mode == Mode::Passing {
            self.mode = Mode::Holding;
        }
        (self.waiting, self.tell_at, self.has_news) = (Waiting::default(), Some(1), false);
    }

    /// Sets how many answers in the open epoch are news. `None`: neither further answers nor bare frames are. A cut
    /// resets this to one.
    pub fn tell_at(&mut self, answers: Option<u32>) {
        self.tell_at = answers;
        self.has_news |= answers.is_some_and(|answers| (1..=self.waiting.answers).contains(&answers));
    }

    /// Whether [`waiting`](Self::waiting) is worth calling: after the first answer, after the number set by
    /// [`tell_at`](Self::tell_at), after the first bare frame, or after many.
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// The frames of the open epoch. Resets [`has_news`](Self::has_news).
    pub fn waiting(&mut self) -> Waiting {
        self.has_news = false;
        self.waiting
    }

    /// Assigns everything held to epoch `open`: for a queue that began to hold while others were cut. Its frames are
    /// held longer, never shorter.
    pub fn reopen(&mut self, open: Epoch) {
        assert!(open >= self.open, "epoch {open} was closed before (open: {})", self.open);
        self.open = open;
        self.held.move_to(open);
    }

    /// Releases every frame of `through` and earlier epochs, which the secondary has acknowledged.
    pub fn release(&mut self, through: Epoch) {
        if self.mode == Mode::Fenced {
            return;
        }
        assert!(through < self.open, "epoch {through} is still open: it cannot have been acknowledged");
        while let Some(frame) = self.held.pop(through) {
            self.stats.acked_frames += 1;
            self.leaves(frame);
        }
    }

    /// Releases one held frame now, changed by `edit`, whatever its epoch, because the guest's copy has sent the same.
    /// The other frames stay, in order. Returns whether the frame was still held.
    pub fn let_out(&mut self, id: HeldId, edit: impl FnOnce(&mut [u8])) -> bool {
        let Some((epoch, mut frame)) = self.held.take(id) else { return false };
        if epoch == self.open {
            self.count_off(&frame);
        }
        edit(&mut frame);
        self.stats.matched_frames += 1;
        self.leaves(frame);
        true
    }

    /// Throws away one held frame: others have left that say as much, and this one must not follow them. Returns whether the
    /// frame was still held.
    pub fn discard(&mut self, id: HeldId) -> bool {
        let Some((epoch, frame)) = self.held.take(id) else { return false };
        if epoch == self.open {
            self.count_off(&frame);
        }
        self.stats.outdated_frames += 1;
        self.stats.held_bytes -= frame.len();
        self.stats.held_frames = self.held.len();
        true
    }

    /// A frame that this host makes in the guest's name leaves after those that may leave now. Nothing does while the queue is
    /// fenced, and none has to: it is dropped where there is no room.
    pub fn add_leaving(&mut self, frame: Vec<u8>) {
        if self.mode != Mode::Fenced && self.held.len() + self.leaving.len() < self.limits.frames_max {
            self.leaving.push_back(frame);
        }
    }

    /// The held frames from number `id` on, with their epochs.
    pub fn held_from(&self, id: HeldId) -> impl Iterator<Item = (HeldId, Epoch, &[u8])> {
        self.held.from(id)
    }

    /// The number that the next held frame will get.
    pub fn next_id(&self) -> HeldId {
        self.held.next_id()
    }

    /// Whether everything may leave.
    pub fn is_passing(&self) -> bool {
        self.mode == Mode::Passing
    }

    /// Releases everything, now and from here on: the witness has recorded that the guest is unprotected.
    pub fn pass(&mut self) {
        if self.mode == Mode::Fenced {
            return;
        }
        self.mode = Mode::Passing;
        (self.waiting, self.has_news) = (Waiting::default(), false);
        while let Some(frame) = self.held.pop(self.open) {
            self.leaves(frame);
        }
    }

    /// Drops everything, and lets nothing out ever again: this generation has lost its authority. Released frames that
    /// were not taken yet are dropped, too.
    pub fn fence(&mut self) {
        self.mode = Mode::Fenced;
        self.held.clear();
        self.leaving.clear();
        self.stats.held_bytes = 0;
        self.stats.held_frames = 0;
    }

    /// Holds again after a fence, for a newer generation of the guest. What was dropped stays dropped.
    pub fn revive(&mut self) {
        if self.mode == Mode::Fenced {
            self.mode = Mode::Holding;
        }
    }

    /// Takes the next released frame.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.leaving.pop_front()
    }

    /// Whether released frames are waiting to be taken.
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// The epoch that frames pushed now belong to.
    pub fn open_epoch(&self) -> Epoch {
        self.open
    }

    /// Counters.
    pub fn stats(&self) -> QueueStats {
        self.stats
    }

    /// How much of the limits is taken by what is held: [`QueueStats::share_of`].
    pub fn held_share(&self) -> f64 {
        self.stats.share_of(&self.limits)
    }

    fn leaves(&mut self, frame: Vec<u8>) {
        self.stats.held_bytes -= frame.len();
        self.stats.held_frames = self.held.len();
        self.stats.released_frames += 1;
        self.leaving.push_back(frame);
    }

    fn is_bare(&self, frame: &[u8]) -> bool {
        frame.get(self.head_bytes..).is_some_and(frame::is_bare)
    }

    fn count(&mut self, frame: &[u8]) {
        if self.is_bare(frame) {
            self.waiting.bare += 1;
            self.has_news |= self.tell_at.is_some() && matches!(self.waiting.bare, 1 | BARE_MANY);
        } else {
            self.waiting.answers += 1;
            self.has_news |= self.tell_at == Some(self.waiting.answers);
        }
    }

    /// Uncounts a frame of the open epoch that has left.
    fn count_off(&mut self, frame: &[u8]) {
        let kind = if self.is_bare(frame) { &mut self.waiting.bare } else { &mut self.waiting.answers };
        *kind = kind.saturating_sub(1);
        self.has_news &= self.waiting != Waiting::default();
    }

    fn near_limit(&self) -> bool {
        let percent = usize::from(self.limits.pressure_percent);
        self.stats.held_bytes * 100 > self.limits.bytes_max * percent
            || self.held.len() * 100 > self.limits.frames_max * percent
    }
}

#[cfg(test)]
mod tests;
