//! [`Staging`]: the buffer that receives pages during the pause. It is allocated once, and encoding reads from it after
//! the guest has resumed.

use crate::{PAGE_SIZE, Page, PageEntry};
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
}

impl Staging {
    /// Allocates room for `capacity` entries and touches all of it, so that no page fault happens in a pause.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "staging without room would never drain");
        let pages = (0..capacity).map(|_| AlignedPage([1; PAGE_SIZE])).collect();
        Self { entries: Vec::with_capacity(capacity), pages, data_pages: 0 }
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
}
