//! Word size of the sender and kind of its guest, from the first 20 bytes. Nobody needs to be told them.
//!
//! ```text
//!              0          4          8          12         16         20
//!   32-bit HVM | p2m_size | chunk id | …
//!   32-bit PV  | p2m_size | FF FF FF FF | total | …
//!   64-bit HVM | p2m_size | 0        | chunk id | …
//!   64-bit PV  | p2m_size | 0        | FF FF FF FF FF FF FF FF | total |
//! ```
//!
//! The second word is zero exactly if words have 8 bytes: it is the upper half of `p2m_size` then, which is below 2²⁸.
//! Otherwise it is the signature of a PV guest's extended info, or a chunk id of an HVM guest's stream; that is not 0,
//! since a chunk with the vCPUs' map comes before the 0 in every stream. A signature in the place of a chunk id would be
//! the chunk that announces a second copy of all pages, which no sender begins with; `total` is beyond every chunk id.
//!
//! Streams of PV guests without extended info (before Xen 3.0.3) have no such mark, and are refused.

use super::bytes::{i32_at, u32_at};
use super::chunk;
use super::fault::{Defect, Rule};
use super::limits::{BATCH_ENTRIES_MAX, FRAMES_MAX};
use super::word_size::WordSize;
use crate::stream::libxc::DomainType;
use std::fmt;

/// Bytes that tell a legacy stream. Every stream has more.
pub const HEAD_BYTES: usize = 20;

/// What the first bytes of a legacy stream say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The sender's word.
    pub word: WordSize,
    /// The guest's kind.
    pub guest: DomainType,
    /// Frames of the guest: its highest pfn and one.
    pub frames: u32,
    /// Bytes of extended info that follow; PV only.
    pub(super) info_bytes: u32,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (guest, bits) = (guest_name(self.guest), self.word.bits());
        write!(f, "{guest} guest of {} frames, sent by a {bits}-bit toolstack", self.frames)
    }
}

/// How people call the guest's kind.
pub(super) fn guest_name(guest: DomainType) -> &'static str {
    match guest {
        DomainType::Pv => "PV",
        DomainType::Hvm => "HVM",
    }
}

impl Head {
    /// Reads the head of a stream, of which at least [`HEAD_BYTES`] are there.
    pub fn read(first: &[u8]) -> Result<Self, Defect> {
        let refuse = |detail: String| Err(Defect::new(Rule::Head, detail));
        let frames = u32_at(first, 0);
        if frames == 0 || frames > FRAMES_MAX {
            return refuse(format!(
                "It begins with {frames:#x}; a legacy stream begins with the number of the guest's frames, \
                 1 to {FRAMES_MAX:#x}"
            ));
        }
        let word = if u32_at(first, 4) == 0 { WordSize::Eight } else { WordSize::Four };
        let bytes = word.bytes();
        if first[bytes..2 * bytes].iter().all(|byte| *byte == 0xFF) {
            let info_bytes = u32_at(first, 2 * bytes);
            if info_bytes as usize <= BATCH_ENTRIES_MAX {
                return refuse(format!(
                    "Extended info of {info_bytes} bytes cannot hold a vCPU: it is no legacy stream"
                ));
            }
            return Ok(Self { word, guest: DomainType::Pv, frames, info_bytes });
        }
        let id = i32_at(first, bytes);
        if id == chunk::END || !chunk::is_known(id) {
            return refuse(format!(
                "Neither a PV guest's extended info nor a chunk of an HVM guest follows the number of frames, but \
                 {id:#x}. (PV guests saved before Xen 3.0.3 have no extended info, and cannot be converted.)"
            ));
        }
        Ok(Self { word, guest: DomainType::Hvm, frames, info_bytes: 0 })
    }

    /// Bytes that this head has in the stream.
    pub(super) fn bytes(&self) -> usize {
        match self.guest {
            DomainType::Pv => 2 * self.word.bytes() + 4,
            DomainType::Hvm => self.word.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(words: &[u32]) -> Result<Head, Rule> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Head::read(&bytes).map_err(|defect| defect.rule)
    }

    #[test]
    fn word_size_and_guest_are_told_by_the_first_bytes() {
        use {DomainType::*, WordSize::*};
        let told = |words: &[u32]| head(words).map(|head| (head.word, head.guest, head.frames));
        assert_eq!(told(&[0x400, 0, 5, 0, 0]), Ok((Eight, Hvm, 0x400)));
        assert_eq!(told(&[0x400, 5, 7, 0, 0]), Ok((Four, Hvm, 0x400)));
        assert_eq!(told(&[0x400, -7i32 as u32, 0, 0, 0]), Ok((Four, Hvm, 0x400)));
        assert_eq!(told(&[0x400, 0, u32::MAX, u32::MAX, 5176]), Ok((Eight, Pv, 0x400)));
        assert_eq!(told(&[0x400, u32::MAX, 2808, 0, 0]), Ok((Four, Pv, 0x400)));
        assert_eq!(told(&[FRAMES_MAX, u32::MAX, 2808, 0, 0]), Ok((Four, Pv, FRAMES_MAX)));
    }

    #[test]
    fn what_no_sender_begins_with_is_refused() {
        for words in [
            [0, 0, 5, 0, 0],
            [FRAMES_MAX + 1, 0, 5, 0, 0],
            [u32::MAX, u32::MAX, 5, 0, 0],
            [0x400, 0, 0, 0, 0],
            [0x400, 0, 1025, 0, 0],
            [0x400, 0, -22i32 as u32, 0, 0],
            [0x400, 0, u32::MAX, u32::MAX, 1024],
            [0x400, u32::MAX, u32::MAX - 1, 0, 0].map(|word| if word == u32::MAX - 1 { 7 } else { word }),
        ] {
            assert_eq!(head(&words), Err(Rule::Head), "{words:x?}");
        }
    }
}
