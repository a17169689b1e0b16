//! One frame of the journal: a batch of an epoch, in whole blocks.
//!
//! ```text
//!  0      4    5    8              24       32        40          48     56      64       80
//!  ┌──────┬────┬────┬──────────────┬────────┬─────────┬───────────┬──────┬───────┬────────┬───────┬───────┐
//!  │"uSjf"│kind│ 0  │ salt         │sequence│ durable │generation │epoch │ bytes │ check  │batch… │ zeros…│
//!  └──────┴────┴────┴──────────────┴────────┴─────────┴───────────┴──────┴───────┴────────┴───────┴───────┘
//!          1 more of this epoch follow    2 the last of its epoch    3 the ring goes on at its begin
//! ```
//!
//! *check* is XXH3-128 of bytes 0..64 and of the batch. No *sequence* is used twice: what an earlier life left behind a frame
//! is never taken for what follows it. *salt* is random, and new whenever a journal is made: no guest can write a block that
//! looks like a frame. *durable*: frames of lower sequences had been flushed when this one was written. By it recovery tells
//! a frame that was torn from one that rotted.

use crate::batch::BATCH_BYTES_MAX;
use crate::words::{BLOCK_BYTES, Point};
use understudy_checkpoint::{Epoch, Generation};
use xxhash_rust::xxh3::Xxh3;

pub(super) const HEAD_BYTES: usize = 80;
const CHECK_AT: usize = 64;
const MAGIC: [u8; 4] = *b"uSjf";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    More,
    Last,
    Skip,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) salt: [u8; 16],
    pub(super) sequence: u64,
    pub(super) durable: u64,
    pub(super) point: Point,
    pub(super) bytes: u32,
    pub(super) check: u128,
}

/// What a frame with so much of a batch takes of the ring.
pub(super) fn blocks_bytes(batch_bytes: usize) -> u64 {
    (HEAD_BYTES + batch_bytes).next_multiple_of(BLOCK_BYTES) as u64
}

impl Frame {
    /// What it takes of the ring, as blocks that are read.
    pub(super) fn blocks_bytes(&self) -> u64 {
        blocks_bytes(self.bytes as usize)
    }

    /// Puts it and its batch into blocks; its check is computed here and given back.
    pub(super) fn encode(&self, batch: &[u8], out: &mut Vec<u8>) -> u128 {
        let begin = out.len();
        out.extend(MAGIC);
        out.push(match self.kind {
            Kind::More => 1,
            Kind::Last => 2,
            Kind::Skip => 3,
        });
        out.extend([0; 3]);
        out.extend(self.salt);
        let point = self.point;
        for number in [self.sequence, self.durable, point.generation.0, point.epoch.0, batch.len() as u64] {
            out.extend(number.to_le_bytes());
        }
        let check = check(&out[begin..], batch);
        out.extend(check.to_le_bytes());
        out.extend_from_slice(batch);
        out.resize(begin + blocks_bytes(batch.len()) as usize, 0);
        check
    }

    /// The head of what may be a frame. Whether it is one, [`is_whole`](Self::is_whole) says.
    pub(super) fn read(block: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD_BYTES] = block.first_chunk()?;
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let kind = match head[4] {
            1 => Kind::More,
            2 => Kind::Last,
            3 => Kind::Skip,
            _ => return None,
        };
        let bytes = u32::try_from(number(56)).ok().filter(|bytes| *bytes as usize <= BATCH_BYTES_MAX)?;
        let is_ours = head[..4] == MAGIC && head[5..8] == [0; 3];
        is_ours.then_some(Self {
            kind,
            salt: head[8..24].try_into().expect("sixteen bytes"),
            sequence: number(24),
            durable: number(32),
            point: Point { generation: Generation(number(40)), epoch: Epoch(number(48)) },
            bytes,
            check: u128::from_le_bytes(head[CHECK_AT..].try_into().expect("sixteen bytes")),
        })
    }

    /// Whether these blocks, whose head this is, are what was written.
    pub(super) fn is_whole(&self, blocks: &[u8]) -> bool {
        blocks.len() as u64 >= self.blocks_bytes()
            && check(&blocks[..CHECK_AT], self.batch(blocks)) == self.check
    }

    /// The batch in its blocks.
    pub(super) fn batch<'a>(&self, blocks: &'a [u8]) -> &'a [u8] {
        &blocks[HEAD_BYTES..][..self.bytes as usize]
    }
}

fn check(head: &[u8], batch: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(head);
    hash.update(batch);
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let point = Point { generation: Generation(3), epoch: Epoch(9) };
        Frame { kind: Kind::Last, salt: [0xAA; 16], sequence: 0x102, durable: 7, point, bytes: 5, check: 0 }
    }

    #[test]
    fn a_frame_is_these_bytes() {
        let mut blocks = Vec::new();
        let check = frame().encode(b"batch", &mut blocks);
        let mut expected = b"uSjf\x02\0\0\0".to_vec();
        expected.extend([0xAA; 16]);
        expected.extend([
            2, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
        ]);
        expected.extend([5, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend(check.to_le_bytes());
        expected.extend(b"batch");
        assert_eq!((blocks.len(), &blocks[..85]), (BLOCK_BYTES, expected.as_slice()));
        assert!(blocks[85..].iter().all(|byte| *byte == 0));
        assert_eq!(format!("{check:032x}"), "ca9ebe52d09f0645f77e5ca7d10ce977");
        assert_eq!(Frame::read(&blocks), Some(Frame { check, ..frame() }));
    }

    #[test]
    fn each_bit_of_a_frame_counts() {
        let mut blocks = Vec::new();
        frame().encode(b"batch", &mut blocks);
        let is_whole = |blocks: &[u8]| Frame::read(blocks).is_some_and(|frame| frame.is_whole(blocks));
        assert!(is_whole(&blocks));
        for bit in 0..8 * (HEAD_BYTES + 5) {
            blocks[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_whole(&blocks), "bit {bit}");
            blocks[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(!is_whole(&blocks[..BLOCK_BYTES - 1]));
    }
}
