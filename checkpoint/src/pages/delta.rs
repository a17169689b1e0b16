//! A page's changes: runs of new bytes, to be written over the receiver's page.
//!
//! ```text
//!   runs of one page    count varint | count × ( skip varint | length varint )
//!   data of one page    the new bytes of all its runs
//!
//!   old   a a a a b b c c c c c c c c d d
//!   new   a a a a X X c c c c c c c c Y d      count 2: (4, 2) (8, 1), data X X Y
//! ```
//!
//! Not here: when to prefer a delta, and where base pages come from.

use super::varint::{put_varint, take_varint};
use crate::{PAGE_SIZE, Page};
use std::ops::Range;

/// Runs with at most this many unchanged bytes between them are joined. A new run costs two bytes and splits what LZ4
/// could compress as one piece; measured on recorded guests, 5 to 7 are best. 6 is also the most that can lie between
/// two changed bytes of an aligned word, so a word is never part of two runs.
const GAP_MERGED_MAX: usize = 6;

/// The assumed cost of a run besides its bytes, for choosing between a delta and a whole page: its two numbers, and
/// what LZ4 loses at the boundary.
const RUN_COST_BYTES: usize = 4;

const LINE_BYTES: usize = 64;
const WORD_BYTES: usize = 8;

/// The changed stretches of a page, ascending. Reused from page to page.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: Vec<Range<usize>>,
    bytes: usize,
}

impl Runs {
    /// The approximate number of bytes that the delta adds to a batch before LZ4.
    pub(crate) fn cost_bytes(&self) -> usize {
        self.bytes + RUN_COST_BYTES * self.runs.len()
    }

    /// Whether nothing changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Finds the changes from `old` to `new`.
    pub(crate) fn compare(&mut self, old: &Page, new: &Page) {
        self.runs.clear();
        let (old_lines, _) = old.as_chunks::<LINE_BYTES>();
        let (new_lines, _) = new.as_chunks::<LINE_BYTES>();
        let mut open: Option<Range<usize>> = None;
        for (line, (old, new)) in old_lines.iter().zip(new_lines).enumerate() {
            let changed = difference(old, new);
            if changed.iter().fold(0, |any, word| any | word) == 0 {
                continue;
            }
            for (word, changed) in changed.iter().enumerate().filter(|(_, changed)| **changed != 0) {
                let at = line * LINE_BYTES + word * WORD_BYTES;
                let start = at + changed.trailing_zeros() as usize / 8;
                let end = at + WORD_BYTES - changed.leading_zeros() as usize / 8;
                match &mut open {
                    Some(run) if start <= run.end + GAP_MERGED_MAX => run.end = end,
                    _ => self.runs.extend(open.replace(start..end)),
                }
            }
        }
        self.runs.extend(open);
        self.bytes = self.runs.iter().map(ExactSizeIterator::len).sum();
    }

    /// Appends the runs, and their bytes from `new`.
    pub(crate) fn write(&self, new: &Page, runs: &mut Vec<u8>, data: &mut Vec<u8>) {
        put_varint(self.runs.len() as u64, runs);
        let mut cursor = 0;
        for run in &self.runs {
            put_varint((run.start - cursor) as u64, runs);
            put_varint(run.len() as u64, runs);
            data.extend_from_slice(&new[run.clone()]);
            cursor = run.end;
        }
    }

    /// Copies the changed stretches of `new` into `page`.
    pub(crate) fn copy(&self, new: &Page, page: &mut Page) {
        for run in &self.runs {
            page[run.clone()].copy_from_slice(&new[run.clone()]);
        }
    }
}

/// The words of two lines, exclusive-or: non-zero where they differ, low bytes first.
fn difference(old: &[u8; LINE_BYTES], new: &[u8; LINE_BYTES]) -> [u64; LINE_BYTES / WORD_BYTES] {
    let word = |line: &[u8; LINE_BYTES], index: usize| {
        let (words, _) = line.as_chunks::<WORD_BYTES>();
        u64::from_le_bytes(words[index])
    };
    std::array::from_fn(|index| word(old, index) ^ word(new, index))
}

/// Applies the runs of the next page to `page`, and removes them and their bytes. `None` if they are truncated or reach
/// beyond the page; then `page` is undefined.
pub(crate) fn apply(runs: &mut &[u8], data: &mut &[u8], page: &mut Page) -> Option<()> {
    let mut cursor = 0usize;
    for _ in 0..take_varint(runs)? {
        let skip = usize::try_from(take_varint(runs)?).ok()?;
        let length = usize::try_from(take_varint(runs)?).ok()?;
        let start = cursor.checked_add(skip)?;
        cursor = start.checked_add(length).filter(|end| *end <= PAGE_SIZE && length > 0)?;
        let (bytes, rest) = data.split_at_checked(length)?;
        page[start..cursor].copy_from_slice(bytes);
        *data = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change(page: &Page, changes: &[(usize, Vec<u8>)]) -> Page {
        let mut new = *page;
        for (at, bytes) in changes {
            let end = (at + bytes.len()).min(PAGE_SIZE);
            new[*at..end].copy_from_slice(&bytes[..end - at]);
        }
        new
    }

    proptest! {
        #[test]
        fn the_runs_turn_the_old_page_into_the_new(
            fill in any::<u8>(),
            changes in proptest::collection::vec((0usize..PAGE_SIZE, proptest::collection::vec(any::<u8>(), 1..300)), 0..20),
        ) {
            let old = [fill; PAGE_SIZE];
            let new = change(&old, &changes);
            let mut found = Runs::default();
            found.compare(&old, &new);
            prop_assert_eq!(found.is_empty(), old == new);
            let (mut runs, mut data) = (Vec::new(), Vec::new());
            found.write(&new, &mut runs, &mut data);
            prop_assert_eq!(data.len(), found.bytes);
            prop_assert!(runs.len() + data.len() <= 2 + found.cost_bytes());
            let (mut page, mut runs_left, mut data_left) = (old, runs.as_slice(), data.as_slice());
            apply(&mut runs_left, &mut data_left, &mut page).unwrap();
            prop_assert!(page == new && runs_left.is_empty() && data_left.is_empty());
            let mut copied = old;
            found.copy(&new, &mut copied);
            prop_assert!(copied == new);
        }

        #[test]
        fn any_bytes_are_runs_or_refused(runs in proptest::collection::vec(any::<u8>(), 0..200), data in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let mut page = [0; PAGE_SIZE];
            let _ = apply(&mut runs.as_slice(), &mut data.as_slice(), &mut page);
        }
    }
}
