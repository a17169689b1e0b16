//! What waits for too long. The lists by age have the oldest first, so that only the first of each is looked at.

use super::Comparer;
use super::core::Core;
use super::mutant::Mutant;
use super::output::Why;
use super::table::{Kind, Slot};
use super::tcp::Verdict;
use super::waiting::{Age, Index};
use understudy_checkpoint::time::Time;

const AGES: [Age; 3] = [Age::Frames, Age::Acks, Age::Copies];

impl Comparer {
    /// When [`Comparer::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Time> {
        AGES.into_iter().filter_map(|age| due(&self.core, age)).map(|(due, _)| due).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.core.now = now;
        let Some(epoch) = self.core.comparable() else { return };
        if self.core.rules.lack(Mutant::TimeoutOff) {
            return;
        }
        for age in AGES {
            while let Some((_, oldest)) = due(&self.core, age).filter(|(due, _)| *due <= now) {
                let slot = self.table.slot(self.core.pool.entry(oldest).flow);
                let why = match age {
                    Age::Frames => Some(Why::Timeout),
                    Age::Acks => ack_expired(&self.core, slot, oldest),
                    Age::Copies => copy_expired(&self.core, slot, oldest),
                };
                match why {
                    Some(why) => {
                        give_up(&mut self.core, slot, why, oldest);
                        self.core.diverge(slot, why, epoch);
                    }
                    None => drop_one(&mut self.core, slot, oldest),
                }
            }
        }
    }
}

/// If the copy sends the same all the same, it was late, and not different.
fn give_up(core: &mut Core, slot: &Slot, why: Why, at: Index) {
    let (said, since) = (core.pool.entry(at).said, core.pool.entry(at).since);
    if why == Why::Timeout {
        let since = core.waits_since(since);
        core.patience.give_up(slot.tenant, said, since);
    }
}

/// The oldest of a list, if its epoch is compared, and when it has waited for too long.
fn due(core: &Core, age: Age) -> Option<(Time, Index)> {
    let epoch = core.comparable()?;
    let oldest = core.pool.oldest(age)?;
    let entry = core.pool.entry(oldest);
    let patience = match age {
        Age::Frames => core.patience(),
        Age::Acks => core.limits.ack_max,
        // Its counterpart may be of the epoch after the cut, which the next base answers for.
        Age::Copies if core.current > epoch => return None,
        Age::Copies => core.limits.silence_max,
    };
    (entry.epoch == epoch).then(|| (core.waits_since(entry.since) + patience, oldest))
}

/// An acknowledgement that lacks nothing but the copy's window says nothing that the other end needs.
fn ack_expired(core: &Core, slot: &Slot, at: Index) -> Option<Why> {
    let Kind::Tcp(stream) = &slot.kind else { return None };
    let entry = core.pool.entry(at);
    let needs_ack = stream.verdict(entry.stretch(), entry.order, false) == Verdict::NeedsAck;
    needs_ack.then_some(Why::Timeout)
}

/// A frame of the copy that was compared meanwhile is not missed.
fn copy_expired(core: &Core, slot: &Slot, at: Index) -> Option<Why> {
    let is_matched = match &slot.kind {
        Kind::Tcp(stream) => {
            let stretch = core.pool.entry(at).stretch();
            !stretch.is_reset() && stream.matched.is_some_and(|matched| !stretch.end().is_past(matched))
        }
        Kind::Datagrams => false,
    };
    (!is_matched).then_some(Why::Silent)
}

fn drop_one(core: &mut Core, slot: &mut Slot, at: Index) {
    let entry = core.pool.entry(at);
    if let (Age::Acks, Kind::Tcp(stream)) = (entry.queue.age(), &mut slot.kind) {
        stream.skip(entry.stretch());
    }
    core.pool.remove(&mut slot.queues, at);
}
