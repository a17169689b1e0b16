//! The pages of one epoch on the secondary until its commit: entries by pfn, and contents in slots of a pool that all
//! epochs share.
//!
//! ```text
//!   epoch 7   index: pfn → position     entries: (pfn 3, slot 0) (pfn 9, zero) (pfn 12, no page)
//!   epoch 8   …                         entries: (pfn 3, slot 1)
//!   pool      [ slot 0 | slot 1 | free … ]
//! ```

use crate::domain::DomainState;
use crate::room::{OutOfMemory, reserve, reserve_exact};
use crate::{Epoch, PAGE_SIZE, Page, PageEntry, Pfn};
use std::collections::HashMap;

const CHUNK_PAGES: usize = 256;

/// Bytes of an entry besides its page: the entry and its place in the index, which is at most 7/16 empty.
pub(super) const ENTRY_BYTES: usize = 64;

pub(super) static ZERO_PAGE: Page = [0; PAGE_SIZE];

/// Page slots, allocated in chunks as needed and kept.
#[derive(Debug, Default)]
pub(super) struct PagePool {
    chunks: Vec<Box<[Page]>>,
    free: Vec<Slot>,
}

/// A slot of the pool. Its owner returns it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

impl PagePool {
    pub(super) fn take(&mut self) -> Result<Slot, OutOfMemory> {
        if self.free.is_empty() {
            let first = (self.chunks.len() * CHUNK_PAGES) as u32;
            let mut pages: Vec<Page> = Vec::new();
            reserve_exact(&mut pages, CHUNK_PAGES)?;
            reserve(&mut self.chunks, 1)?;
            reserve(&mut self.free, CHUNK_PAGES)?;
            pages.resize(CHUNK_PAGES, ZERO_PAGE);
            self.chunks.push(pages.into_boxed_slice());
            self.free.extend((first..first + CHUNK_PAGES as u32).rev().map(Slot));
        }
        Ok(self.free.pop().expect("just filled"))
    }

    pub(super) fn give_back(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    pub(super) fn page(&self, slot: &Slot) -> &Page {
        &self.chunks[slot.0 as usize / CHUNK_PAGES][slot.0 as usize % CHUNK_PAGES]
    }

    pub(super) fn page_mut(&mut self, slot: &Slot) -> &mut Page {
        &mut self.chunks[slot.0 as usize / CHUNK_PAGES][slot.0 as usize % CHUNK_PAGES]
    }

    /// Bytes of the slots in use.
    pub(super) fn used_bytes(&self) -> usize {
        (self.chunks.len() * CHUNK_PAGES - self.free.len()) * PAGE_SIZE
    }
}

/// The content that an epoch gives a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// The type carries no data.
    Nothing,
    Zero,
    Page(Slot),
}

impl Held {
    /// The content, if the type carries data.
    pub(super) fn page<'a>(&self, pool: &'a PagePool) -> Option<&'a Page> {
        match self {
            Self::Nothing => None,
            Self::Zero => Some(&ZERO_PAGE),
            Self::Page(slot) => Some(pool.page(slot)),
        }
    }
}

/// Everything that one epoch changes.
#[derive(Debug)]
pub(super) struct EpochBuffer {
    pub(super) epoch: Epoch,
    pub(super) state: DomainState,
    entries: Vec<(PageEntry, Held)>,
    index: HashMap<Pfn, u32>,
}

impl EpochBuffer {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { epoch, state: DomainState::default(), entries: Vec::new(), index: HashMap::new() }
    }

    /// The content that this epoch gives a frame, if it changes the frame.
    pub(super) fn get(&self, pfn: Pfn) -> Option<&Held> {
        let position = *self.index.get(&pfn)?;
        Some(&self.entries[position as usize].1)
    }

    /// Sets the content of a frame, and returns the slot of the page that this replaces to the pool. After an error for
    /// lack of memory the epoch cannot be used.
    pub(super) fn set(
        &mut self,
        entry: PageEntry,
        held: Held,
        pool: &mut PagePool,
    ) -> Result<(), OutOfMemory> {
        let indexed = self.index.try_reserve(1).map_err(|_| OutOfMemory);
        if let Err(error) = indexed.and_then(|()| reserve(&mut self.entries, 1)) {
            if let Held::Page(slot) = held {
                pool.give_back(slot);
            }
            return Err(error);
        }
        let next = self.entries.len() as u32;
        let position = *self.index.entry(entry.pfn()).or_insert(next);
        if position == next {
            self.entries.push((entry, held));
            return Ok(());
        }
        let (_, before) = std::mem::replace(&mut self.entries[position as usize], (entry, held));
        if let Held::Page(slot) = before {
            pool.give_back(slot);
        }
        Ok(())
    }

    /// The entries with their contents, each frame once.
    pub(super) fn entries(&self) -> impl Iterator<Item = &(PageEntry, Held)> {
        self.entries.iter()
    }

    /// Empties the buffer for another epoch and returns its slots.
    pub(super) fn reuse(&mut self, pool: &mut PagePool) {
        for (_, held) in self.entries.drain(..) {
            if let Held::Page(slot) = held {
                pool.give_back(slot);
            }
        }
        self.index.clear();
        self.state.clear();
    }

    /// Bytes besides page slots.
    pub(super) fn overhead_bytes(&self) -> usize {
        self.entries.len() * ENTRY_BYTES + self.state.libxc.len() + self.state.libxl.len()
    }
}
