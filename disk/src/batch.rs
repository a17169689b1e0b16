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
    /// On which disk.
    pub disk: DiskNumber,
    /// Where.
    pub extent: Extent,
    /// What.
    pub content: Content<'a>,
}

/// These bytes are no batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a batch of disk writes is damaged at byte {at}: {what}; the epoch it belongs to is not taken")]
pub struct BadBatch {
    /// Where.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// How many writes, how much, and what: both ends compute it, and an epoch counts only if they agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Pieces.
    pub writes: u64,
    /// What they cover.
    pub bytes: u64,
    /// Of places and contents, in their order.
    pub digest: u128,
}

impl Summary {
    /// Of writes that come after those of `self`, as one.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&self.digest.to_le_bytes());
        hash.update(&next.digest.to_le_bytes());
        Self {
            writes: self.writes.saturating_add(next.writes),
            bytes: self.bytes.saturating_add(next.bytes),
            digest: hash.digest128(),
        }
    }
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
    pub fn summary(&self) -> Summary {
        Summary { writes: self.writes, bytes: self.bytes, digest: self.hash.digest128() }
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(disk: u16, offset: u64, data: &[u8]) -> Write<'_> {
        Write {
            disk: DiskNumber(disk),
            extent: Extent::new(offset, data.len() as u32).unwrap(),
            content: Content::Data(data),
        }
    }

    type Seen = (u16, Extent, Option<Vec<u8>>);

    fn writes_of(batch: &[u8]) -> Result<Vec<Seen>, BadBatch> {
        let mut all = Vec::new();
        decode::<BadBatch>(batch, &mut Vec::new(), |write| {
            let data = match write.content {
                Content::Zeros => None,
                Content::Data(data) => Some(data.to_vec()),
            };
            all.push((write.disk.0, write.extent, data));
            Ok(())
        })?;
        Ok(all)
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut dice = crate::testing::Dice::new(bytes as u64);
        (0..bytes).map(|_| dice.next() as u8).collect()
    }

    #[test]
    fn a_batch_is_these_bytes() {
        let (repeated, noise) = ([0xAB; 512], noise(512));
        let mut encoder = Encoder::default();
        encoder.add(write(1, 0x1200, &repeated));
        encoder.add(Write { content: Content::Zeros, ..write(0, 0, &repeated) });
        encoder.add(write(2, 512, &noise));
        let mut expected = vec![1, 0, 3, 0, 0, 2, 0, 0, 0, 0x12, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0];
        // LZ4: one literal, a copy of 505 from one byte before, six literals.
        expected.extend([0x1F, 0xAB, 1, 0, 0xFF, 0xE7, 0x60, 0xAB, 0xAB, 0xAB, 0xAB, 0xAB, 0xAB]);
        expected.extend([0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([2, 0, 2, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0]);
        expected.extend(noise);
        assert_eq!(encoder.finish().unwrap(), expected);
        assert_eq!(encoder.finish(), None);
    }

    #[test]
    fn a_long_write_comes_in_pieces_and_zeros_as_zeros() {
        let mut long = noise(2 * PIECE_BYTES_MAX + 512);
        long[PIECE_BYTES_MAX..2 * PIECE_BYTES_MAX].fill(0);
        let all: Vec<_> = pieces(write(3, 1024, &long)).collect();
        assert_eq!(
            all.iter().map(|write| write.extent.bytes() as usize).collect::<Vec<_>>(),
            [PIECE_BYTES_MAX, PIECE_BYTES_MAX, 512]
        );
        assert!(matches!(all[1].content, Content::Zeros));
        assert_eq!(all[2].extent.offset(), 1024 + 2 * PIECE_BYTES_MAX as u64);
        let zeros = vec![0; 3 * PIECE_BYTES_MAX];
        let all: Vec<_> = pieces(write(3, 0, &zeros)).collect();
        assert_eq!((all.len(), all[0].extent.bytes() as usize), (1, zeros.len()));
    }

    #[test]
    fn a_batch_ends_where_the_next_piece_has_no_room() {
        let piece = noise(PIECE_BYTES_MAX);
        let mut encoder = Encoder::default();
        assert_eq!(encoder.add(write(0, 0, &piece)), None);
        let first = encoder.add(write(0, 0, &piece)).unwrap();
        assert!(first.len() > PIECE_BYTES_MAX && first.len() <= BATCH_BYTES_MAX);
        assert_eq!(
            writes_of(&first).unwrap().len() + writes_of(&encoder.finish().unwrap()).unwrap().len(),
            2
        );
    }

    #[test]
    fn what_is_no_batch_is_refused_where_it_is_wrong() {
        let mut encoder = Encoder::default();
        encoder.add(Write { content: Content::Zeros, ..write(0, 0, &[0; 512]) });
        encoder.add(write(0, 512, &[5; 4096]));
        let good = encoder.finish().unwrap();
        for (at, value, what) in [
            (22, 0, "kind is unknown"),
            (22, 4, "kind is unknown"),
            (22, 1, "length that it cannot have"),
            (22, 2, "length that it cannot have"),
            (23, 1, "reserved"),
            (24, 1, "extent"),
            (29, 1, "extent"),
            (28, 1, "extent"),
            (36, 200, "cut off"),
            (25, 0x12, "decompress"),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            let error = writes_of(&bad).unwrap_err();
            assert!(error.at == 20 && error.what.contains(what), "{at}: {error}");
        }
        for bytes in (1..good.len()).filter(|bytes| *bytes != 20) {
            writes_of(&good[..bytes]).unwrap_err();
        }
        assert!(writes_of(&vec![0; BATCH_BYTES_MAX + 1]).unwrap_err().what.contains("too long"));
    }

    proptest! {
        #[test]
        fn writes_come_back_as_they_were_and_both_ends_agree_on_them(
            writes in proptest::collection::vec((0u16..4, 0u64..1000, 1usize..20, any::<u8>(), any::<bool>()), 0..20),
        ) {
            let data: Vec<_> = writes.iter().map(|(_, _, sectors, fill, is_noise)| {
                if *is_noise { noise(sectors * 512) } else { vec![*fill; sectors * 512] }
            }).collect();
            let (mut encoder, mut here, mut there) = (Encoder::default(), Summing::default(), Summing::default());
            let mut batches = Vec::new();
            let mut sent = Vec::new();
            for ((disk, sector, ..), data) in writes.iter().zip(&data) {
                for piece in pieces(write(*disk, sector * 512, data)) {
                    here.add(piece);
                    batches.extend(encoder.add(piece));
                }
                sent.push((*disk, Extent::new(sector * 512, data.len() as u32).unwrap(), data.iter().any(|b| *b != 0).then(|| data.clone())));
            }
            batches.extend(encoder.finish());
            let mut seen = Vec::new();
            for batch in &batches {
                decode::<BadBatch>(batch, &mut Vec::new(), |write| { there.add(write); Ok(()) }).unwrap();
                seen.extend(writes_of(batch).unwrap());
            }
            prop_assert_eq!(seen, sent);
            prop_assert_eq!(here.summary(), there.summary());
        }
    }

    #[test]
    fn a_summary_tells_order_place_and_content() {
        let summary = |writes: &[Write<'_>]| {
            let mut summing = Summing::default();
            writes.iter().for_each(|write| summing.add(*write));
            summing.summary()
        };
        let (one, two) = (write(0, 0, &[1; 512]), write(0, 0, &[2; 512]));
        let base = summary(&[one, two]);
        let zeros = Write { content: Content::Zeros, ..two };
        for other in [
            summary(&[two, one]),
            summary(&[one]),
            summary(&[one, write(1, 0, &[2; 512])]),
            summary(&[one, write(0, 512, &[2; 512])]),
            summary(&[one, zeros]),
            summary(&[one]).then(summary(&[two])),
            summary(&[two]).then(summary(&[one])),
        ] {
            assert_ne!(base.digest, other.digest);
        }
    }
}
