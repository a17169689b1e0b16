//! Reads single words of mapped memory that the guest may be writing.

use crate::Mapping;
use understudy_checkpoint::PAGE_SIZE;

/// The little-endian word at `offset` bytes of the page at `index`; `None` if that page is not mapped.
#[allow(unsafe_code)]
pub(crate) fn word(mapping: &Mapping, index: usize, offset: usize) -> Option<u64> {
    assert!(offset.is_multiple_of(8) && offset < PAGE_SIZE, "an aligned word of one page");
    let page = mapping.page(index)?.cast::<u64>();
    // SAFETY: the page is mapped for as long as `mapping` is borrowed, and an aligned word at this offset lies in it.
    // The guest may write it meanwhile, so the read is volatile; any value is a valid u64.
    Some(unsafe { page.add(offset / 8).read_volatile() })
}
