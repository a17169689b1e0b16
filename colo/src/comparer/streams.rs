//! Frames of TCP flows, of either guest, as they arrive: compared at once, or kept.
//!
//! Not here: how streams are compared and what a frame may promise (`tcp`), and which frames that wait may leave (`leaving`).

use super::acknowledge;
use super::core::Core;
use super::head::Head;
use super::leaving::{outdate, settle};
use super::output::{FrameId, Full, Output, Why};
use super::table::{Kind, Slot};
use super::tcp::{Arriving, Difference, Side, Stream, Stretch, Verdict};
use super::uses::{CopyAck, CopyNumber};
use super::waiting::{New, Queue, Queues, Said};
use super::{Number, mutant::Mutant};
use crate::Part;
use crate::handshake::{Handshake, Opening};
use crate::packet::Segment;
use understudy_checkpoint::Epoch;

/// Which frame of the primary's guest.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) id: FrameId,
    pub(super) epoch: Epoch,
}

/// A frame of a flow that arrives.
struct Work<'a> {
    core: &'a mut Core,
    stream: &'a mut Stream,
    queues: &'a mut Queues,
    at: u32,
    stretch: Stretch,
    bytes: &'a [u8],
}

/// Why a frame is not compared any more.
enum Stop {
    Differs(Difference),
    Full(Full),
}

impl From<Difference> for Stop {
    fn from(difference: Difference) -> Self {
        Self::Differs(difference)
    }
}

impl From<Full> for Stop {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl Stop {
    fn why(self) -> Why {
        match self {
            Self::Differs(Difference(why)) => why,
            Self::Full(full) => Why::Full(full),
        }
    }
}

/// A frame of the primary's guest.
pub(super) fn primary(
    core: &mut Core,
    slot: &mut Slot,
    at: u32,
    sent: Sent,
    segment: &Segment<'_>,
    frame: &[u8],
) {
    let (stretch, bytes) = Stretch::of(segment, frame);
    let Slot { kind: Kind::Tcp(stream), queues, lost, key, head, .. } = slot else { return };
    let stamps = segment.options.timestamps().map(|(stamps, _)| stamps);
    let mut stretch = stretch.at(stamps.map(|stamps| Number(stamps.value)));
    Head::renew(head, || key.flow(), segment, stamps, frame);
    if stretch.is_syn() && stream.opened != Some(stretch.begin) {
        open(core, stream, queues, segment, stretch);
        if let Some(lost) = lost {
            (lost.end, lost.own) = (None, None);
        }
        core.outputs
            .extend(Opening::of(segment).map(|opening| {
                Output::Handshake(Handshake { epoch: sent.epoch, flow: key.flow(), opening })
            }));
    }
    stream.guest_says(&mut stretch);
    if let Some(lost) = lost.as_mut().filter(|lost| sent.epoch <= lost.through) {
        return lost.add(stretch, stream.offer(stretch));
    }
    if core.acked.is_some_and(|acked| sent.epoch <= acked) {
        return stream.left_by_ack(stretch);
    }
    let is_compared = lost.is_none() && core.comparable() == Some(sent.epoch);
    let mut work = Work { core, stream, queues, at, stretch, bytes };
    let outcome =
        if is_compared { work.compare_primary(sent) } else { work.keep_primary(sent).map_err(Stop::from) };
    if let Err(stop) = outcome {
        core.diverge(slot, stop.why(), sent.epoch);
        let (Kind::Tcp(stream), Some(lost)) = (&slot.kind, &mut slot.lost) else { return };
        lost.add(stretch, stream.offer(stretch));
    }
}

/// A frame of the live copy.
pub(super) fn copy(
    core: &mut Core,
    slot: &mut Slot,
    at: u32,
    number: CopyNumber,
    segment: &Segment<'_>,
    frame: &[u8],
) {
    let (stretch, bytes) = Stretch::of(segment, frame);
    let Slot { kind: Kind::Tcp(stream), queues, .. } = slot else { return };
    let Some(epoch) = core.comparable() else { return };
    let mut work = Work { core, stream, queues, at, stretch, bytes };
    let outcome = work.compare_copy(number, epoch);
    let ack = work.copy_ack();
    core.pool.uses.end(number, core.pool.order(), ack);
    match outcome {
        Ok(()) => acknowledge::ask(core, slot),
        Err(stop) => core.diverge(slot, stop.why(), epoch),
    }
}

/// The guest opens a connection with numbers of its own. What waits of an earlier one leaves by its epoch's ack.
fn open(core: &mut Core, stream: &mut Stream, queues: &mut Queues, segment: &Segment<'_>, stretch: Stretch) {
    for queue in [Queue::Data, Queue::Acks, Queue::Ahead] {
        while let Some(first) = core.pool.first(queues, queue) {
            core.pool.remove(queues, first);
        }
    }
    while let Some(first) = core.pool.first(queues, Queue::Staged) {
        if core.pool.entry(first).stretch().is_syn() {
            break;
        }
        core.pool.remove(queues, first);
    }
    stream.open(stretch, segment.options);
}

impl Stream {
    /// Whether the guest's SYN waits for the copy's.
    pub(super) fn awaits_syn(&self) -> bool {
        self.opened.is_some() && self.opened == self.matched
    }
}

impl Work<'_> {
    fn put(&mut self, queue: Queue, sent: Sent, bytes: &[u8]) -> Result<(), Full> {
        let new = New {
            flow: self.at,
            queue,
            said: Said::Segment(self.stretch),
            id: sent.id,
            epoch: sent.epoch,
            since: self.core.now,
        };
        self.core.pool.put(self.queues, new, bytes)
    }

    fn advance(&mut self, epoch: Epoch, side: Option<Side>) -> Result<(), Difference> {
        let arriving = side.map(|side| Arriving { side, stretch: self.stretch, bytes: self.bytes });
        self.core.pool.is_guest_arriving = side == Some(Side::Primary);
        let outcome = self.stream.advance(&mut self.core.pool, self.queues, epoch, arriving, self.core.rules);
        self.core.pool.is_guest_arriving = false;
        // What lies before a difference is equal.
        settle(self.core, self.stream, self.queues);
        outcome
    }

    /// A frame whose epoch may not match now.
    fn keep_primary(&mut self, sent: Sent) -> Result<(), Full> {
        self.begin_stream();
        let queue = if self.stretch.is_bare() { Queue::Acks } else { Queue::Data };
        self.put(queue, sent, self.bytes)
    }

    /// Where a stream begins whose SYN was not seen; whether it did.
    fn begin_stream(&mut self) -> bool {
        let is_first = self.stream.matched.is_none() && !self.stretch.is_bare() && !self.stretch.is_reset();
        if is_first {
            self.stream.matched = Some(self.stretch.begin);
        }
        is_first
    }

    fn compare_primary(&mut self, sent: Sent) -> Result<(), Stop> {
        if self.begin_stream() || self.stretch.is_syn() {
            self.unstage()?;
        }
        let stretch = self.stretch;
        if stretch.is_reset() {
            return self.compare_reset(sent);
        }
        let copy_is_ahead = self.queues[Queue::Ahead as usize].count > 0;
        if copy_is_ahead && self.stream.matched.is_some_and(|matched| stretch.covers(matched)) {
            self.advance(sent.epoch, Some(Side::Primary))?;
        }
        // What only repeats, or is bare, overtakes what waits: the other end may lack it, and the copy may send no more until
        // the other end has it.
        let (queue, may_leave) = match stretch.is_bare() {
            true => (Queue::Acks, true),
            false => (Queue::Data, self.stream.has_matched(stretch)),
        };
        if may_leave && self.leaves_at_once(sent) {
            return Ok(());
        }
        let bytes = if self.stream.has_matched(stretch) { &[] } else { self.bytes };
        Ok(self.put(queue, sent, bytes)?)
    }

    /// A frame of the guest for which nothing else is to be waited; whether it left.
    fn leaves_at_once(&mut self, sent: Sent) -> bool {
        let order = self.core.pool.next_order();
        let verdict = self.stream.verdict(self.stretch, order, self.core.rules.lack(Mutant::AckRuleOff));
        let Verdict::Leaves(patch) = verdict else { return false };
        let patch = self.stream.left_by_match(self.stretch, order, patch);
        self.core.release(sent.id, self.core.now, patch);
        outdate(self.core, self.stream, self.queues, order);
        true
    }

    fn compare_reset(&mut self, sent: Sent) -> Result<(), Stop> {
        let (pool, queues) = (&self.core.pool, &*self.queues);
        let arriving = Arriving { side: Side::Primary, stretch: self.stretch, bytes: self.bytes };
        let twin = self.stream.find_reset(pool, queues, arriving, sent.epoch);
        if self.stream.matched.is_none() {
            self.check_crossing(Queue::Staged, sent.epoch)?;
        }
        self.put(Queue::Data, sent, self.bytes)?;
        if let Some(twin) = twin {
            self.core.pool.remove(self.queues, twin);
            self.core.pool.pair_last(self.queues, Queue::Data);
        }
        Ok(self.advance(sent.epoch, None)?)
    }

    /// What the copy's frame acknowledges, after it was compared or kept.
    fn copy_ack(&self) -> Option<CopyAck> {
        let ack = self.stretch.ack()?;
        let staged = self.core.pool.first(self.queues, Queue::Staged);
        let is_of_next = staged.is_some_and(|first| self.core.pool.entry(first).stretch().is_syn());
        Some(CopyAck { ack, connection: self.stream.connection.wrapping_add(is_of_next.into()) })
    }

    fn compare_copy(&mut self, number: CopyNumber, epoch: Epoch) -> Result<(), Stop> {
        let stretch = self.stretch;
        let kept = Sent { id: FrameId(number.0), epoch };
        let is_new = stretch.is_syn() && self.stream.opened != Some(stretch.begin);
        if is_new && self.stream.awaits_syn() && self.primary_waits(epoch) {
            return Err(Difference(Why::Handshake { at: stretch.begin }).into());
        }
        // A reset stands by itself, unless it is that of a connection which waits to be placed.
        let staged = self.core.pool.first(self.queues, Queue::Staged);
        let is_next = |first| !stretch.is_reset() || self.core.pool.entry(first).stretch().is_syn();
        if is_new || staged.is_some_and(is_next) {
            return Ok(self.put(Queue::Staged, kept, self.bytes)?);
        }
        self.stream.copy_offers(stretch);
        if stretch.is_bare() {
            settle(self.core, self.stream, self.queues);
            return Ok(());
        }
        if stretch.is_reset() {
            let arriving = Arriving { side: Side::Copy, stretch, bytes: self.bytes };
            let twin = self.stream.find_reset(&self.core.pool, self.queues, arriving, epoch);
            match twin {
                Some(twin) => self.core.pool.pair(twin),
                None => self.put(Queue::Ahead, kept, self.bytes)?,
            }
            return Ok(self.advance(epoch, None)?);
        }
        let Some(matched) = self.stream.matched else {
            self.check_crossing(Queue::Data, epoch)?;
            return Ok(self.put(Queue::Staged, kept, self.bytes)?);
        };
        if stretch.covers(matched) {
            self.advance(epoch, Some(Side::Copy))?;
        } else {
            settle(self.core, self.stream, self.queues);
        }
        if self.stream.has_matched(stretch) || self.is_repeated() {
            if !stretch.covers(matched) {
                self.core.stats.unneeded += 1;
                self.release_part();
            }
            return Ok(());
        }
        Ok(self.put(Queue::Ahead, kept, self.bytes)?)
    }

    /// The copy sends again what was matched, so that it waits for the world to acknowledge it. If that is a part of a frame that
    /// waits for more, it leaves: a copy whose congestion window holds no more would never send the rest.
    fn release_part(&mut self) {
        let Some(matched) = self.stream.matched else { return };
        let first = self.core.pool.first(self.queues, Queue::Data).map(|at| *self.core.pool.entry(at));
        let Some(first) = first.filter(|first| Some(first.epoch) == self.core.comparable()) else { return };
        let Some((part, from)) = first.stretch().part(self.stretch, matched) else { return };
        let verdict = self.stream.verdict(part, first.order, self.core.rules.lack(Mutant::AckRuleOff));
        let Verdict::Leaves(patch) = verdict else { return };
        let patch = self.stream.left_by_match(part, first.order, patch);
        self.core.stats.parts += 1;
        let part = Part { from, bytes: part.payload_bytes(), patch };
        self.core.outputs.push_back(Output::ReleasePart(first.id, part));
        outdate(self.core, self.stream, self.queues, first.order);
    }

    fn primary_waits(&self, epoch: Epoch) -> bool {
        let first = self.core.pool.first(self.queues, Queue::Data);
        first.is_some_and(|first| self.core.pool.entry(first).epoch == epoch)
    }

    /// Nothing is known of the guest's stream but a reset, which stands where the guest would go on: a copy that sends what lies
    /// beyond it goes on without the guest.
    fn check_crossing(&self, others: Queue, epoch: Epoch) -> Result<(), Difference> {
        let own = self.stretch;
        let mut next = self.core.pool.first(self.queues, others);
        while let Some(at) = next {
            let entry = self.core.pool.entry(at);
            let other = entry.stretch();
            let (reset, goes_on) = if own.is_reset() { (own, other) } else { (other, own) };
            let is_crossed = reset.is_reset() && !goes_on.is_reset() && goes_on.end().is_past(reset.begin);
            if is_crossed && !entry.is_paired && entry.epoch == epoch {
                return Err(Difference(Why::Reset { at: reset.begin }));
            }
            next = self.core.pool.after(at);
        }
        Ok(())
    }

    /// Whether all of it waits already.
    fn is_repeated(&self) -> bool {
        let pool = &self.core.pool;
        let contains = |at| {
            let other = pool.entry(at).stretch();
            !other.is_reset()
                && !other.begin.is_past(self.stretch.begin)
                && !self.stretch.end().is_past(other.end())
        };
        let is_after = |last| !pool.entry(last).stretch().end().is_past(self.stretch.begin);
        if pool.last(self.queues, Queue::Ahead).is_none_or(is_after) {
            return false;
        }
        let mut next = pool.first(self.queues, Queue::Ahead);
        while let Some(at) = next {
            if contains(at) {
                return true;
            }
            next = pool.after(at);
        }
        false
    }

    /// The guest's stream is known: what the copy sent of it before takes its place.
    fn unstage(&mut self) -> Result<(), Stop> {
        while let Some(first) = self.core.pool.first(self.queues, Queue::Staged) {
            let staged = self.core.pool.entry(first).stretch();
            let opened: Option<Number> = self.stream.opened;
            if staged.is_syn() && opened != Some(staged.begin) {
                return Err(Difference(Why::Handshake { at: staged.begin }).into());
            }
            self.stream.copy_offers(staged);
            self.core.pool.transfer(self.queues, first, Queue::Ahead);
        }
        Ok(())
    }
}
