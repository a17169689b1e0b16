//! Pages that compressed checkpoints refer to: those that the sender's cache still holds, and as many more.
//!
//! A sender remembers the pages of compressed checkpoints that it sent last, and forgets the one that it used longest ago.
//! With twice its room and the same order nothing that it may refer to is ever missing here.

use super::limits::REMEMBERED_PAGES_MAX;
use crate::room::{OutOfMemory, reserve};
use crate::{Page, Pfn};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// When it was used last, and where it lies.
    index: HashMap<Pfn, (u64, usize)>,
    /// By when they were used.
    order: BTreeMap<u64, Pfn>,
    pages: Vec<Page>,
    free: Vec<usize>,
    now: u64,
}

impl Remembered {
    /// The page, as it was sent last.
    pub(super) fn get(&self, pfn: Pfn) -> Option<&Page> {
        self.index.get(&pfn).map(|(_, slot)| &self.pages[*slot])
    }

    /// Remembers a page that was just sent.
    pub(super) fn put(&mut self, pfn: Pfn, page: &Page) -> Result<(), OutOfMemory> {
        let slot = match self.take(pfn) {
            Some(slot) => slot,
            None => self.vacant()?,
        };
        self.pages[slot] = *page;
        self.place(pfn, slot);
        Ok(())
    }

    /// A page was used, and stays as it is.
    pub(super) fn touch(&mut self, pfn: Pfn) {
        if let Some(slot) = self.take(pfn) {
            self.place(pfn, slot);
        }
    }

    /// Forgets a page.
    pub(super) fn forget(&mut self, pfn: Pfn) {
        if let Some(slot) = self.take(pfn) {
            self.free.push(slot);
        }
    }

    fn place(&mut self, pfn: Pfn, slot: usize) {
        self.now += 1;
        self.index.insert(pfn, (self.now, slot));
        self.order.insert(self.now, pfn);
    }

    fn take(&mut self, pfn: Pfn) -> Option<usize> {
        let (used, slot) = self.index.remove(&pfn)?;
        self.order.remove(&used);
        Some(slot)
    }

    fn vacant(&mut self) -> Result<usize, OutOfMemory> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        if self.pages.len() < REMEMBERED_PAGES_MAX {
            reserve(&mut self.pages, 1)?;
            self.pages.push([0; crate::PAGE_SIZE]);
            return Ok(self.pages.len() - 1);
        }
        let (_, oldest) = self.order.first_key_value().expect("every page has its place in the order");
        let oldest = *oldest;
        Ok(self.take(oldest).expect("it was just found"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_used_longest_ago_is_forgotten_first() {
        let mut pages = Remembered::default();
        let page = |pfn: u64| [pfn as u8; 4096];
        for pfn in 0..REMEMBERED_PAGES_MAX as u64 {
            pages.put(Pfn(pfn), &page(pfn)).unwrap();
        }
        pages.put(Pfn(0), &page(7)).unwrap();
        pages.put(Pfn(1 << 20), &page(9)).unwrap();
        assert!(pages.get(Pfn(1)).is_none());
        assert_eq!(pages.get(Pfn(0)), Some(&page(7)));
        assert_eq!(pages.get(Pfn(1 << 20)), Some(&page(9)));
        pages.forget(Pfn(2));
        assert!(pages.get(Pfn(2)).is_none());
        pages.put(Pfn(3 << 20), &page(1)).unwrap();
        assert_eq!(pages.get(Pfn(3)), Some(&page(3)), "there was room");
    }
}
