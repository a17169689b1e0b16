//! Looks which of the copy's frames are used up. What that means is in [`Uses`](super::uses::Uses)' module.

use super::core::Core;
use super::table::{Kind, Table};
use super::uses::{Use, WAITS};
use super::waiting::{Pool, Queue};

/// Forgets what is used up.
#[inline]
pub(super) fn use_up(core: &mut Core, table: &mut Table) {
    while core.pool.uses.oldest().is_some_and(|one| is_used(core, table, one)) {
        core.pool.uses.advance();
    }
}

#[inline]
fn is_used(core: &Core, table: &Table, one: &Use) -> bool {
    let slot = table.slot_of(one.flow);
    if slot.tenant != one.tenant {
        return true;
    }
    if slot.lost.is_some() || one.through == WAITS {
        return false;
    }
    let Kind::Tcp(stream) = &slot.kind else { return true };
    let is_later = |pool: &Pool, first| {
        let entry = pool.entry(first);
        entry.order > one.through || Some(entry.epoch) != core.comparable()
    };
    let has_left = core.pool.first(&slot.queues, Queue::Data).is_none_or(|first| is_later(&core.pool, first));
    has_left && one.ack.is_none_or(|ack| stream.has_told(ack))
}
