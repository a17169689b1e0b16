//! Which frames of a TCP flow that wait may leave, and what goes with them.

use super::core::Core;
use super::mutant::Mutant;
use super::output::Output;
use super::tcp::{Stream, Stretch, Verdict};
use super::waiting::{Index, Queue, Queues};
use crate::Patch;

/// Lets leave what may.
pub(super) fn settle(core: &mut Core, stream: &mut Stream, queues: &mut Queues) {
    let Some(epoch) = core.comparable() else { return };
    let is_rule_off = core.rules.lack(Mutant::AckRuleOff);
    while let Some(first) = core.pool.first(queues, Queue::Data) {
        let entry = core.pool.entry(first);
        let (stretch, order) = (entry.stretch(), entry.order);
        let is_matched = if stretch.is_reset() { entry.is_paired } else { stream.has_matched(stretch) };
        if entry.epoch != epoch || !is_matched {
            break;
        }
        let Verdict::Leaves(patch) = stream.verdict(stretch, order, is_rule_off) else { break };
        leave(core, stream, queues, first, patch);
    }
    let mut next = core.pool.first(queues, Queue::Acks);
    while let Some(at) = next {
        next = core.pool.after(at);
        let entry = core.pool.entry(at);
        let (stretch, order) = (entry.stretch(), entry.order);
        if entry.epoch != epoch {
            break;
        }
        match stream.verdict(stretch, order, is_rule_off) {
            Verdict::Leaves(patch) => leave(core, stream, queues, at, patch),
            Verdict::NeedsAck => {
                // The last one stays: it tells the rest once the copy has received that, too.
                let Some(patch) = next.and_then(|_| stream.news_of_copy(stretch, order)) else { break };
                leave(core, stream, queues, at, patch);
            }
            Verdict::NeedsWindow => {}
        }
    }
}

#[inline]
fn leave(core: &mut Core, stream: &mut Stream, queues: &mut Queues, at: Index, patch: Patch) {
    let entry = core.pool.entry(at);
    let (id, since, order) = (entry.id, entry.since, entry.order);
    let patch = stream.left_by_match(entry.stretch(), order, patch);
    core.pool.remove(queues, at);
    core.release(id, since, patch);
    outdate(core, stream, queues, order);
}

/// A frame leaves: bare acknowledgements that were sent before it and wait say nothing that it does not say, and their time
/// stamps and numbers are older, so that nobody would take them (RFC 7323, section 5.3; RFC 9293, section 3.10.7.4). What it had to
/// leave out is told once the copy has it, too (`acknowledge`).
#[inline]
pub(super) fn outdate(core: &mut Core, stream: &mut Stream, queues: &mut Queues, order: u64) {
    if core.rules.lack(Mutant::OldClocks) {
        return;
    }
    while let Some(first) =
        core.pool.first(queues, Queue::Acks).filter(|at| core.pool.entry(*at).order < order)
    {
        let entry = core.pool.entry(first);
        stream.skip(entry.stretch());
        core.stats.outdated += 1;
        core.outputs.push_back(Output::Outdated(entry.id));
        core.pool.remove(queues, first);
    }
}

impl Stream {
    #[inline]
    pub(super) fn has_matched(&self, stretch: Stretch) -> bool {
        self.matched.is_some_and(|matched| !stretch.end().is_past(matched))
    }
}
