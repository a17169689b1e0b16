//! Reads mapped memory that the guest or a backend may be writing: single words, and whole pages to compare.

use crate::Mapping;
use understudy_checkpoint::{PAGE_SIZE, Page};

/// The little-endian word at `offset` bytes of the page at `index`; `None` if that page is not mapped.
#[allow(unsafe_code)]
pub(crate) fn word(mapping: &Mapping, index: usize, offset: usize) -> Option<u64> {
    assert!(offset.is_multiple_of(8) && offset < PAGE_SIZE, "an aligned word of one page");
    let page = mapping.page(index)?.cast::<u64>();
    // SAFETY: the page is mapped for as long as `mapping` is borrowed, and an aligned word at this offset lies in it.
    // The guest may write it meanwhile, so the read is volatile; any value is a valid u64.
    Some(unsafe { page.add(offset / 8).read_volatile() })
}

/// Whether the page at `index` equals `page`; `None` if it is not mapped. Stops at the first cache line that differs.
///
/// Measured: 6 ms for 64 MiB that are the same; copying each page and comparing the copy takes 11 ms.
#[allow(unsafe_code)]
pub(crate) fn is_same(mapping: &Mapping, index: usize, page: &Page) -> Option<bool> {
    const WORDS_PER_LINE: usize = 8;
    let words = mapping.page(index)?.cast::<u64>();
    let lines = page.as_chunks::<8>().0.as_chunks::<WORDS_PER_LINE>().0;
    Some(lines.iter().enumerate().all(|(line, expected)| {
        let difference = expected.iter().enumerate().fold(0, |difference, (word, bytes)| {
            // SAFETY: as in `word`: the page is mapped for as long as `mapping` is borrowed, this word of 512 lies in
            // it, and it is read volatile since it may be written meanwhile.
            let now = unsafe { words.add(line * WORDS_PER_LINE + word).read_volatile() };
            difference | (now ^ u64::from_ne_bytes(*bytes))
        });
        difference == 0
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::Simulated;
    use crate::{Access, DomId, Gfn, Hypervisor};

    #[test]
    fn one_byte_anywhere_makes_a_page_another() {
        let hypervisor = Simulated::new();
        let mut page: Page = std::array::from_fn(|at| (at * 7) as u8);
        hypervisor.write_frame(3, &page);
        let memory = hypervisor.foreign_memory(DomId(1)).unwrap();
        let mapping = Mapping::new(memory, DomId(1), &[Gfn(3).into()], Access::Read).unwrap();
        assert_eq!(is_same(&mapping, 0, &page), Some(true));
        for at in 0..PAGE_SIZE {
            page[at] ^= 0x80;
            assert_eq!(is_same(&mapping, 0, &page), Some(false), "byte {at}");
            page[at] ^= 0x80;
        }
    }

    #[test]
    fn what_is_not_mapped_is_neither() {
        let hypervisor = Simulated::new();
        hypervisor.break_frame(3, nix::errno::Errno::EINVAL);
        let memory = hypervisor.foreign_memory(DomId(1)).unwrap();
        let mapping = Mapping::new(memory, DomId(1), &[Gfn(3).into()], Access::Read).unwrap();
        assert_eq!(is_same(&mapping, 0, &[0; PAGE_SIZE]), None);
    }
}
