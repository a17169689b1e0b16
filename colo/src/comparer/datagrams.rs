//! What is equal when its bytes are: UDP, ICMP, ARP, fragments, signed TCP, and all that is not understood. In any order
//! within a flow: networks promise none.

use super::core::Core;
use super::mutant::Mutant;
use super::output::{FrameId, Why};
use super::streams::Sent;
use super::table::Slot;
use super::uses::CopyNumber;
use super::waiting::{Index, New, Queue, Said};
use crate::Patch;
use crate::packet::Datagram;

/// A frame of the primary's guest.
pub(super) fn primary(core: &mut Core, slot: &mut Slot, at: u32, sent: Sent, datagram: Datagram<'_>) {
    if slot.lost.as_ref().is_some_and(|lost| sent.epoch <= lost.through)
        || core.acked.is_some_and(|acked| sent.epoch <= acked)
    {
        return;
    }
    let print = print(datagram);
    if slot.lost.is_none()
        && core.comparable() == Some(sent.epoch)
        && let Some(twin) = find(core, slot, Queue::Ahead, datagram, print)
    {
        core.pool.remove(&mut slot.queues, twin);
        return core.release(sent.id, core.now, Patch::default());
    }
    put(core, slot, at, Queue::Data, sent, datagram, print);
}

/// A frame of the live copy.
pub(super) fn copy(core: &mut Core, slot: &mut Slot, at: u32, number: CopyNumber, datagram: Datagram<'_>) {
    let Some(epoch) = core.comparable() else { return };
    let print = print(datagram);
    match find(core, slot, Queue::Data, datagram, print) {
        Some(twin) => {
            let (id, since) = (core.pool.entry(twin).id, core.pool.entry(twin).since);
            core.pool.remove(&mut slot.queues, twin);
            core.release(id, since, Patch::default());
        }
        None => put(core, slot, at, Queue::Ahead, Sent { id: FrameId(number.0), epoch }, datagram, print),
    }
}

fn put(
    core: &mut Core,
    slot: &mut Slot,
    at: u32,
    queue: Queue,
    sent: Sent,
    datagram: Datagram<'_>,
    print: u64,
) {
    let said = Said::Datagram { head: datagram.head, print };
    let new = New { flow: at, queue, said, id: sent.id, epoch: sent.epoch, since: core.now };
    if let Err(full) = core.pool.put(&mut slot.queues, new, datagram.body) {
        core.diverge(slot, Why::Full(full), sent.epoch);
    }
}

fn find(core: &Core, slot: &Slot, queue: Queue, datagram: Datagram<'_>, print: u64) -> Option<Index> {
    let epoch = core.comparable();
    let by_length = core.rules.lack(Mutant::LengthOnly);
    let mut next = core.pool.first(&slot.queues, queue);
    while let Some(at) = next {
        let entry = core.pool.entry(at);
        if queue == Queue::Data && Some(entry.epoch) != epoch {
            return None;
        }
        let is_same = match entry.said {
            _ if by_length => core.pool.bytes_of(at).len() == datagram.body.len(),
            Said::Datagram { head, print: other } => {
                print == other && head == datagram.head && core.pool.bytes_of(at) == datagram.body
            }
            Said::Segment(_) => false,
        };
        if is_same {
            return Some(at);
        }
        next = core.pool.after(at);
    }
    None
}

/// What tells most datagrams of a flow apart without looking at all of their bytes.
pub(super) fn print(datagram: Datagram<'_>) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let body = datagram.body;
    let word = |at: usize| {
        body.get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes: &[u8; 8]| u64::from_le_bytes(*bytes))
    };
    let words =
        [word(0), word(8), word(body.len().saturating_sub(8)), u64::from(u32::from_le_bytes(datagram.head))];
    words.into_iter().fold(body.len() as u64, |mixed, word| (mixed ^ word).wrapping_mul(ODD).rotate_left(29))
}
