//! Compressed pages of a Remus checkpoint.
//!
//! ```text
//!   00                     as it was
//!   80 | 4096 bytes        whole
//!   runs                   until the page is full, each of n words of 4 bytes, n = 1 … 127:
//!     80 + n               these stay as they were
//!     n | 4n bytes         these are new
//! ```
//!
//! "As it was" means at the checkpoint before, and only of pages that came compressed since the second checkpoint: a
//! sender remembers no others, and sends them whole. Page tables always come whole and are not remembered.

use super::fault::{Defect, Rule};
use super::limits::CHECKPOINT_BYTES_MAX;
use super::remembered::Remembered;
use crate::room::reserve;
use crate::stream::libxc::write_page_data_head;
use crate::{PAGE_SIZE, Page, PageEntry, PageType};

const UNCHANGED: u8 = 0;
const WHOLE: u8 = 0x80;
const STAYS: u8 = 0x80;
const WORD_BYTES: usize = 4;

/// Of a record, what stands before its entries.
const RECORD_HEAD_BYTES: usize = 16;

/// Entries of one record.
const RECORD_ENTRIES_MAX: usize = 1024;

fn broken(detail: impl Into<String>) -> Defect {
    Defect::new(Rule::Compressed, detail)
}

/// Unpacks the pages of a whole body into records of pages.
pub(super) fn unpack(
    entries: &[PageEntry],
    packed: &[u8],
    remembered: &mut Remembered,
    out: &mut Vec<u8>,
) -> Result<(), Defect> {
    let mut rest = packed;
    let mut batch = Vec::new();
    let mut pages = Vec::new();
    for entry in entries {
        if batch.len() == RECORD_ENTRIES_MAX || batch.iter().any(|it: &PageEntry| it.pfn() == entry.pfn()) {
            write(out, &mut batch, &mut pages)?;
        }
        if entry.page_type().has_data() {
            let Some(page) = next_page(*entry, &mut rest, remembered)? else {
                remembered.touch(entry.pfn());
                continue;
            };
            match entry.page_type() {
                PageType::Normal => {
                    remembered.put(entry.pfn(), &page).map_err(|error| broken(error.to_string()))?
                }
                _ => remembered.forget(entry.pfn()),
            }
            pages.extend_from_slice(&page);
        }
        batch.push(*entry);
    }
    write(out, &mut batch, &mut pages)?;
    if rest.is_empty() {
        Ok(())
    } else {
        Err(broken(format!("{} bytes more than the pages take", rest.len())))
    }
}

fn write(out: &mut Vec<u8>, batch: &mut Vec<PageEntry>, pages: &mut Vec<u8>) -> Result<(), Defect> {
    if !batch.is_empty() {
        if out.len() + pages.len() > CHECKPOINT_BYTES_MAX {
            let detail = format!("Its pages take more than {CHECKPOINT_BYTES_MAX} bytes");
            return Err(Defect::new(Rule::Checkpoint, detail));
        }
        reserve(out, RECORD_HEAD_BYTES + 8 * batch.len() + pages.len())
            .map_err(|error| broken(error.to_string()))?;
        write_page_data_head(out, batch);
        out.extend_from_slice(pages);
        batch.clear();
        pages.clear();
    }
    Ok(())
}

/// The next page; `None` if it is as the receiver has it.
fn next_page(entry: PageEntry, rest: &mut &[u8], remembered: &Remembered) -> Result<Option<Page>, Defect> {
    let pfn = entry.pfn();
    let ends = || broken(format!("The data end within the page of pfn {:#x}", pfn.0));
    let unknown =
        || broken(format!("Pfn {:#x} is sent as a change of a page that no sender remembers", pfn.0));
    let marker = *rest.first().ok_or_else(ends)?;
    match marker {
        // A table would have come whole.
        UNCHANGED if entry.page_type() != PageType::Normal => Err(unknown()),
        UNCHANGED => {
            *rest = &rest[1..];
            Ok(None)
        }
        WHOLE => {
            let (page, after) = rest[1..].split_first_chunk::<PAGE_SIZE>().ok_or_else(ends)?;
            *rest = after;
            Ok(Some(*page))
        }
        _ => {
            let mut page = *remembered.get(pfn).ok_or_else(unknown)?;
            change(&mut page, rest)
                .map_err(|what| broken(format!("The page of pfn {:#x}: {what}", pfn.0)))?;
            Ok(Some(page))
        }
    }
}

/// Applies runs to a page until it is full.
fn change(page: &mut Page, rest: &mut &[u8]) -> Result<(), &'static str> {
    let mut filled = 0;
    while filled < PAGE_SIZE {
        let (marker, after) = rest.split_first().ok_or("the data end before it is full")?;
        let bytes = usize::from(marker & !STAYS) * WORD_BYTES;
        let into = page.get_mut(filled..filled + bytes).ok_or("a run goes beyond its end")?;
        if bytes == 0 {
            return Err("a run of no words");
        }
        *rest = after;
        if marker & STAYS == 0 {
            let (new, after) = rest.split_at_checked(bytes).ok_or("the data end within a run")?;
            into.copy_from_slice(new);
            *rest = after;
        }
        filled += bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pfn;

    const BEFORE: Page = [1; PAGE_SIZE];

    fn unpacked(packed: &[u8]) -> Result<Vec<u8>, String> {
        let mut remembered = Remembered::default();
        remembered.put(Pfn(5), &BEFORE).unwrap();
        let mut out = Vec::new();
        let entries = [PageEntry::new(Pfn(5), PageType::Normal)];
        unpack(&entries, packed, &mut remembered, &mut out).map_err(|defect| defect.detail)?;
        Ok(out.split_off(8 + 8 + 8))
    }

    #[test]
    fn a_page_is_what_its_runs_make_of_the_one_before() {
        assert_eq!(unpacked(&[&[0x80][..], &[9; PAGE_SIZE]].concat()).unwrap(), [9; PAGE_SIZE]);
        let mut runs = vec![2, 8, 8, 8, 8, 7, 7, 7, 7];
        runs.extend([0xFF; 8]);
        runs.push(0x80 + 6);
        let page = unpacked(&runs).unwrap();
        assert_eq!(page[..9], [8, 8, 8, 8, 7, 7, 7, 7, 1]);
        assert_eq!(page.len(), PAGE_SIZE);
    }

    #[test]
    fn what_is_no_page_is_refused_with_what_is_wrong() {
        for (packed, what) in [
            (&[][..], "end within the page"),
            (&[0x80, 1, 2], "end within the page"),
            (&[0x81, 0x80], "a run of no words"),
            (&[0xFF; 9], "beyond its end"),
            (&[0x81], "before it is full"),
            (&[0x02, 1, 2, 3], "within a run"),
            (&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x88, 0], "1 bytes more"),
        ] {
            let detail = unpacked(packed).unwrap_err();
            assert!(detail.contains(what), "{packed:x?}: {detail}");
        }
    }

    #[test]
    fn a_page_that_was_a_table_is_not_remembered() {
        let mut remembered = Remembered::default();
        let whole = [&[0x80][..], &[9; PAGE_SIZE]].concat();
        let table = PageEntry::new(Pfn(5), PageType::Table { level: 1, pinned: false });
        let plain = PageEntry::new(Pfn(5), PageType::Normal);
        let mut send = |entry, packed: &[u8]| unpack(&[entry], packed, &mut remembered, &mut Vec::new());
        send(plain, &whole).unwrap();
        send(plain, &[0xFF; 8].iter().copied().chain([0x88]).collect::<Vec<_>>()).unwrap();
        send(table, &whole).unwrap();
        assert!(send(plain, &[0xFF; 9]).unwrap_err().detail.contains("no sender remembers"));
        let mut out = Vec::new();
        unpack(&[plain], &[0], &mut remembered, &mut out).unwrap();
        assert!(out.is_empty(), "the receiver has it");
    }
}
