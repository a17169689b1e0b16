//! Both streams are compared from where they are equal, as far as both were sent.

use super::{CONGESTION_FLAGS, Difference, Flags, Number, Stream, Stretch};
use crate::comparer::mutant::{Mutant, Rules};
use crate::comparer::output::Why;
use crate::comparer::waiting::{Index, Pool, Queue, Queues};
use crate::packet::Options;
use understudy_checkpoint::Epoch;

/// Whose frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Side {
    Primary,
    Copy,
}

/// A frame that arrives and is not kept, or not yet.
#[derive(Clone, Copy)]
pub(in super::super) struct Arriving<'a> {
    pub(in super::super) side: Side,
    pub(in super::super) stretch: Stretch,
    pub(in super::super) bytes: &'a [u8],
}

/// What a segment has at a number.
#[derive(Clone, Copy)]
enum At<'a> {
    Syn(Options<'a>),
    Bytes(&'a [u8]),
    Fin,
}

impl<'a> At<'a> {
    #[inline]
    fn of(stretch: Stretch, bytes: &'a [u8], number: Number) -> Self {
        let (options, payload) = bytes.split_at(usize::from(stretch.option_bytes));
        let offset = number.since(stretch.begin) as usize;
        match offset.checked_sub(usize::from(stretch.is_syn())) {
            None => Self::Syn(Options(options)),
            Some(at) if at < payload.len() => Self::Bytes(&payload[at..]),
            Some(_) => Self::Fin,
        }
    }
}

impl Stream {
    /// Moves on as far as both guests' segments reach; the guest's are those of one epoch.
    #[inline]
    pub(in super::super) fn advance(
        &mut self,
        pool: &mut Pool,
        queues: &mut Queues,
        epoch: Epoch,
        arriving: Option<Arriving<'_>>,
        rules: Rules,
    ) -> Result<(), Difference> {
        let Some(mut matched) = self.matched else { return Ok(()) };
        let arriving = |side, number| arriving.filter(|one| one.side == side && one.stretch.covers(number));
        loop {
            self.matched = Some(matched);
            drop_matched(pool, queues, matched);
            let guest = match arriving(Side::Primary, matched) {
                Some(one) => Some((one.stretch, one.bytes)),
                None => covering(pool, queues, Queue::Data, matched, epoch).map(|at| kept(pool, at)),
            };
            let copy = match arriving(Side::Copy, matched) {
                Some(one) => Some((one.stretch, one.bytes)),
                None => covering(pool, queues, Queue::Ahead, matched, epoch).map(|at| kept(pool, at)),
            };
            let (Some(guest), Some(copy)) = (guest, copy) else {
                return self.check_resets(pool, queues, matched, guest.is_some(), copy.is_some());
            };
            matched = matched.plus(
                compare(guest, copy, matched, rules)
                    .inspect_err(|(equal, _)| {
                        self.matched = Some(matched.plus(*equal));
                    })
                    .map_err(|(_, why)| Difference(why))?,
            );
        }
    }

    /// One guest resets where the other goes on.
    fn check_resets(
        &self,
        pool: &Pool,
        queues: &Queues,
        matched: Number,
        guest_goes_on: bool,
        copy_goes_on: bool,
    ) -> Result<(), Difference> {
        let resets_here = |queue| {
            let mut next = pool.first(queues, queue);
            std::iter::from_fn(|| {
                let at = next?;
                next = pool.after(at);
                Some(pool.entry(at))
            })
            .any(|entry| {
                let stretch = entry.stretch();
                stretch.is_reset() && !entry.is_paired && stretch.begin == matched
            })
        };
        let is_broken = self.has_resets
            && ((guest_goes_on && resets_here(Queue::Ahead)) || (copy_goes_on && resets_here(Queue::Data)));
        if is_broken { Err(Difference(Why::Reset { at: matched })) } else { Ok(()) }
    }

    /// Looks for the other guest's reset at the same number with the same payload.
    pub(in super::super) fn find_reset(
        &mut self,
        pool: &Pool,
        queues: &Queues,
        one: Arriving<'_>,
        epoch: Epoch,
    ) -> Option<Index> {
        let queue = if one.side == Side::Primary { Queue::Ahead } else { Queue::Data };
        self.has_resets = true;
        let mut next = pool.first(queues, queue);
        while let Some(at) = next {
            let entry = pool.entry(at);
            let stretch = entry.stretch();
            let is_here = stretch.is_reset() && stretch.begin == one.stretch.begin;
            let is_of_epoch = queue == Queue::Ahead || entry.epoch == epoch;
            if is_here && is_of_epoch && !entry.is_paired && pool.bytes_of(at) == one.bytes {
                return Some(at);
            }
            next = pool.after(at);
        }
        None
    }
}

#[inline]
fn kept(pool: &Pool, at: Index) -> (Stretch, &[u8]) {
    (pool.entry(at).stretch(), pool.bytes_of(at))
}

#[inline]
fn covering(pool: &Pool, queues: &Queues, queue: Queue, matched: Number, epoch: Epoch) -> Option<Index> {
    let mut next = pool.first(queues, queue);
    while let Some(at) = next {
        let entry = pool.entry(at);
        if queue == Queue::Data && entry.epoch != epoch {
            return None;
        }
        if entry.stretch().covers(matched) {
            return Some(at);
        }
        next = pool.after(at);
    }
    None
}

/// Of the copy's frames, those that were compared.
#[inline]
fn drop_matched(pool: &mut Pool, queues: &mut Queues, matched: Number) {
    let mut next = pool.first(queues, Queue::Ahead);
    while let Some(at) = next {
        next = pool.after(at);
        let stretch = pool.entry(at).stretch();
        if !stretch.is_reset() && !stretch.end().is_past(matched) {
            pool.remove(queues, at);
        } else if stretch.covers(matched) {
            return;
        }
    }
}

/// How many numbers are equal from `matched` on; or how many are, and what is not.
#[inline]
fn compare(
    (guest, guest_bytes): (Stretch, &[u8]),
    (copy, copy_bytes): (Stretch, &[u8]),
    matched: Number,
    rules: Rules,
) -> Result<u32, (u32, Why)> {
    match (At::of(guest, guest_bytes, matched), At::of(copy, copy_bytes, matched)) {
        (At::Bytes(ours), At::Bytes(theirs)) => {
            let count = ours.len().min(theirs.len());
            if ours[..count] != theirs[..count] && !rules.lack(Mutant::LengthOnly) {
                let equal = ours.iter().zip(theirs).take_while(|(one, other)| one == other).count() as u32;
                return Err((equal, Why::Payload { at: matched.plus(equal) }));
            }
            if guest.urgent() != copy.urgent() {
                return Err((0, Why::Urgent { at: matched }));
            }
            Ok(count as u32)
        }
        (At::Fin, At::Fin) => Ok(1),
        (At::Syn(ours), At::Syn(theirs)) => {
            let flags = CONGESTION_FLAGS | Flags::ACK;
            if guest.flags & flags == copy.flags & flags && are_equal(ours, theirs) {
                Ok(1)
            } else {
                Err((0, Why::Handshake { at: matched }))
            }
        }
        (At::Syn(_), _) | (_, At::Syn(_)) => Err((0, Why::Handshake { at: matched })),
        (At::Fin, At::Bytes(_)) | (At::Bytes(_), At::Fin) => {
            if rules.lack(Mutant::EndIgnored) {
                return Ok(1);
            }
            Err((0, Why::End { at: matched }))
        }
    }
}

/// Whether two SYNs offer the same. Time stamps are each guest's own, and multipath's keys never leave.
fn are_equal(ours: Options<'_>, theirs: Options<'_>) -> bool {
    let offers = |options: Options<'_>, kind: u8, value: Option<&[u8]>| {
        options.iter().any(|one| one.kind == kind && value.is_none_or(|value| one.value == value))
    };
    let covers = |all: Options<'_>, some: Options<'_>| {
        some.iter().all(|one| match one.kind {
            Options::MULTIPATH => true,
            Options::TIMESTAMPS => offers(all, Options::TIMESTAMPS, None),
            kind => offers(all, kind, Some(one.value)),
        })
    };
    covers(ours, theirs) && covers(theirs, ours)
}
