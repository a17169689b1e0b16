//! PAGE_DATA: pfns with their types, followed by a page for each entry whose type carries data.
//!
//! ```text
//!   0       4     8           8+8C                  8+8C+4096N
//!   | count | 0   | entries   | pages of entries    |
//!   | C     |     | u64 × C   | that carry data × N |
//! ```

use crate::stream::fault::{Defect, Rule};
use crate::stream::frame;
use crate::stream::limits::{PAGE_ENTRIES_MAX, PFNS_MAX};
use crate::{PAGE_SIZE, Page, PageEntry};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PageDataHeader {
    count: U32,
    reserved: U32,
}

/// A checked PAGE_DATA body; entries and pages are borrowed from the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageData<'a> {
    entries: &'a [U64],
    pages: &'a [Page],
}

impl<'a> PageData<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Defect> {
        let (header, rest): (&PageDataHeader, _) = frame::prefix(body, "PAGE_DATA")?;
        let count = header.count.get() as usize;
        if !(1..=PAGE_ENTRIES_MAX).contains(&count) {
            let detail = format!("PAGE_DATA holds {count} entries; 1 to {PAGE_ENTRIES_MAX} are allowed");
            return Err(Defect::new(Rule::PageCount, detail));
        }
        frame::reserved(header.reserved.get().into(), "PAGE_DATA")?;
        let Some((entries, pages)) = rest.split_at_checked(count * 8) else {
            let detail = format!("{count} entries do not fit in {} bytes", rest.len());
            return Err(Defect::new(Rule::BodyLength, detail));
        };
        let entries = frame::elements(entries, "Entries of PAGE_DATA")?;
        let data_pages = check_entries(entries)?;
        if pages.len() != data_pages * PAGE_SIZE {
            let detail = format!("{data_pages} pages are announced, {} bytes follow", pages.len());
            return Err(Defect::new(Rule::BodyLength, detail));
        }
        Ok(Self { entries, pages: frame::elements(pages, "Pages of PAGE_DATA")? })
    }

    /// The number of entries.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// The entries in wire order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = PageEntry> + use<'a> {
        self.entries.iter().map(|word| entry(word.get()))
    }

    /// The data of the entries that carry any, in order.
    pub fn pages(&self) -> &'a [Page] {
        self.pages
    }

    /// Entries with their data.
    pub fn iter(&self) -> impl Iterator<Item = (PageEntry, Option<&'a Page>)> + use<'a> {
        let mut pages = self.pages.iter();
        self.entries().map(move |entry| {
            let page = if entry.page_type().has_data() { pages.next() } else { None };
            (entry, page)
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let header = PageDataHeader { count: U32::new(self.entries.len() as u32), reserved: U32::new(0) };
        let parts = [header.as_bytes(), self.entries.as_bytes(), self.pages.as_bytes()];
        frame::write(out, super::kind::PAGE_DATA, &parts);
    }
}

fn entry(word: u64) -> PageEntry {
    PageEntry::from_wire(word).expect("entries were checked when the record was read")
}

/// Checks type, reserved bits and range of every entry. Returns the number of entries that carry data.
fn check_entries(entries: &[U64]) -> Result<usize, Defect> {
    let mut data_pages = 0;
    for word in entries {
        let Some(entry) = PageEntry::from_wire(word.get()) else {
            let detail = format!("Entry {word:#018x} has a reserved type or reserved bits");
            return Err(Defect::new(Rule::PageType, detail));
        };
        if entry.pfn().0 >= PFNS_MAX {
            let detail = format!("Pfn {:#x} is beyond the limit of {PFNS_MAX:#x}", entry.pfn().0);
            return Err(Defect::new(Rule::PageRange, detail));
        }
        data_pages += usize::from(entry.page_type().has_data());
    }
    Ok(data_pages)
}

/// Appends a PAGE_DATA record for entries whose pages are scattered in memory. `page` returns the data of each entry
/// that carries any, in order.
pub fn write_page_data<'p>(out: &mut Vec<u8>, entries: &[PageEntry], page: impl Fn(PageEntry) -> &'p Page) {
    let data_pages = write_page_data_head(out, entries);
    out.reserve(data_pages * PAGE_SIZE);
    for entry in entries.iter().filter(|entry| entry.page_type().has_data()) {
        out.extend_from_slice(page(*entry));
    }
}

/// Appends a PAGE_DATA record except for its data, and returns the number of pages that must follow. For a caller whose
/// pages are contiguous and need no copying.
pub fn write_page_data_head(out: &mut Vec<u8>, entries: &[PageEntry]) -> usize {
    assert!((1..=PAGE_ENTRIES_MAX).contains(&entries.len()), "callers send batches of bounded size");
    let data_pages = entries.iter().filter(|entry| entry.page_type().has_data()).count();
    let length = size_of::<PageDataHeader>() + entries.len() * 8 + data_pages * PAGE_SIZE;
    frame::write_header(out, super::kind::PAGE_DATA, length);
    let header = PageDataHeader { count: U32::new(entries.len() as u32), reserved: U32::new(0) };
    out.extend_from_slice(header.as_bytes());
    entries.iter().for_each(|entry| out.extend_from_slice(&entry.to_wire().to_le_bytes()));
    data_pages
}
