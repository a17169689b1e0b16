//! The primary's bounded copy of pages as the secondary has them. Deltas are computed against it.
//!
//! ```text
//!   index   [ ● | – | ● | … ]       for each 512 pfns: slot numbers, or nothing
//!             └─► [ 7 | – | 2 | … ]
//!   slots   [ pfn, type, put, used ] [ … ]      put: epoch that last changed it
//!   chunks  [ 512 pages ] [ … ]                 slot n is page n
//! ```
//!
//! A page is here only if the secondary has exactly this page, or will have it once everything sent so far has arrived.
//! In doubt a page is dropped, and the next time it is sent whole. When the shadow is full, the clock algorithm drops
//! the first page that was not used since the hand last passed.

use crate::room::reserve_exact;
use crate::{Epoch, PAGE_SIZE, Page, PageType, Pfn};

const CHUNK_PAGES: usize = 512;
const NO_SLOT: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Shadow {
    index: Vec<Option<Box<[u32; CHUNK_PAGES]>>>,
    slots: Vec<Slot>,
    chunks: Vec<Box<[Page]>>,
    free: Vec<u32>,
    hand: usize,
    slots_max: usize,
}

#[derive(Debug)]
struct Slot {
    /// `None` while free.
    pfn: Option<Pfn>,
    page_type: PageType,
    put: Epoch,
    used: bool,
}

/// A page of the shadow, to compare with and to update.
pub(super) struct Held<'a> {
    pub(super) page: &'a mut Page,
    pub(super) page_type: &'a mut PageType,
    pub(super) put: &'a mut Epoch,
}

/// What happened to a page that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Put {
    Kept,
    /// It was kept in place of another page.
    KeptEvicting,
    /// There is no room, and nothing may be evicted.
    Refused,
}

impl Shadow {
    pub(super) fn new(bytes_max: usize) -> Self {
        let slots_max = (bytes_max / PAGE_SIZE).min(NO_SLOT as usize);
        Self {
            index: Vec::new(),
            slots: Vec::new(),
            chunks: Vec::new(),
            free: Vec::new(),
            hand: 0,
            slots_max,
        }
    }

    /// Memory for pages; it is kept when pages are dropped.
    pub(super) fn bytes(&self) -> u64 {
        (self.chunks.len() * CHUNK_PAGES * PAGE_SIZE) as u64
    }

    /// Drops all pages and keeps the memory.
    pub(super) fn clear(&mut self) {
        for slot in 0..self.slots.len() as u32 {
            self.release(slot);
        }
    }

    /// The page of a frame, as the secondary has it.
    pub(super) fn get(&mut self, pfn: Pfn) -> Option<Held<'_>> {
        let number = self.slot_of(pfn)?;
        let slot = &mut self.slots[number as usize];
        slot.used = true;
        let page = &mut self.chunks[number as usize / CHUNK_PAGES][number as usize % CHUNK_PAGES];
        Some(Held { page, page_type: &mut slot.page_type, put: &mut slot.put })
    }

    /// Adds a page that is not here yet and is being sent whole in `epoch`.
    pub(super) fn put(
        &mut self,
        pfn: Pfn,
        page_type: PageType,
        page: &Page,
        epoch: Epoch,
        may_evict: bool,
    ) -> Put {
        debug_assert!(self.slot_of(pfn).is_none(), "a page is put once and changed in place");
        let (number, put) = match self.vacant() {
            Some(number) => (number, Put::Kept),
            None if may_evict && !self.slots.is_empty() => (self.evict(), Put::KeptEvicting),
            None => return Put::Refused,
        };
        self.slots[number as usize] = Slot { pfn: Some(pfn), page_type, put: epoch, used: false };
        self.chunks[number as usize / CHUNK_PAGES][number as usize % CHUNK_PAGES] = *page;
        let chunk = pfn.0 as usize / CHUNK_PAGES;
        if self.index.len() <= chunk {
            self.index.resize_with(chunk + 1, || None);
        }
        let numbers = self.index[chunk].get_or_insert_with(|| Box::new([NO_SLOT; CHUNK_PAGES]));
        numbers[pfn.0 as usize % CHUNK_PAGES] = number;
        put
    }

    /// Drops a page.
    pub(super) fn remove(&mut self, pfn: Pfn) {
        if let Some(number) = self.slot_of(pfn) {
            self.release(number);
        }
    }

    /// Drops every page that changed in an epoch after `base`.
    pub(super) fn forget_after(&mut self, base: Epoch) {
        for number in 0..self.slots.len() as u32 {
            if self.slots[number as usize].put > base {
                self.release(number);
            }
        }
    }

    fn slot_of(&self, pfn: Pfn) -> Option<u32> {
        let numbers = self.index.get(pfn.0 as usize / CHUNK_PAGES)?.as_ref()?;
        let number = numbers[pfn.0 as usize % CHUNK_PAGES];
        (number != NO_SLOT).then_some(number)
    }

    /// An empty slot, allocated if the limit allows.
    fn vacant(&mut self) -> Option<u32> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let number = self.slots.len();
        if number == self.slots_max {
            return None;
        }
        if number.is_multiple_of(CHUNK_PAGES) {
            let pages = CHUNK_PAGES.min(self.slots_max - number);
            let mut chunk: Vec<Page> = Vec::new();
            // Without memory for more, the shadow stays as large as it is.
            reserve_exact(&mut chunk, pages).ok()?;
            chunk.resize(pages, [0; PAGE_SIZE]);
            self.chunks.push(chunk.into_boxed_slice());
        }
        self.slots.push(Slot { pfn: None, page_type: PageType::Normal, put: Epoch(0), used: false });
        Some(number as u32)
    }

    /// Advances the hand to a page that was not used since the hand last passed, and drops that page.
    fn evict(&mut self) -> u32 {
        loop {
            let number = self.hand as u32;
            self.hand = (self.hand + 1) % self.slots.len();
            if !std::mem::take(&mut self.slots[number as usize].used) {
                self.release(number);
                return self.free.pop().expect("the slot just released");
            }
        }
    }

    fn release(&mut self, number: u32) {
        if let Some(pfn) = self.slots[number as usize].pfn.take() {
            let numbers = self.index[pfn.0 as usize / CHUNK_PAGES].as_mut().expect("a held page is indexed");
            numbers[pfn.0 as usize % CHUNK_PAGES] = NO_SLOT;
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(shadow: &mut Shadow, pfn: u64, epoch: u64) -> Put {
        shadow.put(Pfn(pfn), PageType::Normal, &[pfn as u8; PAGE_SIZE], Epoch(epoch), true)
    }

    #[test]
    fn a_shadow_that_gets_no_memory_keeps_nothing_and_goes_on() {
        let mut shadow = Shadow::new(2 * PAGE_SIZE);
        crate::room::scarce::with(0, || assert_eq!(put(&mut shadow, 1, 0), Put::Refused));
        assert_eq!(put(&mut shadow, 1, 0), Put::Kept);
    }

    #[test]
    fn a_full_shadow_drops_what_nobody_asked_for() {
        let mut shadow = Shadow::new(2 * PAGE_SIZE);
        assert_eq!(put(&mut shadow, 1, 0), Put::Kept);
        assert_eq!(put(&mut shadow, 2000, 0), Put::Kept);
        assert!(shadow.get(Pfn(1)).is_some());
        assert_eq!(put(&mut shadow, 3, 0), Put::KeptEvicting);
        assert!(shadow.get(Pfn(2000)).is_none());
        assert_eq!(shadow.get(Pfn(1)).unwrap().page[0], 1);
        assert_eq!(shadow.get(Pfn(3)).unwrap().page[0], 3);
        assert_eq!(shadow.put(Pfn(4), PageType::Normal, &[4; PAGE_SIZE], Epoch(0), false), Put::Refused);
    }

    #[test]
    fn what_changed_after_the_base_is_forgotten() {
        let mut shadow = Shadow::new(8 * PAGE_SIZE);
        (1..=4).for_each(|epoch| assert_eq!(put(&mut shadow, epoch, epoch), Put::Kept));
        *shadow.get(Pfn(1)).unwrap().put = Epoch(4);
        shadow.forget_after(Epoch(2));
        let left: Vec<u64> = (1..=4).filter(|pfn| shadow.get(Pfn(*pfn)).is_some()).collect();
        assert_eq!(left, [2]);
        shadow.remove(Pfn(2));
        shadow.clear();
        assert!(shadow.get(Pfn(2)).is_none());
        (1..=8).for_each(|pfn| assert_eq!(put(&mut shadow, pfn, 9), Put::Kept));
    }

    #[test]
    fn a_shadow_without_room_holds_nothing() {
        let mut shadow = Shadow::new(PAGE_SIZE - 1);
        assert_eq!(put(&mut shadow, 1, 0), Put::Refused);
        assert!(shadow.get(Pfn(1)).is_none());
    }
}
