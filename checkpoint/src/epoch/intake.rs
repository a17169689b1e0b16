//! Decodes a full sync's entries into the sink, and a delta's into its buffer.
//!
//! ```text
//!   delta of frame f   base = f in this epoch, else in the newest complete one that has it, else in the sink
//! ```

use super::buffer::{ENTRY_BYTES, EpochBuffer, Held, PagePool, ZERO_PAGE};
use super::refusal::ReceiveError;
use crate::domain::Sink;
use crate::pages::{Content, Digest, DirtyBitmap, Entries};
use crate::{PAGE_SIZE, Page, PageEntry, Pfn};
use std::collections::VecDeque;

/// Applies a full sync's entries to the sink.
pub(super) fn apply_seed<S: Sink>(
    entries: &mut Entries<'_>,
    sink: &mut S,
    covered: &mut DirtyBitmap,
    digest: &mut Digest,
) -> Result<(), ReceiveError> {
    let mut changed;
    while let Some((entry, content)) = entries.next()? {
        if let Some(count) = entries.begun_stretch().filter(|_| content != Content::None) {
            sink.expect_pages(entry.pfn(), count);
        }
        let page = match content {
            Content::None => None,
            Content::Zero => Some(&ZERO_PAGE),
            Content::Whole(page) => Some(page),
            Content::Delta => {
                let came = covered.get(entry.pfn());
                let base = sink.page(entry.pfn()).filter(|_| came);
                changed = *base.ok_or(ReceiveError::NoBasePage(entry.pfn()))?;
                entries.apply(entry.pfn(), &mut changed)?;
                Some(&changed)
            }
        };
        take_in(digest, entry, content, page);
        sink.apply_page(entry, page);
        covered.set(entry.pfn());
    }
    Ok(())
}

/// The state that a delta epoch builds on.
pub(super) struct Base<'a, S> {
    pub(super) complete: &'a VecDeque<EpochBuffer>,
    pub(super) sink: &'a S,
}

impl<'a, S: Sink> Base<'a, S> {
    pub(super) fn page(&self, pfn: Pfn, pool: &'a PagePool) -> Option<&'a Page> {
        match self.complete.iter().rev().find_map(|buffer| buffer.get(pfn)) {
            Some(held) => held.page(pool),
            None => self.sink.page(pfn),
        }
    }
}

/// How much memory the arriving epoch may still use.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) limit: usize,
    /// Bytes of other epochs besides page slots.
    pub(super) others: usize,
}

impl Room {
    /// Fails unless one more entry with a page fits. Called before anything is allocated for it.
    fn check(self, buffer: &EpochBuffer, pool: &PagePool) -> Result<(), ReceiveError> {
        let held = self.others + buffer.overhead_bytes() + pool.used_bytes();
        let fits = held + ENTRY_BYTES + PAGE_SIZE <= self.limit;
        if fits { Ok(()) } else { Err(ReceiveError::TooLarge(self.limit)) }
    }
}

/// Decodes a delta epoch's entries into its buffer.
pub(super) fn buffer_delta<S: Sink>(
    entries: &mut Entries<'_>,
    buffer: &mut EpochBuffer,
    base: &Base<'_, S>,
    pool: &mut PagePool,
    room: Room,
    digest: &mut Digest,
) -> Result<(), ReceiveError> {
    while let Some((entry, content)) = entries.next()? {
        room.check(buffer, pool)?;
        let held = match content {
            Content::None => Held::Nothing,
            Content::Zero => Held::Zero,
            Content::Whole(page) => {
                let slot = pool.take()?;
                *pool.page_mut(&slot) = *page;
                Held::Page(slot)
            }
            Content::Delta => {
                let before = match buffer.get(entry.pfn()) {
                    Some(held) => held.page(pool),
                    None => base.page(entry.pfn(), pool),
                };
                let mut page = *before.ok_or(ReceiveError::NoBasePage(entry.pfn()))?;
                entries.apply(entry.pfn(), &mut page)?;
                let slot = pool.take()?;
                *pool.page_mut(&slot) = page;
                Held::Page(slot)
            }
        };
        take_in(digest, entry, content, held.page(pool));
        buffer.set(entry, held, pool)?;
    }
    Ok(())
}

fn take_in(digest: &mut Digest, entry: PageEntry, content: Content<'_>, page: Option<&Page>) {
    match (content, page) {
        (Content::Zero, _) => digest.zero(entry),
        (_, Some(page)) => digest.page(entry, page),
        (_, None) => digest.no_data(entry),
    };
}
