//! What the comparer's parts share beside the flows: which base is live, what waits, what is to be told, and the two ways in
//! which a frame leaves the comparison: it is released, or its flow is lost until the next base.

use super::Number;
use super::limits::Limits;
use super::mutant::{Mutant, Rules};
use super::output::{Divergence, FrameId, Output, Stats, Why};
use super::patience::Patience;
use super::table::{Kind, Lost, Slot};
use super::tcp::{Offer, Stretch, newer};
use super::waiting::{Pool, Queue, Queues, Said};
use crate::Patch;
use std::collections::VecDeque;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};

/// The copy that runs.
#[derive(Clone, Copy)]
pub(super) struct Live {
    pub(super) base: Epoch,
    since: Time,
}

pub(super) struct Core {
    pub(super) limits: Limits,
    pub(super) rules: Rules,
    pub(super) pool: Pool,
    pub(super) outputs: VecDeque<Output>,
    pub(super) stats: Stats,
    pub(super) now: Time,
    pub(super) live: Option<Live>,
    /// The base that was live last, and whether anything was released by it.
    base: Option<Epoch>,
    has_matched: bool,
    /// Counts bases: what a flow remembers of an earlier one is not valid.
    pub(super) round: u32,
    /// The epoch of frames that are sent now.
    pub(super) current: Epoch,
    /// Frames of this epoch and before have left.
    pub(super) acked: Option<Epoch>,
    pub(super) patience: Patience,
    /// In which round it was told that there is no room for a flow.
    told_no_flows: Option<u32>,
}

impl Core {
    pub(super) fn new(limits: Limits, rules: Rules) -> Self {
        Self {
            limits,
            rules,
            pool: Pool::new(limits.frames_max, limits.flow_frames_max, limits.bytes_max),
            outputs: VecDeque::new(),
            stats: Stats::default(),
            now: Time(0),
            live: None,
            base: None,
            has_matched: false,
            round: 0,
            current: Epoch(0),
            acked: None,
            patience: Patience::new(),
            told_no_flows: None,
        }
    }

    /// The only epoch whose frames may match.
    #[inline]
    pub(super) fn comparable(&self) -> Option<Epoch> {
        self.live.map(|live| live.base.next())
    }

    /// Whether a copy of `base` may be compared with: bases grow, and what a copy let out, a second one of its base does not
    /// contain.
    pub(super) fn may_live(&self, base: Epoch) -> bool {
        self.base.is_none_or(|last| base > last || (base == last && !self.has_matched))
    }

    pub(super) fn begin(&mut self, base: Epoch) {
        self.live = Some(Live { base, since: self.now });
        self.base = Some(base);
        self.has_matched = false;
        self.patience.begin();
        self.round = self.round.wrapping_add(1);
    }

    /// Brings what a flow remembers to the base that was live last.
    #[inline]
    pub(super) fn enter(&self, slot: &mut Slot) {
        if slot.round == self.round {
            return;
        }
        slot.round = self.round;
        let is_over = |lost: &Lost| self.base.is_some_and(|base| lost.through <= base);
        let over = slot.lost.as_deref().copied().filter(is_over);
        if let Kind::Tcp(stream) = &mut slot.kind {
            if let Some(lost) = over {
                stream.merge_lost(lost.end, lost.own);
            }
            stream.rebase();
        }
        if over.is_some() {
            slot.lost = None;
        }
    }

    /// How long a frame of the primary's guest waits before a checkpoint is asked for.
    pub(super) fn patience(&self) -> Span {
        self.patience.span(&self.limits)
    }

    /// Since when a frame waits for the live copy.
    #[inline]
    pub(super) fn waits_since(&self, arrived: Time) -> Time {
        self.live.map_or(arrived, |live| arrived.max(live.since))
    }

    #[inline]
    pub(super) fn release(&mut self, id: FrameId, arrived: Time, patch: Patch) {
        let patch = if self.rules.lack(Mutant::OldClocks) { Patch { clock: None, ..patch } } else { patch };
        let waited = self.now - self.waits_since(arrived);
        self.patience.seen(self.now, waited);
        self.stats.waited(waited);
        self.stats.released += 1;
        self.has_matched = true;
        if patch.is_empty() {
            self.outputs.push_back(Output::Release(id));
        } else {
            self.stats.patched += 1;
            self.outputs.push_back(Output::ReleaseAs(id, patch));
        }
    }

    /// Nothing of this flow is compared until a base at or after `through`.
    pub(super) fn diverge(&mut self, slot: &mut Slot, why: Why, through: Epoch) {
        let is_first = slot.lost.is_none();
        let mut lost = slot.lost.take().unwrap_or_default();
        lost.through = lost.through.max(through);
        self.empty(&mut slot.queues, &slot.kind, &mut lost);
        slot.lost = Some(lost);
        if is_first {
            self.tell(Divergence { flow: slot.key.flow(), why, through });
        }
    }

    fn empty(&mut self, queues: &mut Queues, kind: &Kind, lost: &mut Lost) {
        for queue in [Queue::Data, Queue::Acks] {
            while let Some(first) = self.pool.first(queues, queue) {
                if self.pool.entry(first).epoch > lost.through {
                    break;
                }
                if let (Kind::Tcp(stream), Said::Segment(stretch)) = (kind, self.pool.entry(first).said) {
                    lost.add(stretch, stream.offer(stretch));
                }
                self.pool.remove(queues, first);
            }
        }
        self.drop_copies(queues);
    }

    /// Forgets what the copy sent on a flow.
    pub(super) fn drop_copies(&mut self, queues: &mut Queues) {
        for queue in [Queue::Ahead, Queue::Staged] {
            while let Some(first) = self.pool.first(queues, queue) {
                self.pool.remove(queues, first);
            }
        }
    }

    /// There is no room for another flow.
    pub(super) fn no_flows(&mut self, divergence: Divergence) {
        if self.told_no_flows != Some(self.round) {
            self.told_no_flows = Some(self.round);
            self.tell(divergence);
        }
    }

    fn tell(&mut self, divergence: Divergence) {
        self.stats.diverged(divergence.why);
        self.outputs.push_back(Output::Diverged(divergence));
    }
}

impl Lost {
    /// One more frame of the primary's guest.
    pub(super) fn add(&mut self, stretch: Stretch, offer: Option<Offer>) {
        self.own = newer(self.own, offer);
        if !stretch.is_bare() && !stretch.is_reset() {
            let end = stretch.end();
            self.end = Some(self.end.map_or(end, |before: Number| before.or_later(end)));
        }
    }
}
