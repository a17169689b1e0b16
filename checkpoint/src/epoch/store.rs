//! The pages of 512 consecutive frames, in memory for as many pages as exist.
//!
//! ```text
//!   slot_of   frame → slot, or none        frames  . . 3 . . . 0 1 . 2 . …
//!   segments  1 · 1 · 2 · 4 · 8 · 16 · 32 · 64 · 64 · 64 · 64 · 64 · 64 · 64 pages, allocated one by one: 512 at most
//!   free      slots whose frames lost their page; the next new page goes there
//! ```
//!
//! A ballooned guest has a few pages in each 2 MiB; another guest has all of them. Growing never moves a page, so the
//! second costs no more than one piece of 2 MiB. Allocated but unused memory is less than 64 pages and less than what
//! is used. When three quarters of the slots are free, the remaining pages move to a smaller store.
//!
//! Not here: the types of frames.

use crate::room::{OutOfMemory, reserve, reserve_exact};
use crate::{PAGE_SIZE, Page};

/// Frames of one store.
pub(super) const STORE_FRAMES: usize = 512;

/// Most pages of a segment; segments double up to this.
const SEGMENT_PAGES_MAX: usize = 64;

/// Segments before those of [`SEGMENT_PAGES_MAX`]: 1, 1, 2, … half of it.
const SEGMENTS_GROWING: usize = 1 + SEGMENT_PAGES_MAX.ilog2() as usize;

/// In place of a slot: the frame has no page.
const NO_SLOT: u16 = u16::MAX;

/// Pages by frame.
#[derive(Debug)]
pub(super) struct PageStore {
    slot_of: [u16; STORE_FRAMES],
    segments: Vec<Vec<Page>>,
    free: Vec<u16>,
    /// Slots that were ever used.
    slots: u16,
    /// Pages for which the segments have room.
    pages_taken: usize,
}

impl PageStore {
    pub(super) fn new() -> Self {
        Self {
            slot_of: [NO_SLOT; STORE_FRAMES],
            segments: Vec::new(),
            free: Vec::new(),
            slots: 0,
            pages_taken: 0,
        }
    }

    /// The page of a frame.
    pub(super) fn get(&self, frame: usize) -> Option<&Page> {
        let (segment, offset) = place(self.slot_of[frame])?;
        Some(&self.segments[segment][offset])
    }

    /// The page of a frame, for writing.
    pub(super) fn get_mut(&mut self, frame: usize) -> Option<&mut Page> {
        let (segment, offset) = place(self.slot_of[frame])?;
        Some(&mut self.segments[segment][offset])
    }

    /// Sets the page of a frame. If memory runs out, nothing changes.
    pub(super) fn put(&mut self, frame: usize, page: &Page) -> Result<(), OutOfMemory> {
        if let Some(held) = self.get_mut(frame) {
            *held = *page;
            return Ok(());
        }
        if let Some(slot) = self.free.pop() {
            self.slot_of[frame] = slot;
            *self.get_mut(frame).expect("the slot was in use before") = *page;
            return Ok(());
        }
        let (segment, offset) = place(self.slots).expect("there are no more slots than frames");
        if offset == 0 {
            let mut room = Vec::new();
            reserve_exact(&mut room, segment_pages(segment))?;
            reserve(&mut self.segments, 1)?;
            self.segments.push(room);
            self.pages_taken += segment_pages(segment);
        }
        self.segments[segment].push(*page);
        self.slot_of[frame] = self.slots;
        self.slots += 1;
        Ok(())
    }

    /// Removes a frame's page.
    pub(super) fn remove(&mut self, frame: usize) {
        let slot = std::mem::replace(&mut self.slot_of[frame], NO_SLOT);
        if slot == NO_SLOT {
            return;
        }
        self.free.push(slot);
        if self.free.len() * 4 >= usize::from(self.slots) * 3 {
            self.shrink();
        }
    }

    /// Bytes of page memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.pages_taken * PAGE_SIZE
    }

    /// Moves the remaining pages to a smaller store. If memory runs out, they stay.
    fn shrink(&mut self) {
        let mut smaller = Self::new();
        for frame in 0..STORE_FRAMES {
            if let Some(page) = self.get(frame)
                && smaller.put(frame, page).is_err()
            {
                return;
            }
        }
        *self = smaller;
    }
}

/// The number of pages of a segment.
fn segment_pages(segment: usize) -> usize {
    match segment {
        0 => 1,
        growing if growing < SEGMENTS_GROWING => 1 << (growing - 1),
        _ => SEGMENT_PAGES_MAX,
    }
}

/// The segment of a slot and the offset in it; `None` for a frame without a slot.
fn place(slot: u16) -> Option<(usize, usize)> {
    let slot = usize::from(slot);
    match slot {
        0 => Some((0, 0)),
        growing if growing < SEGMENT_PAGES_MAX => {
            let order = growing.ilog2() as usize;
            Some((order + 1, growing - (1 << order)))
        }
        full if full < STORE_FRAMES => {
            let above = full - SEGMENT_PAGES_MAX;
            Some((SEGMENTS_GROWING + above / SEGMENT_PAGES_MAX, above % SEGMENT_PAGES_MAX))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn slots_fill_segments_one_after_the_other() {
        let mut next = (0, 0);
        for slot in 0..STORE_FRAMES as u16 {
            assert_eq!(place(slot), Some(next), "slot {slot}");
            next.1 += 1;
            if next.1 == segment_pages(next.0) {
                next = (next.0 + 1, 0);
            }
        }
        assert_eq!((place(STORE_FRAMES as u16), place(NO_SLOT)), (None, None));
    }

    proptest! {
        #[test]
        fn a_store_is_a_map_that_costs_what_it_holds(
            steps in proptest::collection::vec((0..STORE_FRAMES, proptest::option::weighted(0.6, 1u8..)), 1..2000),
        ) {
            let (mut store, mut model) = (PageStore::new(), BTreeMap::new());
            for (frame, content) in steps {
                match content {
                    Some(byte) => {
                        store.put(frame, &[byte; PAGE_SIZE]).unwrap();
                        model.insert(frame, byte);
                    }
                    None => {
                        store.remove(frame);
                        model.remove(&frame);
                    }
                }
                let bound = (8 * model.len() + SEGMENT_PAGES_MAX.min(8 * model.len())) * PAGE_SIZE;
                prop_assert!(store.bytes() <= bound, "{} bytes for {} pages", store.bytes(), model.len());
            }
            for frame in 0..STORE_FRAMES {
                let expected = model.get(&frame).map(|byte| [*byte; PAGE_SIZE]);
                prop_assert!(store.get(frame) == expected.as_ref(), "frame {}", frame);
            }
        }

        #[test]
        fn pages_that_only_come_cost_less_than_twice_themselves(frames in proptest::collection::btree_set(0..STORE_FRAMES, 1..512)) {
            let mut store = PageStore::new();
            frames.iter().for_each(|frame| store.put(*frame, &[1; PAGE_SIZE]).unwrap());
            let unused = store.bytes() / PAGE_SIZE - frames.len();
            prop_assert!(unused < SEGMENT_PAGES_MAX.min(frames.len()), "{} unused of {}", unused, frames.len());
        }
    }
}
