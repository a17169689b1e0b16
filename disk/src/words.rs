//! The words of disks as types.

use std::fmt;
use std::ops::Range;
use thiserror::Error;
use understudy_checkpoint::{Epoch, Generation};

/// What a guest reads and writes at least. Extents are whole sectors, and a loss of power leaves each sector old or new.
pub const SECTOR_BYTES: u64 = 512;

/// What our own files are read and written in. No block of ours is longer than what devices of either sector size write
/// at once.
pub const BLOCK_BYTES: usize = 4096;

/// A disk's place among the disks of its guest, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DiskNumber(pub u16);

impl fmt::Display for DiskNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An epoch of a generation. Numbers of epochs that were lost with a takeover may be used again in the next generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Point {
    /// The later one is the later point.
    pub generation: Generation,
    /// Within it.
    pub epoch: Epoch,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {} of generation {}", self.epoch, self.generation)
    }
}

/// A stretch of a disk: whole sectors, at least one, and an end that can be said in 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Extent {
    offset: u64,
    bytes: u32,
}

/// This is no stretch of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{bytes} bytes at {offset} are no whole sectors of a disk; what asks for them is defective")]
pub struct BadExtent {
    /// From the disk's begin.
    pub offset: u64,
    /// Its length.
    pub bytes: u32,
}

impl Extent {
    /// The sectors from `offset` on, `bytes` long.
    pub fn new(offset: u64, bytes: u32) -> Result<Self, BadExtent> {
        let is_whole = offset.is_multiple_of(SECTOR_BYTES) && u64::from(bytes).is_multiple_of(SECTOR_BYTES);
        if !is_whole || bytes == 0 || offset.checked_add(bytes.into()).is_none() {
            return Err(BadExtent { offset, bytes });
        }
        Ok(Self { offset, bytes })
    }

    /// Where it begins.
    pub fn offset(self) -> u64 {
        self.offset
    }

    /// How long it is; never 0.
    pub fn bytes(self) -> u32 {
        self.bytes
    }

    /// Where the next one would begin.
    pub fn end(self) -> u64 {
        self.offset + u64::from(self.bytes)
    }

    /// Whether both have a sector in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }

    /// Numbers of the pieces of `piece_bytes` that it touches.
    pub fn pieces(self, piece_bytes: u64) -> Range<u64> {
        self.offset / piece_bytes..self.end().div_ceil(piece_bytes)
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {}", self.bytes, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_is_whole_sectors_with_an_end() {
        assert!(Extent::new(512, 1024).is_ok());
        for (offset, bytes) in [(0, 0), (1, 512), (512, 100), (u64::MAX - 511, 512), (u64::MAX - 1023, 1024)]
        {
            assert_eq!(Extent::new(offset, bytes), Err(BadExtent { offset, bytes }));
        }
        assert_eq!(Extent::new(u64::MAX - 1023, 512).unwrap().end(), u64::MAX - 511);
    }

    #[test]
    fn neighbours_do_not_overlap_and_pieces_are_those_touched() {
        let extent = |offset, bytes| Extent::new(offset, bytes).unwrap();
        assert!(!extent(0, 512).overlaps(extent(512, 512)));
        assert!(extent(0, 1024).overlaps(extent(512, 512)));
        assert_eq!(extent(4096, 4096).pieces(4096), 1..2);
        assert_eq!(extent(3584, 1024).pieces(4096), 0..2);
    }
}
