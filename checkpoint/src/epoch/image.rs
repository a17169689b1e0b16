//! A guest's memory at rest: the secondary's committed image, and what a lab guest runs on.
//!
//! Sparse, in chunks of 2 MiB: a PVH guest's pfns reach to 4 GiB however small it is.
//!
//! ```text
//!   chunks:  [ ● | – | ● | – | – | … ]      – no page of these 512 frames was ever written
//!              │       └─► 512 pages
//!              └─► 512 pages
//!   types:   one byte for each frame
//! ```

use super::Staging;
use crate::domain::{DomainState, Sink};
use crate::pages::{DirtyBitmap, copy_into};
use crate::{PAGE_SIZE, Page, PageEntry, PageType, Pfn};

const CHUNK_PAGES: usize = 512;

/// Page frames by pfn, with their types, and the state that belongs to them.
#[derive(Debug)]
pub struct Image {
    chunks: Vec<Option<Box<[Page]>>>,
    /// Nibbles of the page types; `ABSENT` where nothing was applied.
    types: Vec<u8>,
    state: DomainState,
}

impl Image {
    /// An image without any page, for pfns below `page_count`.
    pub fn new(page_count: u64) -> Self {
        let frames = page_count as usize;
        let mut chunks = Vec::new();
        chunks.resize_with(frames.div_ceil(CHUNK_PAGES), || None);
        Self { chunks, types: vec![PageType::Absent.nibble(); frames], state: DomainState::default() }
    }

    /// Makes room for pfns below `page_count`; never takes any away.
    pub fn grow(&mut self, page_count: u64) {
        let frames = (page_count as usize).max(self.types.len());
        self.chunks.resize_with(frames.div_ceil(CHUNK_PAGES), || None);
        self.types.resize(frames, PageType::Absent.nibble());
    }

    /// Pfns are below this.
    pub fn page_count(&self) -> u64 {
        self.types.len() as u64
    }

    /// What a frame is.
    pub fn page_type(&self, pfn: Pfn) -> PageType {
        let nibble = self.types.get(pfn.0 as usize).copied().unwrap_or(PageType::Absent.nibble());
        PageType::from_nibble(nibble).expect("only nibbles of page types are stored")
    }

    /// As [`page_type`](Self::page_type), absent if the frame should hold a page and nothing put one there.
    fn held_type(&self, pfn: Pfn) -> PageType {
        let page_type = self.page_type(pfn);
        if page_type.has_data() && self.page(pfn).is_none() { PageType::Absent } else { page_type }
    }

    /// The content of a frame that holds a page.
    pub fn page(&self, pfn: Pfn) -> Option<&Page> {
        if !self.page_type(pfn).has_data() {
            return None;
        }
        let chunk = self.chunks[pfn.0 as usize / CHUNK_PAGES].as_ref()?;
        Some(&chunk[pfn.0 as usize % CHUNK_PAGES])
    }

    /// The content of a frame for writing; a frame without a page becomes a zeroed plain page.
    pub fn page_mut(&mut self, pfn: Pfn) -> &mut Page {
        let index = pfn.0 as usize;
        let chunk = self.chunks[index / CHUNK_PAGES]
            .get_or_insert_with(|| vec![[0; PAGE_SIZE]; CHUNK_PAGES].into_boxed_slice());
        let page = &mut chunk[index % CHUNK_PAGES];
        if !PageType::from_nibble(self.types[index]).is_some_and(PageType::has_data) {
            self.types[index] = PageType::Normal.nibble();
            page.fill(0);
        }
        page
    }

    /// Every frame that something was applied to, ascending.
    pub fn entries(&self) -> impl Iterator<Item = PageEntry> {
        (0..self.page_count())
            .map(|pfn| PageEntry::new(Pfn(pfn), self.page_type(Pfn(pfn))))
            .filter(|entry| entry.page_type() != PageType::Absent)
    }

    /// Copies the frames set in `wanted` from `from` on into `staging`, as
    /// [`Source::copy_pages`](crate::domain::Source::copy_pages) asks for: returns the pfn to go on from when
    /// the staging is full.
    pub fn copy_pages(
        &self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        copiers: usize,
    ) -> Option<Pfn> {
        let mut pfns = wanted.runs(from).flatten().map(Pfn);
        let room = staging.room();
        let wanted = pfns.by_ref().take(room).map(|pfn| PageEntry::new(pfn, self.held_type(pfn)));
        let (entries, pages) = staging.extend_split(wanted);
        copy_into(entries, pages, copiers, |pfn| self.page(pfn).expect("held_type looked for it"));
        pfns.next()
    }

    /// The state of the epoch the image stands at.
    pub fn state(&self) -> &DomainState {
        &self.state
    }

    /// Bytes of page memory in use.
    pub fn resident_bytes(&self) -> usize {
        self.chunks.iter().flatten().count() * CHUNK_PAGES * PAGE_SIZE
    }
}

impl Sink for Image {
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        Self::page(self, pfn)
    }

    fn apply_page(&mut self, entry: PageEntry, page: Option<&Page>) {
        assert_eq!(page.is_some(), entry.page_type().has_data(), "data exactly where the type has data");
        if let Some(page) = page {
            *self.page_mut(entry.pfn()) = *page;
        }
        self.types[entry.pfn().0 as usize] = entry.page_type().nibble();
    }

    fn apply_state(&mut self, state: &DomainState) {
        self.state.clone_from(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_until_its_type_loses_its_data() {
        let mut image = Image::new(2000);
        assert!(image.page(Pfn(1999)).is_none());
        image.apply_page(PageEntry::new(Pfn(1999), PageType::Normal), Some(&[7; PAGE_SIZE]));
        assert_eq!(image.page(Pfn(1999)).unwrap()[9], 7);
        assert_eq!(image.entries().count(), 1);
        image.apply_page(PageEntry::new(Pfn(1999), PageType::Absent), None);
        assert!(image.page(Pfn(1999)).is_none());
        assert_eq!(image.page_mut(Pfn(1999))[9], 0, "a page that comes back is a new page");
        assert!(image.page(Pfn(5000)).is_none());
    }
}
