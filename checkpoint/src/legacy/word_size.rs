//! The size of the words in a legacy stream: that of its sender's toolstack.

use super::bytes::{u32_at, u64_at};

/// Bytes of the sender's word: that of its toolstack, whatever the guest's is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WordSize {
    /// A 32-bit toolstack.
    Four,
    /// A 64-bit toolstack.
    Eight,
}

impl WordSize {
    /// How many bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// How many bits.
    pub fn bits(self) -> u32 {
        self.bytes() as u32 * 8
    }

    /// The word at `offset`.
    pub(super) fn at(self, bytes: &[u8], offset: usize) -> u64 {
        match self {
            Self::Four => u32_at(bytes, offset).into(),
            Self::Eight => u64_at(bytes, offset),
        }
    }
}
