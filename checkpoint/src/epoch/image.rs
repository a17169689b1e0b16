//! A guest's memory at rest: the secondary's committed image, and the memory that a lab guest runs on.
//!
//! It is sparse, in chunks of 512 frames. A PVH guest's pfns reach to 4 GiB however small the guest is, a ballooned
//! guest has a few pages in each 2 MiB, and a hostile stream may name pfns up to its limit. Memory is allocated for
//! pages that exist, and freed when a frame loses its page.
//!
//! ```text
//!   chunks:  [ ● | – | ● | – | – | … ]      – nothing but absent frames; the list ends at the last frame that had a page
//!              │       └─► 512 types │ no page among them
//!              └─► 512 types │ pages of those that have one (store)
//! ```

use super::Staging;
use super::buffer::ZERO_PAGE;
use super::store::{PageStore, STORE_FRAMES};
use crate::domain::{DomainState, Sink};
use crate::pages::{DirtyBitmap, copy_into};
use crate::room::{self, OutOfMemory};
use crate::{Page, PageEntry, PageType, Pfn};

const CHUNK_PAGES: usize = STORE_FRAMES;

/// The types of a chunk's frames as nibbles, and their pages once there is one.
#[derive(Debug)]
struct Chunk {
    types: [u8; CHUNK_PAGES],
    pages: Option<PageStore>,
}

/// A chunk on the heap: a box whose allocation may fail, which a box of a single value cannot.
type Place = Box<[Chunk; 1]>;

impl Chunk {
    fn new() -> Result<Place, OutOfMemory> {
        let mut place = Vec::new();
        room::reserve_exact(&mut place, 1)?;
        place.push(Self { types: [PageType::Absent.nibble(); CHUNK_PAGES], pages: None });
        place.into_boxed_slice().try_into().map_err(|_| OutOfMemory)
    }

    fn page_type(&self, index: usize) -> PageType {
        PageType::from_nibble(self.types[index]).expect("only nibbles of page types are stored")
    }
}

/// The frames of a guest by pfn, with their types, and the state that belongs to them.
#[derive(Debug)]
pub struct Image {
    page_count: u64,
    chunks: Vec<Option<Place>>,
    state: DomainState,
    resident_bytes: usize,
    /// Set once memory ran out: from then on the image lacks something that it was given.
    fault: Option<OutOfMemory>,
}

impl Image {
    /// An image without pages, for pfns below `page_count`. Allocates no memory yet.
    pub fn new(page_count: u64) -> Self {
        Self { page_count, chunks: Vec::new(), state: DomainState::default(), resident_bytes: 0, fault: None }
    }

    /// Allows pfns below `page_count`. Never removes any.
    pub fn grow(&mut self, page_count: u64) {
        self.page_count = self.page_count.max(page_count);
    }

    /// The number of pfns.
    pub fn page_count(&self) -> u64 {
        self.page_count
    }

    /// The type of a frame.
    pub fn page_type(&self, pfn: Pfn) -> PageType {
        self.chunk(pfn).map_or(PageType::Absent, |chunk| chunk.page_type(pfn.0 as usize % CHUNK_PAGES))
    }

    fn chunk(&self, pfn: Pfn) -> Option<&Chunk> {
        self.chunks.get(pfn.0 as usize / CHUNK_PAGES)?.as_ref().map(|place| &place[0])
    }

    fn chunk_mut(&mut self, pfn: Pfn) -> Result<&mut Chunk, OutOfMemory> {
        assert!(pfn.0 < self.page_count, "pfn {pfn} beyond the image's {} frames", self.page_count);
        let number = usize::try_from(pfn.0).map_err(|_| OutOfMemory)? / CHUNK_PAGES;
        if number >= self.chunks.len() {
            let more = number + 1 - self.chunks.len();
            room::reserve(&mut self.chunks, more)?;
            self.chunks.resize_with(number + 1, || None);
        }
        let place = &mut self.chunks[number];
        if place.is_none() {
            *place = Some(Chunk::new()?);
        }
        Ok(&mut place.as_mut().expect("made if it was not there")[0])
    }

    /// The type of a frame, but absent if the type carries data and no page was written yet.
    fn held_type(&self, pfn: Pfn) -> PageType {
        let page_type = self.page_type(pfn);
        if page_type.has_data() && self.page(pfn).is_none() { PageType::Absent } else { page_type }
    }

    /// The content of a frame that holds a page.
    pub fn page(&self, pfn: Pfn) -> Option<&Page> {
        self.chunk(pfn)?.pages.as_ref()?.get(pfn.0 as usize % CHUNK_PAGES)
    }

    /// The content of a frame, for writing. A frame without a page becomes a zeroed plain page. Fails if the host lacks
    /// the memory.
    pub fn page_mut(&mut self, pfn: Pfn) -> Result<&mut Page, OutOfMemory> {
        let index = pfn.0 as usize % CHUNK_PAGES;
        if self.page(pfn).is_none() {
            self.put(pfn, &ZERO_PAGE)?;
            self.chunk_mut(pfn)?.types[index] = PageType::Normal.nibble();
        }
        let pages = self.chunk_mut(pfn)?.pages.as_mut();
        Ok(pages.and_then(|pages| pages.get_mut(index)).expect("the frame has a page by now"))
    }

    fn put(&mut self, pfn: Pfn, page: &Page) -> Result<(), OutOfMemory> {
        let pages = self.chunk_mut(pfn)?.pages.get_or_insert_with(PageStore::new);
        let before = pages.bytes();
        let result = pages.put(pfn.0 as usize % CHUNK_PAGES, page);
        let after = pages.bytes();
        self.resident_bytes = self.resident_bytes - before + after;
        result
    }

    fn remove(&mut self, pfn: Pfn) {
        let Ok(Chunk { pages: Some(pages), .. }) = self.chunk_mut(pfn) else { return };
        let before = pages.bytes();
        pages.remove(pfn.0 as usize % CHUNK_PAGES);
        let after = pages.bytes();
        self.resident_bytes = self.resident_bytes - before + after;
    }

    fn try_apply(&mut self, entry: PageEntry, page: Option<&Page>) -> Result<(), OutOfMemory> {
        let pfn = entry.pfn();
        match page {
            Some(page) => self.put(pfn, page)?,
            None if self.page(pfn).is_some() => self.remove(pfn),
            None => {}
        }
        if entry.page_type() != self.page_type(pfn) {
            self.chunk_mut(pfn)?.types[pfn.0 as usize % CHUNK_PAGES] = entry.page_type().nibble();
        }
        Ok(())
    }

    /// Every frame that was written, ascending.
    pub fn entries(&self) -> impl Iterator<Item = PageEntry> {
        self.chunks
            .iter()
            .enumerate()
            .filter(|(_, chunk)| chunk.is_some())
            .flat_map(|(number, _)| {
                (0..CHUNK_PAGES).map(move |index| Pfn((number * CHUNK_PAGES + index) as u64))
            })
            .map(|pfn| PageEntry::new(pfn, self.page_type(pfn)))
            .filter(|entry| entry.page_type() != PageType::Absent)
    }

    /// Copies the frames marked in `wanted` from `from` on into `staging`, as
    /// [`Source::copy_pages`](crate::domain::Source::copy_pages) requires: returns the pfn to continue from when the
    /// staging is full.
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

    /// The state of the image's epoch.
    pub fn state(&self) -> &DomainState {
        &self.state
    }

    /// Bytes of page memory in use.
    pub fn resident_bytes(&self) -> usize {
        self.resident_bytes
    }
}

impl Sink for Image {
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        Self::page(self, pfn)
    }

    fn page_type(&self, pfn: Pfn) -> PageType {
        Self::page_type(self, pfn)
    }

    fn state(&self) -> &DomainState {
        Self::state(self)
    }

    fn apply_page(&mut self, entry: PageEntry, page: Option<&Page>) {
        assert_eq!(page.is_some(), entry.page_type().has_data(), "data exactly where the type has data");
        if let Err(fault) = self.try_apply(entry, page) {
            self.fault = Some(fault);
        }
    }

    fn apply_state(&mut self, state: &DomainState) {
        let libxc = room::copy(&mut self.state.libxc, &state.libxc);
        if let Err(fault) = libxc.and_then(|()| room::copy(&mut self.state.libxl, &state.libxl)) {
            self.fault = Some(fault);
        }
    }

    fn fault(&self) -> Option<String> {
        self.fault.map(|fault| fault.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PAGE_SIZE;

    #[test]
    fn a_frame_reads_back_until_its_type_loses_its_data() {
        let mut image = Image::new(2000);
        assert!(image.page(Pfn(1999)).is_none());
        image.apply_page(PageEntry::new(Pfn(1999), PageType::Normal), Some(&[7; PAGE_SIZE]));
        assert_eq!(image.page(Pfn(1999)).unwrap()[9], 7);
        assert_eq!(image.entries().count(), 1);
        image.apply_page(PageEntry::new(Pfn(1999), PageType::Absent), None);
        assert!(image.page(Pfn(1999)).is_none());
        assert_eq!(image.resident_bytes(), 0, "memory of a page that is gone is given back");
        assert_eq!(image.page_mut(Pfn(1999)).unwrap()[9], 0, "a page that comes back is a new page");
        assert!(image.page(Pfn(5000)).is_none());
    }

    #[test]
    fn frames_far_apart_cost_memory_only_where_they_hold_pages() {
        let mut image = Image::new(1 << 28);
        let types = [PageType::Absent, PageType::AllocateOnly, PageType::Broken, PageType::Normal];
        let entries: Vec<_> = types
            .iter()
            .zip(1..)
            .map(|(kind, place)| PageEntry::new(Pfn((place << 26) - 1), *kind))
            .collect();
        for entry in &entries {
            image.apply_page(*entry, entry.page_type().has_data().then_some(&[3; PAGE_SIZE]));
        }
        assert_eq!(image.resident_bytes(), PAGE_SIZE);
        assert_eq!(image.entries().collect::<Vec<_>>(), entries[1..]);
    }

    #[test]
    fn an_image_without_memory_says_so_and_stands() {
        for requests in 0..5 {
            let mut image = Image::new(2000);
            room::scarce::with(requests, || {
                image.apply_page(PageEntry::new(Pfn(7), PageType::Normal), Some(&[7; PAGE_SIZE]));
                image.apply_state(&DomainState { libxc: vec![1; 100], libxl: vec![2; 100] });
            });
            assert!(image.fault().is_some(), "{requests} requests were granted");
        }
        let mut image = Image::new(2000);
        room::scarce::with(0, || assert_eq!(image.page_mut(Pfn(7)).err(), Some(OutOfMemory)));
    }

    #[test]
    fn a_huge_guest_costs_nothing_before_it_has_a_page_and_is_refused_where_it_would() {
        let last = Pfn((1 << 52) - 1);
        let mut image = Image::new(last.0 + 1);
        assert_eq!((image.page_type(last), image.entries().count()), (PageType::Absent, 0));
        image.apply_page(PageEntry::new(last, PageType::Absent), None);
        assert_eq!(image.fault(), None, "no page, no memory");
        // The list of its chunks alone would take 64 TiB, which a host may promise and not have.
        room::scarce::with(0, || {
            image.apply_page(PageEntry::new(last, PageType::Normal), Some(&[7; PAGE_SIZE]));
        });
        assert!(image.fault().is_some_and(|why| why.contains("no memory")));
        assert!(image.page(last).is_none());
    }

    #[test]
    fn a_ballooned_guest_costs_what_it_has() {
        let mut image = Image::new(1 << 20);
        for pfn in (0..1 << 20).step_by(64) {
            image.apply_page(PageEntry::new(Pfn(pfn), PageType::Normal), Some(&[3; PAGE_SIZE]));
        }
        assert_eq!(image.resident_bytes(), 64 << 20, "8 pages in each 2 MiB of 4 GiB");
        for pfn in (0..1 << 20).step_by(64) {
            image.apply_page(PageEntry::new(Pfn(pfn), PageType::Absent), None);
        }
        assert_eq!((image.resident_bytes(), image.entries().count()), (0, 0));
    }
}
