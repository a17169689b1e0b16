//! Copies guest pages into staging: in the pause, so in parallel, and into memory that is there already.
//!
//! Not here: which pages are wanted, and how a guest's memory is reached.

use super::streaming::Stores;
use crate::{Page, PageEntry, Pfn};

/// Below this many pages for each copier, starting a thread may cost more than it saves: 100 to 200 µs on
/// two busy cores, in which one copies some 300 pages.
const PAGES_PER_COPIER_MIN: usize = 1024;

/// From this many pages on they are written past the caches: what fits a core's L2 cache (512 KiB on the smallest
/// servers) is encoded from there.
const STREAMED_PAGES_MIN: usize = 128;

/// Fills `pages`, one for each of `entries` that carries data, in their order, with what `page_of` gives for
/// its frame. Uses up to `copiers` threads, this one included, when there is enough to copy.
///
/// Panics if the number of pages is not that of entries with data, or if a copier panics.
pub fn copy_into<'source, F>(entries: &[PageEntry], pages: &mut [Page], copiers: usize, page_of: F)
where
    F: Fn(Pfn) -> &'source Page + Sync,
{
    let stores = if pages.len() >= STREAMED_PAGES_MIN { Stores::streaming() } else { Stores::Plain };
    let shares = copiers.min(pages.len() / PAGES_PER_COPIER_MIN).max(1);
    if shares == 1 {
        return copy_share(entries, pages, stores, &page_of);
    }
    crossbeam::thread::scope(|scope| {
        let (mut entries, mut pages) = (entries, pages);
        for left in (2..=shares).rev() {
            let (here, rest) = pages.split_at_mut(pages.len() / left);
            let (with_data, others) = entries.split_at(entries_of(entries, here.len()));
            (entries, pages) = (others, rest);
            let page_of = &page_of;
            scope.spawn(move |_| copy_share(with_data, here, stores, page_of));
        }
        copy_share(entries, pages, stores, &page_of);
    })
    .expect("a copier panicked");
}

/// How many entries from the front hold just `pages` pages of data.
fn entries_of(entries: &[PageEntry], pages: usize) -> usize {
    let mut with_data = entries.iter().enumerate().filter(|(_, entry)| entry.page_type().has_data());
    with_data.nth(pages).map_or(entries.len(), |(index, _)| index)
}

fn copy_share<'source>(
    entries: &[PageEntry],
    pages: &mut [Page],
    stores: Stores,
    page_of: &impl Fn(Pfn) -> &'source Page,
) {
    let with_data = entries.iter().filter(|entry| entry.page_type().has_data());
    let mut sources = with_data.map(|entry| page_of(entry.pfn())).peekable();
    for page in &mut *pages {
        let source = sources.next().expect("an entry with data for each page");
        stores.copy(source, sources.peek().unwrap_or(&source), page);
    }
    assert!(sources.next().is_none(), "a page for each entry with data");
    stores.fence();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PAGE_SIZE, PageType};

    #[test]
    fn every_page_lands_at_its_entry_with_any_number_of_copiers() {
        let sources: Vec<Page> = (0..3000u32).map(|number| [(number % 251) as u8; PAGE_SIZE]).collect();
        let entry = |pfn: u64| {
            PageEntry::new(Pfn(pfn), if pfn.is_multiple_of(7) { PageType::Absent } else { PageType::Normal })
        };
        let entries: Vec<PageEntry> = (0..3000).map(entry).collect();
        let wanted: Vec<u8> = (0..3000u64).filter(|pfn| pfn % 7 != 0).map(|pfn| (pfn % 251) as u8).collect();
        for copiers in [0, 1, 2, 3, 5] {
            let mut pages = vec![[0xFF; PAGE_SIZE]; wanted.len()];
            copy_into(&entries, &mut pages, copiers, |pfn| &sources[pfn.0 as usize]);
            let seen: Vec<u8> = pages.iter().map(|page| page[PAGE_SIZE - 1]).collect();
            assert!(seen == wanted, "{copiers} copiers");
        }
    }
}
