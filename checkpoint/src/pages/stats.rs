//! Statistics of encoding: pages by encoding, bytes before and after.

use crate::PAGE_SIZE;
use std::ops::AddAssign;

/// Counts of one or more calls of [`Encoder::encode`](super::Encoder::encode). Each staged entry is counted in exactly
/// one of the first six.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EncodeStats {
    /// Pages of zeros.
    pub zero: u64,
    /// Pages equal to the secondary's; nothing is sent.
    pub unchanged: u64,
    /// Pages sent as changes to the secondary's page.
    pub delta: u64,
    /// Whole pages in batches that LZ4 made smaller.
    pub lz4: u64,
    /// Whole pages in batches that LZ4 did not make smaller.
    pub raw: u64,
    /// Entries whose type carries no data.
    pub no_data: u64,
    /// Bytes of encoded batches, including their framing.
    pub encoded_bytes: u64,
    /// Pages dropped from the shadow to make room.
    pub evicted: u64,
}

impl EncodeStats {
    /// Pages with data, sent or not.
    pub fn data_pages(&self) -> u64 {
        self.zero + self.unchanged + self.delta + self.lz4 + self.raw
    }

    /// Bytes of all pages with data, before encoding.
    pub fn raw_bytes(&self) -> u64 {
        self.data_pages() * PAGE_SIZE as u64
    }
}

impl AddAssign for EncodeStats {
    fn add_assign(&mut self, other: Self) {
        self.zero += other.zero;
        self.unchanged += other.unchanged;
        self.delta += other.delta;
        self.lz4 += other.lz4;
        self.raw += other.raw;
        self.no_data += other.no_data;
        self.encoded_bytes += other.encoded_bytes;
        self.evicted += other.evicted;
    }
}
