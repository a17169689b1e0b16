//! Entries of a batch: checked, and written as those of PAGE_DATA.
//!
//! ```text
//!   word   | 0 … 0 | type 4 | pfn 28 |        32 bits before it in the word of a 64-bit sender
//!   entry  | type 4 | 0 … 0 | pfn 52 |
//! ```
//!
//! Frames that a sender could not map are exactly `0xF0000000`: their pfn is lost, and so are they. Other entries without a
//! page keep theirs.

use super::fault::{Defect, Rule};
use super::word_size::WordSize;
use crate::{PAGE_SIZE, PageEntry, PageType, Pfn};

/// An entry whose pfn is lost.
const LOST: u64 = 0xF000_0000;

/// Entries that go into one record: no pfn comes twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// At least one.
    pub(super) entries: Vec<PageEntry>,
    /// Bytes of their pages.
    pub(super) page_bytes: u64,
}

/// Bytes of the pages that follow the words of a batch.
pub(super) fn page_bytes(words: &[u8], word: WordSize) -> u64 {
    let has_data = |entry: u64| entry >> 28 & 0xF < 0xD;
    let words = words.chunks_exact(word.bytes());
    words.filter(|bytes| has_data(word.at(bytes, 0))).count() as u64 * PAGE_SIZE as u64
}

/// Checks the words of a batch. The entries are those that go on, in their order.
pub(super) fn entries(words: &[u8], word: WordSize, frames: u32) -> Result<Vec<PageEntry>, Defect> {
    let mut entries = Vec::with_capacity(words.len() / word.bytes());
    for bytes in words.chunks_exact(word.bytes()) {
        let raw = word.at(bytes, 0);
        let pfn = raw & 0x0FFF_FFFF;
        if raw >> 32 != 0 {
            return Err(Defect::new(Rule::PageRange, format!("Entry {raw:#x} has more than 32 bits")));
        }
        let Some(kind) = PageType::from_nibble((raw >> 28) as u8) else {
            return Err(Defect::new(Rule::PageType, format!("Entry {raw:#x} has a reserved type")));
        };
        if raw == LOST {
            continue;
        }
        if kind != PageType::Absent && pfn >= frames.into() {
            let detail = format!("Pfn {pfn:#x} of a guest of {frames:#x} frames");
            return Err(Defect::new(Rule::PageRange, detail));
        }
        entries.push(PageEntry::new(Pfn(pfn), kind));
    }
    Ok(entries)
}

/// Cuts a batch where a pfn comes again, which no record of pages may hold. Receivers take the later page.
pub(super) fn segments(entries: Vec<PageEntry>) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut rest = entries;
    while let Some(cut) = first_again(&rest) {
        let after = rest.split_off(cut);
        segments.push(Segment::of(std::mem::replace(&mut rest, after)));
    }
    if !rest.is_empty() {
        segments.push(Segment::of(rest));
    }
    segments
}

impl Segment {
    fn of(entries: Vec<PageEntry>) -> Self {
        let pages = entries.iter().filter(|entry| entry.page_type().has_data()).count();
        Self { entries, page_bytes: (pages * PAGE_SIZE) as u64 }
    }
}

/// Index of the first entry whose pfn came before.
fn first_again(entries: &[PageEntry]) -> Option<usize> {
    // So it is with nearly every batch.
    if entries.is_sorted_by(|one, next| one.pfn() < next.pfn()) {
        return None;
    }
    let mut order: Vec<(Pfn, usize)> =
        entries.iter().enumerate().map(|(index, entry)| (entry.pfn(), index)).collect();
    order.sort_unstable();
    order.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(entries: &[u32]) -> Vec<u8> {
        entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
    }

    #[test]
    fn an_entry_keeps_its_type_and_pfn_unless_the_pfn_is_lost() {
        let words = words(&[0x0000_0001, 0x9000_0002, 0xF000_0000, 0xF000_0FFF, 0xE000_0003]);
        let found = entries(&words, WordSize::Four, 4).unwrap();
        let wire: Vec<u64> = found.iter().map(|entry| entry.to_wire()).collect();
        assert_eq!(wire, [1, 9 << 60 | 2, 0xF << 60 | 0xFFF, 0xE << 60 | 3]);
        assert_eq!(page_bytes(&words, WordSize::Four), 2 * 4096);
    }

    #[test]
    fn what_no_sender_writes_is_refused() {
        let rule = |entry: u64| {
            entries(&entry.to_le_bytes(), WordSize::Eight, 4).map(|_| ()).map_err(|defect| defect.rule)
        };
        assert_eq!(rule(3), Ok(()));
        assert_eq!(rule(4), Err(Rule::PageRange));
        assert_eq!(rule(1 << 32 | 3), Err(Rule::PageRange));
        for kind in 5..=8 {
            assert_eq!(rule(kind << 28), Err(Rule::PageType));
        }
    }

    #[test]
    fn a_pfn_that_comes_again_begins_a_record() {
        let entry = |pfn| PageEntry::new(Pfn(pfn), PageType::Normal);
        let cut = |pfns: &[u64]| {
            let segments = segments(pfns.iter().map(|pfn| entry(*pfn)).collect());
            segments.iter().map(|segment| segment.entries.len()).collect::<Vec<_>>()
        };
        assert_eq!(cut(&[]), [] as [usize; 0]);
        assert_eq!(cut(&[3, 1, 2]), [3]);
        assert_eq!(cut(&[3, 1, 3, 1, 3]), [2, 2, 1]);
        assert_eq!(cut(&[1, 1]), [1, 1]);
    }
}
