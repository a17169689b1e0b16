//! [`Staging`]: the buffer that receives pages during the pause. It is allocated once, and encoding reads from it after
//! the guest has resumed.
//!
//! ```text
//!   entries   │ 3 │ 7 │ 8 absent │ 9 │        as they were staged
//!   pages     │ 3 │ 7 │            9 │        one for each entry with data
//!   left out  │   │ x │          │   │        staged again elsewhere: not read any more
//! ```

use crate::bitmap::DirtyBitmap;
use crate::{OutOfMemory, PAGE_SIZE, Page, PageEntry, room};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A page aligned to cache lines and the processor's vectors.
#[derive(FromBytes, IntoBytes, Immutable, Debug)]
#[repr(C, align(4096))]
struct AlignedPage(Page);

/// Aligned pages as plain ones.
fn plain(pages: &[AlignedPage]) -> &[Page] {
    pages.as_bytes().as_chunks().0
}

/// The entries and page data of one drain, up to a fixed capacity.
#[derive(Debug)]
pub struct Staging {
    entries: Vec<PageEntry>,
    pages: Vec<AlignedPage>,
    data_pages: usize,
    /// For each of the first entries, whether it is left out. Those behind are not.
    left_out: Vec<bool>,
}

impl Staging {
    /// [`try_new`](Self::try_new) for a number of entries that the host has memory for.
    pub fn new(capacity: usize) -> Self {
        Self::try_new(capacity).expect("the host has memory for pages of a known number")
    }

    /// Allocates room for `capacity` entries and touches all of it, so that no page fault happens in a pause.
    pub fn try_new(capacity: usize) -> Result<Self, OutOfMemory> {
        assert!(capacity > 0, "staging without room would never drain");
        let (mut entries, mut left_out) = (Vec::new(), Vec::new());
        room::reserve(&mut entries, capacity)?;
        room::reserve(&mut left_out, capacity)?;
        let mut pages = Vec::new();
        room::reserve(&mut pages, capacity)?;
        pages.extend((0..capacity).map(|_| AlignedPage([1; PAGE_SIZE])));
        Ok(Self { entries, pages, data_pages: 0, left_out })
    }

    /// Entries that it can hold.
    pub fn capacity(&self) -> usize {
        self.pages.len()
    }

    /// Entries for which there is still room.
    pub fn room(&self) -> usize {
        self.capacity() - self.entries.len()
    }

    /// Empties it and keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.left_out.clear();
        self.data_pages = 0;
    }

    /// The staged entries, in the order in which they were staged.
    pub fn entries(&self) -> &[PageEntry] {
        &self.entries
    }

    /// The data of the entries that carry any, in order.
    pub fn pages(&self) -> &[Page] {
        plain(&self.pages[..self.data_pages])
    }

    /// Leaves out what is staged of the frames that `again` marks: they are staged again elsewhere, newer. Their room is
    /// not free before [`clear`](Self::clear). Returns how many entries that are. Never allocates.
    pub fn leave_out(&mut self, again: &DirtyBitmap) -> usize {
        self.left_out.resize(self.entries.len(), false);
        let mut count = 0;
        for (entry, left_out) in self.entries.iter().zip(&mut self.left_out) {
            if again.get(entry.pfn()) && !std::mem::replace(left_out, true) {
                count += 1;
            }
        }
        count
    }

    /// What is staged and not [left out](Self::leave_out): each entry, with its page if it carries data.
    pub fn iter(&self) -> impl Iterator<Item = (PageEntry, Option<&Page>)> {
        let mut pages = self.pages().iter();
        self.entries.iter().enumerate().filter_map(move |(index, entry)| {
            let page = if entry.page_type().has_data() { pages.next() } else { None };
            let is_left_out = self.left_out.get(index).copied().unwrap_or(false);
            (!is_left_out).then_some((*entry, page))
        })
    }

    /// Appends entries, and returns room for the data of those that carry any, one page each, in order. The caller
    /// fills every page. Panics if there is not enough room; see [`room`](Self::room).
    pub fn extend(&mut self, entries: impl IntoIterator<Item = PageEntry>) -> &mut [Page] {
        self.extend_split(entries).1
    }

    /// [`extend`](Self::extend), which also returns the new entries.
    pub fn extend_split(
        &mut self,
        entries: impl IntoIterator<Item = PageEntry>,
    ) -> (&[PageEntry], &mut [Page]) {
        let first_entry = self.entries.len();
        let first_page = self.data_pages;
        self.entries.extend(entries);
        assert!(self.entries.len() <= self.capacity(), "more entries than the staging has room for");
        self.data_pages +=
            self.entries[first_entry..].iter().filter(|entry| entry.page_type().has_data()).count();
        let pages = self.pages[first_page..self.data_pages].as_mut_bytes().as_chunks_mut().0;
        (&self.entries[first_entry..], pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PageType, Pfn};

    #[test]
    fn only_entries_with_data_take_a_page() {
        let mut staging = Staging::new(4);
        let pages = staging.extend([
            PageEntry::new(Pfn(1), PageType::Normal),
            PageEntry::new(Pfn(2), PageType::Absent),
            PageEntry::new(Pfn(3), PageType::Normal),
        ]);
        assert_eq!(pages.len(), 2);
        pages[1][0] = 7;
        assert_eq!((staging.entries().len(), staging.room()), (3, 1));
        assert_eq!(staging.pages()[1][0], 7);
        staging.clear();
        assert_eq!((staging.room(), staging.pages().len()), (4, 0));
    }

    #[test]
    fn what_is_left_out_is_not_read_and_each_entry_keeps_its_page() {
        let mut staging = Staging::new(5);
        let pages = staging.extend([
            PageEntry::new(Pfn(1), PageType::Normal),
            PageEntry::new(Pfn(2), PageType::Absent),
            PageEntry::new(Pfn(3), PageType::Normal),
            PageEntry::new(Pfn(4), PageType::Normal),
        ]);
        (0..3).for_each(|index| pages[index] = [index as u8; PAGE_SIZE]);
        let mut again = DirtyBitmap::new(8);
        [1, 2, 7].into_iter().for_each(|pfn| again.set(Pfn(pfn)));
        assert_eq!(staging.leave_out(&again), 2);
        // What comes again is not left out with the old.
        staging.extend([PageEntry::new(Pfn(1), PageType::Normal)])[0] = [9; PAGE_SIZE];
        let read = |staging: &Staging| -> Vec<(u64, Option<u8>)> {
            staging.iter().map(|(entry, page)| (entry.pfn().0, page.map(|page| page[0]))).collect()
        };
        assert_eq!(read(&staging), [(3, Some(1)), (4, Some(2)), (1, Some(9))]);
        staging.clear();
        staging.extend([PageEntry::new(Pfn(5), PageType::Normal)])[0] = [5; PAGE_SIZE];
        assert_eq!(read(&staging), [(5, Some(5))]);
    }
}
