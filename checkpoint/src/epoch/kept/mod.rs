//! [`KeptEpochs`]: committed epochs of the past, to which the image can be read back. Of each is kept what differs from
//! the next.
//!
//! ```text
//!                 12 ────────────► 17 ────────────► 23 ────────────► 24, the image
//!   kept          before 13..=17   before 18..=23   before 24        everything
//!
//!   frame f at 12 = the first of these that has f, from 12 on
//! ```
//!
//! Memory is bounded by numbers and by bytes; the oldest goes first. An epoch that is pinned, since somebody
//! reads it, goes only for lack of bytes. One that is kept for a reader alone does not count among the numbers, so reading
//! shortens no history; it goes once it is neither pinned nor the newest. A full sync ends them all, since it writes over
//! the image.
//!
//! Not here: when an epoch is to be kept, which is a question of time; and the image, which each call is given.

mod before;
mod forget;
#[cfg(test)]
mod tests;

use super::Staging;
use crate::domain::{DomainState, Sink};
use crate::room::{self, OutOfMemory};
use crate::{Epoch, PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use before::{Before, Packer};
use std::collections::{HashMap, VecDeque};

/// Frames that one call of [`KeptEpochs::read`] looks at in search of some that are not absent.
const LOOKED_AT_MAX: u64 = 1 << 16;

/// What may be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepLimits {
    /// The number of epochs; with 0 only one that is pinned.
    pub epochs_max: usize,
    /// Bytes of memory for all of them.
    pub bytes_max: usize,
}

/// An epoch that is not kept, or not any more.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotKept {
    /// There is no image.
    #[error("nothing is committed yet")]
    Nothing,
    /// Nobody kept it, or it was too old.
    #[error("epoch {0} is not kept")]
    Other(Epoch),
    /// It went while it was read.
    #[error(
        "epoch {0} went while it was read: the guest changed more than `keep-bytes-max` has room for, or was copied in full"
    )]
    Outgrown(Epoch),
}

/// A kept epoch.
#[derive(Debug)]
struct Kept {
    epoch: Epoch,
    at_unix_ns: u64,
    /// Somebody wanted to read it; it is no part of the history.
    for_reader: bool,
    state: DomainState,
    /// What the frames held that have changed from here to the next kept epoch.
    before: HashMap<Pfn, (PageType, Before)>,
}

impl Kept {
    fn bytes(&self) -> usize {
        let frames: usize = self.before.values().map(|(_, before)| before.bytes()).sum();
        self.state.libxc.len() + self.state.libxl.len() + frames
    }
}

/// Epochs of the past.
#[derive(Debug)]
pub struct KeptEpochs {
    limits: KeepLimits,
    /// Oldest first.
    epochs: VecDeque<Kept>,
    bytes: usize,
    pinned: Option<Epoch>,
    packer: Packer,
}

impl KeptEpochs {
    pub(super) fn new(limits: KeepLimits) -> Self {
        Self { limits, epochs: VecDeque::new(), bytes: 0, pinned: None, packer: Packer::default() }
    }

    /// The history, oldest first: each epoch with the time at which it was kept (nanoseconds since 1970).
    pub fn list(&self) -> impl DoubleEndedIterator<Item = (Epoch, u64)> {
        self.epochs.iter().filter(|kept| !kept.for_reader).map(|kept| (kept.epoch, kept.at_unix_ns))
    }

    /// Bytes of memory in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops all of them.
    pub(super) fn clear(&mut self) {
        self.epochs.clear();
        self.bytes = 0;
    }

    /// Called before a commit writes a frame of `image`. If memory runs out, no epoch is kept any more.
    pub(super) fn before(&mut self, pfn: Pfn, image: &impl Sink) {
        let Some(newest) = self.epochs.back_mut() else { return };
        if newest.before.contains_key(&pfn) {
            return;
        }
        let reserved = newest.before.try_reserve(1).map_err(|_| OutOfMemory);
        let Ok(before) = reserved.and_then(|()| Before::of(image.page(pfn))) else { return self.clear() };
        self.bytes += before.bytes();
        newest.before.insert(pfn, (image.page_type(pfn), before));
        self.shrink();
    }

    /// Keeps the epoch of `image`, as a part of the history.
    pub(super) fn keep(&mut self, epoch: Epoch, at_unix_ns: u64, image: &impl Sink) {
        self.push(epoch, at_unix_ns, false, image);
    }

    fn push(&mut self, epoch: Epoch, at_unix_ns: u64, for_reader: bool, image: &impl Sink) {
        if let Some(newest) = self.epochs.back_mut().filter(|newest| newest.epoch == epoch) {
            if newest.for_reader && !for_reader {
                (newest.for_reader, newest.at_unix_ns) = (false, at_unix_ns);
            }
            return self.shrink();
        }
        let mut state = DomainState::default();
        let copied = room::copy(&mut state.libxc, &image.state().libxc)
            .and_then(|()| room::copy(&mut state.libxl, &image.state().libxl));
        if copied.and_then(|()| self.pack(image)).is_err() {
            return self.clear();
        }
        let kept = Kept { epoch, at_unix_ns, for_reader, state, before: HashMap::new() };
        self.bytes += kept.bytes();
        self.epochs.push_back(kept);
        self.forget_read(image);
        self.shrink();
    }

    /// Makes what the newest epoch holds smaller: the next one, which is `image`, follows.
    fn pack(&mut self, image: &impl Sink) -> Result<(), OutOfMemory> {
        let Some(newest) = self.epochs.back_mut() else { return Ok(()) };
        for (pfn, (_, before)) in &mut newest.before {
            let whole = before.bytes();
            before.pack(image.page(*pfn), &mut self.packer)?;
            self.bytes -= whole - before.bytes();
        }
        newest.before.shrink_to_fit();
        Ok(())
    }

    /// Drops the oldest until the limits hold.
    fn shrink(&mut self) {
        let is_pinned = |kept: &Kept| Some(kept.epoch) == self.pinned;
        let mut too_many = self.list().count().saturating_sub(self.limits.epochs_max);
        while let Some(oldest) = self.epochs.front()
            && (self.bytes > self.limits.bytes_max || (too_many > 0 && !is_pinned(oldest)))
        {
            too_many = too_many.saturating_sub(usize::from(!oldest.for_reader));
            self.bytes -= oldest.bytes();
            self.epochs.pop_front();
        }
    }

    /// Keeps an epoch for as long as somebody reads it: `epoch`, or that of `image`. One at a time.
    pub(super) fn pin(
        &mut self,
        epoch: Option<Epoch>,
        committed: Epoch,
        at_unix_ns: u64,
        image: &impl Sink,
    ) -> Result<Epoch, NotKept> {
        let wanted = epoch.unwrap_or(committed);
        if wanted == committed {
            self.push(committed, at_unix_ns, true, image);
        }
        self.position(wanted).ok_or(NotKept::Other(wanted))?;
        self.pinned = Some(wanted);
        self.forget_read(image);
        self.shrink();
        self.position(wanted).map(|_| wanted).ok_or(NotKept::Outgrown(wanted))
    }

    /// Nobody reads the pinned epoch any more.
    pub(super) fn unpin(&mut self, image: &impl Sink) {
        self.pinned = None;
        if self.limits.epochs_max == 0 {
            self.clear();
        }
        self.forget_read(image);
        self.shrink();
    }

    fn position(&self, epoch: Epoch) -> Option<usize> {
        self.epochs.binary_search_by_key(&epoch, |kept| kept.epoch).ok()
    }

    /// The state at a kept epoch.
    pub fn state(&self, epoch: Epoch) -> Result<&DomainState, NotKept> {
        let position = self.position(epoch).ok_or(NotKept::Outgrown(epoch))?;
        Ok(&self.epochs[position].state)
    }

    /// Copies frames of a kept epoch that are not absent, from `from` on, ascending, into the emptied `staging`: those of
    /// the first block of frames that has any. A block is as many frames as the staging has room for, aligned. Returns
    /// the frame to go on from, or `None` at the end. May stage nothing and go on, lest a guest with large holes takes
    /// long.
    pub(super) fn read(
        &self,
        epoch: Epoch,
        from: Pfn,
        page_count: u64,
        image: &impl Sink,
        staging: &mut Staging,
    ) -> Result<Option<Pfn>, NotKept> {
        let position = self.position(epoch).ok_or(NotKept::Outgrown(epoch))?;
        staging.clear();
        let (block, mut pfn, mut page) = (staging.capacity() as u64, from.0, [0; PAGE_SIZE]);
        let look_until = page_count.min(from.0.saturating_add(LOOKED_AT_MAX));
        while pfn < look_until && staging.entries().is_empty() {
            let end = page_count.min((pfn / block + 1) * block);
            for frame in (pfn..end).map(Pfn) {
                let page_type = self.page_type(position, frame, image);
                if page_type == PageType::Absent {
                    continue;
                }
                let room = staging.extend([PageEntry::new(frame, page_type)]);
                if let Some(room) = room.first_mut() {
                    assert!(self.content(position, frame, image, &mut page), "its type carries data");
                    *room = page;
                }
            }
            pfn = end;
        }
        Ok((pfn < page_count).then_some(Pfn(pfn)))
    }

    fn page_type(&self, position: usize, pfn: Pfn, image: &impl Sink) -> PageType {
        let kept = self.epochs.range(position..).find_map(|kept| kept.before.get(&pfn));
        kept.map_or_else(|| image.page_type(pfn), |(page_type, _)| *page_type)
    }

    /// Reads the content of a frame at the kept epoch at `position`; returns whether there is any.
    fn content(&self, position: usize, pfn: Pfn, image: &impl Sink, page: &mut Page) -> bool {
        let kept = self.epochs.range(position..).zip(position..);
        let mut found = kept.filter_map(|(kept, at)| Some((&kept.before.get(&pfn)?.1, at)));
        match found.next() {
            Some((before, at)) => before.read(page, |page| self.content(at + 1, pfn, image, page)),
            None => image.page(pfn).map(|now| *page = *now).is_some(),
        }
    }
}
