//! What changed in a page: runs of new bytes over the page as the receiver has it.
//!
//! ```text
//!   runs of one page    count varint | count × ( skip varint | length varint )
//!   data of one page    the new bytes of all its runs
//!
//!   old   a a a a b b c c c c c c c c d d
//!   new   a a a a X X c c c c c c c c Y d      count 2: (4, 2) (8, 1), data X X Y
//! ```
//!
//! Not here: when a delta is worth it, and where base pages come from.

use super::varint::{put_varint, take_varint};
use crate::{PAGE_SIZE, Page};
use std::ops::Range;

/// Runs with no more unchanged bytes than this between them become one: a new run costs two bytes.
const GAP_MERGED_MAX: usize = 3;

/// The stretches of a page that changed, ascending; reused from page to page.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: Vec<Range<usize>>,
    bytes: usize,
}

impl Runs {
    /// Bytes in all runs.
    pub(super) fn byte_count(&self) -> usize {
        self.bytes
    }

    /// Whether nothing changed.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Finds what turns `old` into `new`.
    pub(super) fn compare(&mut self, old: &Page, new: &Page) {
        self.runs.clear();
        self.bytes = 0;
        let (old_words, _) = old.as_chunks::<8>();
        let (new_words, _) = new.as_chunks::<8>();
        for (index, (old, new)) in old_words.iter().zip(new_words).enumerate() {
            let mut changed = u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new);
            while changed != 0 {
                let byte = changed.trailing_zeros() as usize / 8;
                self.push(index * 8 + byte);
                changed &= !(0xFF << (byte * 8));
            }
        }
        self.bytes = self.runs.iter().map(ExactSizeIterator::len).sum();
    }

    fn push(&mut self, byte: usize) {
        match self.runs.last_mut() {
            Some(last) if byte <= last.end + GAP_MERGED_MAX => last.end = byte + 1,
            _ => self.runs.push(byte..byte + 1),
        }
    }

    /// Appends the runs and the bytes of `new` in them.
    pub(super) fn write(&self, new: &Page, runs: &mut Vec<u8>, data: &mut Vec<u8>) {
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
    pub(super) fn copy(&self, new: &Page, page: &mut Page) {
        for run in &self.runs {
            page[run.clone()].copy_from_slice(&new[run.clone()]);
        }
    }
}

/// Applies the next page's runs to `page`, taking them and their bytes off the fronts. `None` if they are cut
/// short or reach beyond the page; `page` is then of no use.
pub(super) fn apply(runs: &mut &[u8], data: &mut &[u8], page: &mut Page) -> Option<()> {
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
            prop_assert_eq!(data.len(), found.byte_count());
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
