//! The pages of a domain as they were before it was given a guest's state: a takeover that fails half-way still has the
//! image. Few pages are overwritten: page tables, the P2M table, start info.
//!
//! ```text
//!   begin ──► write: the old page is kept, once ──┬─ done
//!                                                 └─ failed ─┬─ still mapped: written back, it may be tried again
//!                                                            └─ unmapped, perhaps page tables by now: read beside it
//! ```
//!
//! Not here: who writes ([`GuestMemory`](super::memory::GuestMemory)).

use std::collections::BTreeMap;
use understudy_checkpoint::{Page, Pfn};

/// Old pages, by pfn.
#[derive(Default)]
pub(super) struct Journal {
    places: BTreeMap<u64, usize>,
    pages: Vec<Page>,
    /// There was no memory for some page: the journal is incomplete.
    is_lost: bool,
}

impl Journal {
    /// Keeps what a page holds before it is overwritten first.
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

    /// Whether it has all that was overwritten.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_lost
    }

    /// What a page held before.
    pub(super) fn before(&self, pfn: Pfn) -> Option<&Page> {
        self.places.get(&pfn.0).map(|place| &self.pages[*place])
    }

    /// All pages kept, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Pfn, &Page)> {
        self.places.iter().map(|(pfn, place)| (Pfn(*pfn), &self.pages[*place]))
    }
}
