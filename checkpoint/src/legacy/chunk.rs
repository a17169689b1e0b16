//! The chunks of a body: their ids, their lengths, and what they say.
//!
//! ```text
//!   | i32 id | payload |            nothing is aligned or padded
//!
//!   0                 the body ends
//!   1 … 1024          a batch of so many entries, one word each; then their pages
//!   −1, −9, −13       nothing
//!   −2                | i32 highest vCPU | a bit for each, in words of 8 bytes |
//!   −7                | u32 mode | u64 nsec | u32 kHz | u32 incarnation |
//!   −12               | word length | compressed pages |
//!   −18               | u32 length | the device model's memory |
//!   −5, −6            transcendent memory, see [`reader`](super::reader)
//!   the others        | u32 0 | u64 value |, a parameter of an HVM guest
//! ```

use super::bytes::{i32_at, u32_at, u64_at};
use super::fault::{Defect, Rule};
use super::limits::{BATCH_ENTRIES_MAX, COMPRESSED_BYTES_MAX, TOOLSTACK_BYTES_MAX, VCPUS_MAX};
use super::word_size::WordSize;
use crate::stream::libxc::{HvmParam, TscInfo};

pub(super) const END: i32 = 0;
pub(super) const VERIFY_MODE: i32 = -1;
pub(super) const VCPU_INFO: i32 = -2;
pub(super) const TMEM: i32 = -5;
pub(super) const TMEM_EXTRA: i32 = -6;
pub(super) const TSC_INFO: i32 = -7;
pub(super) const LAST_CHECKPOINT: i32 = -9;
pub(super) const COMPRESSED_DATA: i32 = -12;
pub(super) const ENABLE_COMPRESSION: i32 = -13;
pub(super) const TOOLSTACK: i32 = -18;
/// The last that was given a meaning, by Xen 4.5.4.
const LOWEST: i32 = -21;

/// Bytes of an id.
pub(super) const ID_BYTES: usize = 4;

/// A chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chunk<'a> {
    /// The body ends, its tail follows.
    End,
    /// Entries, as many words; their pages follow, unless the body is compressed.
    Batch(&'a [u8]),
    /// All pages follow again, unchanged.
    VerifyMode,
    /// Which vCPUs the tail has: bits of words of 8 bytes, and the highest number that counts.
    VcpuInfo {
        /// The highest number.
        max_id: u32,
        /// The bits.
        map: &'a [u8],
    },
    /// A parameter of an HVM guest, by its number.
    Param(HvmParam),
    /// What transcendent memory held begins.
    Tmem,
    /// What of it is no longer valid follows.
    TmemExtra,
    /// Time stamp counter.
    Tsc(TscInfo),
    /// This body and its tail are the last.
    LastCheckpoint,
    /// Compressed pages.
    Compressed(&'a [u8]),
    /// Every later body is compressed.
    EnableCompression,
    /// The device model's memory, by libxl.
    Toolstack(&'a [u8]),
}

/// The parameter that a chunk holds.
fn param_index(id: i32) -> Option<u64> {
    Some(match id {
        -3 => 12,
        -4 => 15,
        -8 => 17,
        -10 => 19,
        -11 => 9,
        -14 => 34,
        -15 => 27,
        -16 => 28,
        -17 => 29,
        -19 => 32,
        -20 => 33,
        -21 => 36,
        _ => return None,
    })
}

/// Whether any sender writes chunks of this id.
pub(super) fn is_known(id: i32) -> bool {
    (LOWEST..=BATCH_ENTRIES_MAX as i32).contains(&id)
}

/// Bytes of the chunk that `input` begins with, as far as `input` tells.
pub(super) fn needed(input: &[u8], word: WordSize) -> Result<usize, Defect> {
    if input.len() < ID_BYTES {
        return Ok(ID_BYTES);
    }
    let id = i32_at(input, 0);
    let fixed = match id {
        END | VERIFY_MODE | TMEM_EXTRA | LAST_CHECKPOINT | ENABLE_COMPRESSION => 0,
        TMEM => 28,
        TSC_INFO => 20,
        VCPU_INFO | TOOLSTACK => 4,
        COMPRESSED_DATA => word.bytes(),
        id if param_index(id).is_some() => 12,
        id if id > BATCH_ENTRIES_MAX as i32 => {
            let detail = format!("A batch of {id} entries; the limit is {BATCH_ENTRIES_MAX}");
            return Err(Defect::new(Rule::Batch, detail));
        }
        id if id > 0 => id as usize * word.bytes(),
        id => return Err(Defect::new(Rule::Chunk, format!("No Xen wrote chunks of id {id}"))),
    };
    let known = ID_BYTES + fixed;
    if input.len() < known {
        return Ok(known);
    }
    Ok(known + variable(id, input, word)?)
}

/// Bytes behind the fixed part, which is there.
fn variable(id: i32, input: &[u8], word: WordSize) -> Result<usize, Defect> {
    let limited = |bytes: u64, limit: usize, rule, what: &str| {
        if bytes > limit as u64 {
            return Err(Defect::new(rule, format!("{what} of {bytes} bytes; the limit is {limit}")));
        }
        Ok(bytes as usize)
    };
    match id {
        VCPU_INFO => {
            let max_id = i32_at(input, ID_BYTES);
            if !(0..VCPUS_MAX as i32).contains(&max_id) {
                let detail = format!("The highest vCPU is {max_id}; their limit is {VCPUS_MAX}");
                return Err(Defect::new(Rule::Vcpus, detail));
            }
            Ok((max_id as usize / 64 + 1) * 8)
        }
        TOOLSTACK => {
            let bytes = u32_at(input, ID_BYTES).into();
            limited(bytes, TOOLSTACK_BYTES_MAX, Rule::Toolstack, "Data of libxl")
        }
        COMPRESSED_DATA => {
            let bytes = word.at(input, ID_BYTES);
            limited(bytes, COMPRESSED_BYTES_MAX, Rule::Compressed, "Compressed pages")
        }
        _ => Ok(0),
    }
}

/// Parameters that Xen 4.0 sent, too.
const OLD_PARAMS: [u64; 2] = [12, 15];

impl<'a> Chunk<'a> {
    /// Whether the chunk came with Xen 4.1 or later, as LAST_CHECKPOINT did: plain streams of its sender have that.
    pub(super) fn shows_xen_4_1(&self) -> bool {
        match self {
            Self::Param(param) => !OLD_PARAMS.contains(&param.index.get()),
            Self::Toolstack(_) => true,
            _ => false,
        }
    }

    /// Reads a whole chunk, of the length that [`needed`] says.
    pub(super) fn read(bytes: &'a [u8], word: WordSize) -> Result<Self, Defect> {
        let (id, payload) = (i32_at(bytes, 0), &bytes[ID_BYTES..]);
        Ok(match id {
            END => Self::End,
            VERIFY_MODE => Self::VerifyMode,
            TMEM => {
                let word = |index: usize| u32_at(payload, 4 * index);
                if (word(0), word(2), word(6)) != (1, u32::MAX, u32::MAX) {
                    return Err(Defect::new(Rule::Tmem, "Transcendent memory of an unknown version"));
                }
                Self::Tmem
            }
            TMEM_EXTRA => Self::TmemExtra,
            LAST_CHECKPOINT => Self::LastCheckpoint,
            ENABLE_COMPRESSION => Self::EnableCompression,
            TSC_INFO => Self::Tsc(TscInfo {
                mode: u32_at(payload, 0).into(),
                khz: u32_at(payload, 12).into(),
                nsec: u64_at(payload, 4).into(),
                incarnation: u32_at(payload, 16).into(),
                reserved: 0.into(),
            }),
            VCPU_INFO => Self::VcpuInfo { max_id: u32_at(payload, 0), map: &payload[4..] },
            TOOLSTACK => Self::Toolstack(&payload[4..]),
            COMPRESSED_DATA => Self::Compressed(&payload[word.bytes()..]),
            id => match param_index(id) {
                Some(index) => Self::Param(HvmParam::new(index, u64_at(payload, 4))),
                None => Self::Batch(payload),
            },
        })
    }
}
