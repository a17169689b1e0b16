//! The pages of a domain as they were before it was given a guest's state, so that a takeover that fails half-way still
//! has the image. Few pages are overwritten: page tables, the P2M table, start info.
//!
//! ```text
//!   begin ──► write: the old page is kept, once ──┬─ done
//!                                                 └─ failed ─┬─ still mapped: written back, and it may be tried again
//!                                                            └─ unmapped, perhaps page tables by now: read from here
//! ```
//!
//! Not here: writing to the pages ([`GuestMemory`](super::memory::GuestMemory)).

use std::collections::BTreeMap;
use understudy_checkpoint::{Page, Pfn};

/// Old pages, by pfn.
#[derive(Default)]
pub(super) struct Journal {
    places: BTreeMap<u64, usize>,
    pages: Vec<Page>,
    /// Some page could not be kept for lack of memory.
    is_lost: bool,
}

impl Journal {
    /// Keeps the content of a page before it is first overwritten.
    pub(super) fn keep(&mut self, pfn: Pfn, read: impl FnOnce(&mut Page) -> bool) {
        if self.is_lost || self.places.contains_key(&pfn.0) {
            return;
        }
        if self.pages.try_reserve(1).is_err() {
            tracing::warn!(
                "There is no memory to keep what a takeover overwrites; if it fails, the image is lost"
            );
            *self = Self { is_lost: true, ..Self::default() };
            return;
        }
        let mut page = [0; understudy_checkpoint::PAGE_SIZE];
        // What cannot be read is not written either.
        if read(&mut page) {
            self.places.insert(pfn.0, self.pages.len());
            self.pages.push(page);
        }
    }

    /// Whether every overwritten page was kept.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_lost
    }

    /// The former content of a page.
    pub(super) fn before(&self, pfn: Pfn) -> Option<&Page> {
        self.places.get(&pfn.0).map(|place| &self.pages[*place])
    }

    /// All kept pages, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Pfn, &Page)> {
        self.places.iter().map(|(pfn, place)| (Pfn(*pfn), &self.pages[*place]))
    }
}
