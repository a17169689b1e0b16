//! Transcendent memory in a legacy stream: pools, each with its number of pages, until the number of a pool is all ones.
//!
//! ```text
//!   0        4        8       12                 28
//!   | number | flags  | pages | …                 |   a pool; the end has the number only
//! ```
//!
//! A pool that holds pages is refused, as no Xen since 4.13 could give them back to the guest.

use super::bytes::u32_at;
use super::fault::{Defect, Rule};

const END: u32 = u32::MAX;
const NUMBER_BYTES: usize = 4;
/// Bytes of a pool.
pub(super) const POOL_BYTES: usize = 28;
/// Bytes of an extra part.
pub(super) const EXTRA_BYTES: usize = 32;

/// Bytes of the part that the input begins with, which has `bytes` unless it is the end.
pub(super) fn needed(input: &[u8], bytes: usize) -> usize {
    if input.len() < NUMBER_BYTES || is_end(input) { NUMBER_BYTES } else { bytes }
}

pub(super) fn is_end(bytes: &[u8]) -> bool {
    u32_at(bytes, 0) == END
}

/// Refuses a pool that holds pages of the guest.
pub(super) fn check_pool(bytes: &[u8]) -> Result<(), Defect> {
    let (pool, pages) = (u32_at(bytes, 0), u32_at(bytes, 8));
    if pages == 0 {
        return Ok(());
    }
    let detail = format!(
        "Pool {pool} of transcendent memory holds {pages} pages of the guest. No Xen since 4.13 has such memory: the guest \
         would lose them, so the stream is not converted"
    );
    Err(Defect::new(Rule::Tmem, detail))
}
