//! [`DirtyBitmap`]: one bit for each frame, scanned a word at a time into runs.

use crate::Pfn;
use crate::room::{self, OutOfMemory};
use std::ops::Range;

/// A mark for each pfn of a guest. The size is fixed at creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtyBitmap {
    words: Vec<u64>,
    page_count: u64,
}

impl DirtyBitmap {
    /// An empty bitmap for pfns below `page_count`. If a peer, a guest or a stream determines `page_count`, use
    /// [`try_new`](Self::try_new).
    pub fn new(page_count: u64) -> Self {
        Self::try_new(page_count).expect("the host has memory for a bitmap of a known size")
    }

    /// An empty bitmap for pfns below `page_count`; fails if the host lacks the memory.
    pub fn try_new(page_count: u64) -> Result<Self, OutOfMemory> {
        let count = usize::try_from(page_count.div_ceil(64)).map_err(|_| OutOfMemory)?;
        Ok(Self { words: room::filled(0, count)?, page_count })
    }

    /// The number of pfns.
    pub fn page_count(&self) -> u64 {
        self.page_count
    }

    /// Marks one frame.
    pub fn set(&mut self, pfn: Pfn) {
        assert!(pfn.0 < self.page_count, "pfn {pfn} beyond the guest's {} frames", self.page_count);
        self.words[(pfn.0 / 64) as usize] |= 1 << (pfn.0 % 64);
    }

    /// Marks every frame.
    pub fn set_all(&mut self) {
        self.words.fill(u64::MAX);
        if !self.page_count.is_multiple_of(64) {
            let last = self.words.last_mut().expect("a partial word exists");
            *last = (1 << (self.page_count % 64)) - 1;
        }
    }

    /// Whether a frame is marked; `false` beyond the guest's memory.
    pub fn get(&self, pfn: Pfn) -> bool {
        self.words.get((pfn.0 / 64) as usize).is_some_and(|word| word >> (pfn.0 % 64) & 1 == 1)
    }

    /// Unmarks everything.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The number of marked frames.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Adds all marks of `other`, which belongs to the same guest.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.page_count, other.page_count, "bitmaps of one guest have one size");
        for (into, from) in self.words.iter_mut().zip(&other.words) {
            *into |= from;
        }
    }

    /// Adds the marks of a bitmap in Xen's layout: bit i of byte b is pfn 8·b + i. Bits beyond the guest's memory are
    /// ignored; missing bytes count as zero.
    pub fn merge_bytes(&mut self, bytes: &[u8]) {
        let mut left = self.page_count;
        for (word, bytes) in self.words.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            let within = if left < 64 { (1 << left) - 1 } else { u64::MAX };
            *word |= u64::from_le_bytes(whole) & within;
            left = left.saturating_sub(64);
        }
    }

    /// Moves all marks into `into`, leaving this bitmap empty, as reading and clearing a log does.
    pub fn drain_into(&mut self, into: &mut Self) {
        assert_eq!(self.page_count, into.page_count, "bitmaps of one guest have one size");
        for (from, into) in self.words.iter_mut().zip(&mut into.words) {
            *into |= std::mem::take(from);
        }
    }

    /// Moves the marks from `from` on into `into`.
    pub fn split_off(&mut self, from: Pfn, into: &mut Self) {
        assert_eq!(self.page_count, into.page_count, "bitmaps of one guest have one size");
        let mut moved = u64::MAX << (from.0 % 64);
        let words = self.words.iter_mut().zip(&mut into.words);
        for (word, into) in words.skip((from.0 / 64) as usize) {
            *into |= *word & moved;
            *word &= !moved;
            moved = u64::MAX;
        }
    }

    /// The words of the bitmap in Xen's layout: bit i of word w is pfn 64·w + i.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The marked frames from `from` on, as ascending, maximal runs of pfns.
    pub fn runs(&self, from: Pfn) -> Runs<'_> {
        Runs { bitmap: self, next: from.0 }
    }
}

/// Iterator over the runs of marked frames of a [`DirtyBitmap`].
#[derive(Debug)]
pub struct Runs<'a> {
    bitmap: &'a DirtyBitmap,
    next: u64,
}

impl Runs<'_> {
    /// First pfn at or after `from` whose bit equals `marked`, or `page_count`.
    fn seek(&self, from: u64, marked: bool) -> u64 {
        let flip = if marked { 0 } else { u64::MAX };
        let mut index = (from / 64) as usize;
        let mut mask = u64::MAX << (from % 64);
        while let Some(word) = self.bitmap.words.get(index) {
            let found = (word ^ flip) & mask;
            if found != 0 {
                return (index as u64 * 64 + u64::from(found.trailing_zeros())).min(self.bitmap.page_count);
            }
            mask = u64::MAX;
            index += 1;
        }
        self.bitmap.page_count
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.seek(self.next, true);
        if start >= self.bitmap.page_count {
            return None;
        }
        let end = self.seek(start, false);
        self.next = end;
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn runs_are_the_marked_frames(page_count in 1u64..500, marks in proptest::collection::btree_set(0u64..500, 0..200), from in 0u64..600) {
            let marks: BTreeSet<u64> = marks.into_iter().filter(|pfn| *pfn < page_count).collect();
            let mut bitmap = DirtyBitmap::new(page_count);
            marks.iter().for_each(|pfn| bitmap.set(Pfn(*pfn)));
            prop_assert_eq!(bitmap.count(), marks.len() as u64);
            let runs: Vec<_> = bitmap.runs(Pfn(from)).collect();
            let seen: Vec<u64> = runs.iter().cloned().flatten().collect();
            let expected: Vec<u64> = marks.iter().copied().filter(|pfn| *pfn >= from).collect();
            prop_assert_eq!(seen, expected);
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "runs are maximal");
            let mut rest = DirtyBitmap::new(page_count);
            bitmap.split_off(Pfn(from), &mut rest);
            prop_assert!(bitmap.runs(Pfn(0)).flatten().eq(marks.range(..from).copied()));
            prop_assert!(rest.runs(Pfn(0)).flatten().eq(marks.range(from..).copied()));
        }
    }

    #[test]
    fn bytes_of_xens_log_add_marks_and_none_beyond_the_guest() {
        let mut bitmap = DirtyBitmap::new(70);
        bitmap.set(Pfn(3));
        let mut bytes = [0; 16];
        (bytes[0], bytes[7], bytes[8]) = (0b10, 0x80, 0xFF);
        bitmap.merge_bytes(&bytes);
        let seen: Vec<u64> = bitmap.runs(Pfn(0)).flatten().collect();
        assert_eq!(seen, [1, 3, 63, 64, 65, 66, 67, 68, 69]);
        bitmap.clear();
        bitmap.merge_bytes(&[0, 0b100]);
        assert_eq!(bitmap.runs(Pfn(0)).flatten().collect::<Vec<_>>(), [10], "a shorter log");
    }

    #[test]
    fn a_bitmap_that_no_host_can_hold_is_refused() {
        for page_count in [u64::MAX, 1 << 60] {
            assert_eq!(DirtyBitmap::try_new(page_count).err(), Some(OutOfMemory));
        }
        let refused = room::scarce::with(0, || DirtyBitmap::try_new(100));
        assert_eq!(refused.err(), Some(OutOfMemory));
    }

    #[test]
    fn all_frames_are_one_run_and_none_beyond() {
        for page_count in [1, 63, 64, 65, 128] {
            let mut bitmap = DirtyBitmap::new(page_count);
            bitmap.set_all();
            assert_eq!(bitmap.runs(Pfn(0)).collect::<Vec<_>>(), vec![0..page_count]);
            assert_eq!(bitmap.count(), page_count);
            let mut into = DirtyBitmap::new(page_count);
            bitmap.drain_into(&mut into);
            assert_eq!((bitmap.count(), into.count()), (0, page_count));
        }
    }
}
