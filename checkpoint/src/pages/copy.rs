//! Copies guest pages into staging. This happens in the pause, so it is parallel and allocates nothing.
//!
//! Not here: which pages are wanted, and how a guest's memory is accessed.

use super::streaming::Stores;
use crate::{Page, PageEntry, Pfn};

/// With fewer pages for each copier, starting a thread may cost more than it saves: 100 to 200 µs on two busy cores, in
/// which one core copies some 300 pages.
const PAGES_PER_COPIER_MIN: usize = 1024;

/// From this many pages on, they are written past the caches. Fewer fit a core's L2 cache (512 KiB on the smallest
/// servers), from which they are encoded.
const STREAMED_PAGES_MIN: usize = 128;

/// Fills `pages`, one for each of `entries` that carries data, in order, with the pages that `page_of` returns. Uses up
/// to `copiers` threads including the calling one, if there is enough to copy.
///
/// Panics if the number of pages differs from that of entries with data, or if a copier panics.
pub fn copy_into<'source, F>(entries: &[PageEntry], pages: &mut [Page], copiers: usize, page_of: F)
where
    F: Fn(Pfn) -> &'source Page + Sync,
{
    let stores = if pages.len() >= STREAMED_PAGES_MIN { Stores::streaming() } else { Stores::Plain };
    in_shares(entries, pages, copiers, |entries, pages| copy_share(entries, pages, stores, &page_of));
}

/// [`copy_into`] for memory that others write meanwhile, to which no reference may exist: `copy` fills the page of a
/// frame.
pub fn copy_into_by<F>(entries: &[PageEntry], pages: &mut [Page], copiers: usize, copy: F)
where
    F: Fn(Pfn, &mut Page) + Sync,
{
    in_shares(entries, pages, copiers, |entries, pages| {
        let mut with_data = entries.iter().filter(|entry| entry.page_type().has_data());
        for page in pages {
            copy(with_data.next().expect("an entry with data for each page").pfn(), page);
        }
        assert!(with_data.next().is_none(), "a page for each entry with data");
    });
}

/// Divides the work among up to `copiers` threads including the calling one.
fn in_shares(
    entries: &[PageEntry],
    pages: &mut [Page],
    copiers: usize,
    share: impl Fn(&[PageEntry], &mut [Page]) + Sync,
) {
    let shares = copiers.min(pages.len() / PAGES_PER_COPIER_MIN).max(1);
    if shares == 1 {
        return share(entries, pages);
    }
    crossbeam::thread::scope(|scope| {
        let (mut entries, mut pages) = (entries, pages);
        for left in (2..=shares).rev() {
            let (here, rest) = pages.split_at_mut(pages.len() / left);
            let (with_data, others) = entries.split_at(entries_of(entries, here.len()));
            (entries, pages) = (others, rest);
            let share = &share;
            scope.spawn(move |_| share(with_data, here));
        }
        share(entries, pages);
    })
    .expect("a copier panicked");
}

/// The number of entries from the front that contain exactly `pages` pages of data.
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
            let last = |pages: &[Page]| pages.iter().map(|page| page[PAGE_SIZE - 1]).collect::<Vec<u8>>();
            assert!(last(&pages) == wanted, "{copiers} copiers");
            pages.fill([0xFF; PAGE_SIZE]);
            copy_into_by(&entries, &mut pages, copiers, |pfn, page| *page = sources[pfn.0 as usize]);
            assert!(last(&pages) == wanted, "{copiers} copiers that copy by themselves");
        }
    }
}
