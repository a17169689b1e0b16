//! Writes in bytes: what travels to the secondary, is held there, and is put into its journal, all the same bytes.
//!
//! ```text
//!  0      2      3      4        8                 16       20
//!  ┌──────┬──────┬──────┬────────┬─────────────────┬────────┬──────────────────┐
//!  │ disk │ kind │ 0    │ bytes  │ offset          │ stored │ content (stored) │  … and the next write, to the batch's end
//!  └──────┴──────┴──────┴────────┴─────────────────┴────────┴──────────────────┘
//!           1 zeros: stored is 0        2 raw: stored is bytes        3 LZ4: stored is less than bytes
//! ```
//!
//! The order of writes is their meaning: later ones win. A write that is longer than [`PIECE_BYTES_MAX`] becomes several,
//! as a disk promises no more than sectors.
//!
//! Not here: epochs, and what a batch travels in.

use crate::words::{DiskNumber, Extent};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use thiserror::Error;
use understudy_checkpoint::epoch::WritesSummary;
use xxhash_rust::xxh3::Xxh3;

/// The longest content of one write in a batch.
pub const PIECE_BYTES_MAX: usize = 128 << 10;

/// The longest batch. One piece that does not compress fits.
pub const BATCH_BYTES_MAX: usize = 256 << 10;

const HEAD_BYTES: usize = 20;

/// What a write leaves on its extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// Zeros: written, or discarded.
    Zeros,
    /// As many bytes as the extent has.
    Data(&'a [u8]),
}

/// One write of a guest, or a piece of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write<'a> {
    /// The disk.
    pub disk: DiskNumber,
    /// The sectors.
    pub extent: Extent,
    /// Their new content.
    pub content: Content<'a>,
}

/// These bytes are no batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a batch of disk writes is damaged at byte {at}: {what}; the epoch it belongs to is not taken")]
pub struct BadBatch {
    /// The byte of the batch at which it is damaged.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// A summary that grows.
#[derive(Clone, Default)]
pub struct Summing {
    writes: u64,
    bytes: u64,
    hash: Xxh3,
}

impl std::fmt::Debug for Summing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.summary().fmt(f)
    }
}

impl Summing {
    /// Adds a piece.
    pub fn add(&mut self, write: Write<'_>) {
        self.writes += 1;
        self.bytes += u64::from(write.extent.bytes());
        self.hash.update(&write.disk.0.to_le_bytes());
        self.hash.update(&write.extent.bytes().to_le_bytes());
        self.hash.update(&write.extent.offset().to_le_bytes());
        match write.content {
            Content::Zeros => self.hash.update(&[1]),
            Content::Data(data) => {
                self.hash.update(&[2]);
                self.hash.update(data);
            }
        }
    }

    /// Of all that was added.
    pub fn summary(&self) -> WritesSummary {
        WritesSummary { writes: self.writes, bytes: self.bytes, digest: self.hash.digest128() }
    }
}

/// A batch that is being written.
#[derive(Debug, Default)]
pub struct Encoder {
    batch: Vec<u8>,
}

impl Encoder {
    /// Adds a piece of at most [`PIECE_BYTES_MAX`] of data; gives the batch of before if it has no room for it.
    pub fn add(&mut self, write: Write<'_>) -> Option<Vec<u8>> {
        let worst = match write.content {
            Content::Zeros => 0,
            Content::Data(data) => {
                assert_eq!(data.len(), write.extent.bytes() as usize, "as much content as extent");
                assert!(data.len() <= PIECE_BYTES_MAX, "long writes come in pieces");
                get_maximum_output_size(data.len())
            }
        };
        let is_full = self.batch.len() + HEAD_BYTES + worst > BATCH_BYTES_MAX;
        let before = if is_full { self.finish() } else { None };
        self.put(write, worst);
        before
    }

    /// The batch so far, if anything is in it.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.batch.is_empty()).then(|| std::mem::take(&mut self.batch))
    }

    /// How long the batch is so far.
    pub fn bytes(&self) -> usize {
        self.batch.len()
    }

    fn put(&mut self, write: Write<'_>, worst: usize) {
        let begin = self.batch.len();
        self.batch.resize(begin + HEAD_BYTES + worst, 0);
        let (head, room) = self.batch[begin..].split_at_mut(HEAD_BYTES);
        let (kind, stored) = match write.content {
            Content::Zeros => (1, 0),
            Content::Data(data) => match compress_into(data, room) {
                Ok(stored) if stored < data.len() => (3, stored),
                _ => {
                    room[..data.len()].copy_from_slice(data);
                    (2, data.len())
                }
            },
        };
        head[0..2].copy_from_slice(&write.disk.0.to_le_bytes());
        head[2] = kind;
        head[4..8].copy_from_slice(&write.extent.bytes().to_le_bytes());
        head[8..16].copy_from_slice(&write.extent.offset().to_le_bytes());
        head[16..20].copy_from_slice(&(stored as u32).to_le_bytes());
        self.batch.truncate(begin + HEAD_BYTES + stored);
    }
}

/// Cuts a write into pieces that an [`Encoder`] takes. Data that is all zeros becomes zeros.
pub fn pieces(write: Write<'_>) -> impl Iterator<Item = Write<'_>> {
    let data = match write.content {
        Content::Data(data) if data.iter().any(|byte| *byte != 0) => data,
        _ => &[],
    };
    let zeros = data.is_empty().then_some(Write { content: Content::Zeros, ..write });
    let pieces = data.chunks(PIECE_BYTES_MAX).enumerate().map(move |(index, piece)| {
        let offset = write.extent.offset() + (index * PIECE_BYTES_MAX) as u64;
        let extent = Extent::new(offset, piece.len() as u32).expect("a piece of an extent is one");
        let is_zero = piece.iter().all(|byte| *byte == 0);
        Write { extent, content: if is_zero { Content::Zeros } else { Content::Data(piece) }, ..write }
    });
    zeros.into_iter().chain(pieces)
}

/// Hands each write of a batch to `take`, with its content as it was. Writes before a damaged place have been handed over.
pub fn decode<E: From<BadBatch>>(
    batch: &[u8],
    scratch: &mut Vec<u8>,
    mut take: impl FnMut(Write<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if batch.len() > BATCH_BYTES_MAX {
        return Err(BadBatch { at: 0, what: "it is too long" }.into());
    }
    scratch.resize(PIECE_BYTES_MAX, 0);
    let mut rest = batch;
    while !rest.is_empty() {
        let at = batch.len() - rest.len();
        let write = next(&mut rest, scratch).map_err(|what| BadBatch { at, what })?;
        take(write)?;
    }
    Ok(())
}

fn next<'a, 'b: 'a>(rest: &mut &'b [u8], scratch: &'a mut [u8]) -> Result<Write<'a>, &'static str> {
    let head: &[u8; HEAD_BYTES] =
        rest.split_off(..HEAD_BYTES).and_then(|head| head.try_into().ok()).ok_or("its head is cut off")?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (bytes, stored) = (word(4), word(16) as usize);
    let offset = u64::from_le_bytes(head[8..16].try_into().expect("eight bytes"));
    let extent = Extent::new(offset, bytes).map_err(|_| "its extent is none")?;
    if head[3] != 0 {
        return Err("a reserved byte is set");
    }
    let content = rest.split_off(..stored).ok_or("its content is cut off")?;
    let length = bytes as usize;
    let content = match head[2] {
        1 if stored == 0 => Content::Zeros,
        2 if stored == length && length <= PIECE_BYTES_MAX => Content::Data(content),
        3 if stored < length && length <= PIECE_BYTES_MAX => {
            let room = &mut scratch[..length];
            match decompress_into(content, room) {
                Ok(decoded) if decoded == length => Content::Data(room),
                _ => return Err("its content does not decompress to its length"),
            }
        }
        1..=3 => return Err("its content has a length that it cannot have"),
        _ => return Err("its kind is unknown"),
    };
    Ok(Write { disk: DiskNumber(u16::from_le_bytes([head[0], head[1]])), extent, content })
}

#[cfg(test)]
mod tests;
