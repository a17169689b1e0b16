//! The secondary's journal: an epoch is durable here before its first byte touches the disk.
//!
//! ```text
//!  0              8192
//!  ┌──────┬──────┬───────────────────────────────────────────────────────────────────────────────────┐
//!  │ head │ head │ ░░░░░░░░ 7 │ 7 │ 7 last │ 8 last │ 9 │ 9 last │ 10 │ skip ░░░░ and on at the begin   │
//!  └──────┴──────┴────────────▲────────────────────────────────────▲─────────────────────────────────┘
//!                             tail: in the head                    end: nowhere; recovery finds it
//! ```
//!
//! A torn write takes nothing that was durable: no block is written twice before it is free, and it is free once a head
//! that no longer needs it is durable. No block of the ring is written twice in a life without the other blocks between.
//!
//! A *closed* journal has nothing to be replayed. It is closed before anybody else writes the disk, since its epochs would
//! be old content then (rule R6 of `docs/DISKS.md`).
//!
//! * `frame` the bytes of one batch
//! * `recover` what a journal still says after a crash
//!
//! Not here: disks. What is appended is applied by [`crate::apply`].

mod frame;
mod recover;

use crate::pair::{Format, PAIR_BYTES, Pair, PairError};
use crate::storage::{Guarded, Storage, StorageError};
use crate::words::{BLOCK_BYTES, Point};
use frame::{Frame, Kind, blocks_bytes};
pub use recover::Recovered;
use std::collections::VecDeque;
use thiserror::Error;
use understudy_checkpoint::{Epoch, Generation};

/// The smallest journal: two places for its head, and a ring of eight blocks.
pub const JOURNAL_BYTES_MIN: u64 = PAIR_BYTES + 8 * BLOCK_BYTES as u64;

const FORMAT: Format = Format { magic: *b"uSjrnal\0", version: 1 };
const NAME: &str = "a guest's journal";

/// The journal did not do it.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Its storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its head cannot be read.
    #[error(transparent)]
    Head(#[from] PairError),
    /// What was durable is not there any more, or is not what was written.
    #[error(
        "the journal is damaged ({what}), so the disks may be at no epoch; compare them with the other host's by their hashes"
    )]
    Damaged {
        /// What was found.
        what: &'static str,
    },
    /// No room before something is applied and trimmed. Nothing of the epoch was written.
    #[error(
        "the journal has {room_bytes} bytes of room and an epoch takes {bytes}; the copy goes stale, a larger journal or a faster disk avoids it"
    )]
    Full {
        /// What the epoch takes.
        bytes: u64,
        /// What there is.
        room_bytes: u64,
    },
    /// Storage that is too small to be a journal.
    #[error("a journal of {bytes} bytes is too small; it takes {JOURNAL_BYTES_MIN} at least")]
    Small {
        /// What there is.
        bytes: u64,
    },
}

/// Where a frame is, or would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    /// In the ring.
    position: u64,
    sequence: u64,
}

/// What the head says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    is_open: bool,
    tail: Place,
    salt: [u8; 16],
    applied: Point,
}

/// An epoch that is in the ring, whole.
#[derive(Clone, Copy, Debug)]
struct Logged {
    point: Point,
    /// Of its frames, with what was skipped before them.
    bytes: u64,
    end: Place,
}

/// Of one guest.
#[derive(Debug)]
pub struct Journal<S> {
    storage: Guarded<S>,
    pair: Pair,
    head: Head,
    ring_bytes: u64,
    end: Place,
    /// Frames of lower sequences are flushed.
    durable: u64,
    used_bytes: u64,
    logged: VecDeque<Logged>,
    blocks: Vec<u8>,
}

impl<S: Storage> Journal<S> {
    /// Makes a closed journal, whatever was there before. `history` is the labels', `salt` random and never used before.
    pub fn create(
        storage: S,
        history: [u8; 16],
        salt: [u8; 16],
        applied: Point,
    ) -> Result<Self, JournalError> {
        let ring_bytes = ring_bytes(&storage)?;
        let mut storage = Guarded::new(storage);
        let tail = Place { position: 0, sequence: 1 };
        let head = Head { is_open: false, tail, salt, applied };
        let pair = Pair::create(&mut storage, FORMAT, NAME, history, &head.encode())?;
        Ok(Self::at(storage, pair, head, ring_bytes))
    }

    /// An empty ring that goes on at the head's tail.
    fn at(storage: Guarded<S>, pair: Pair, head: Head, ring_bytes: u64) -> Self {
        Self {
            storage,
            pair,
            end: head.tail,
            durable: head.tail.sequence,
            head,
            ring_bytes,
            used_bytes: 0,
            logged: VecDeque::new(),
            blocks: Vec::new(),
        }
    }

    /// Whose content the epochs are of.
    pub fn history(&self) -> [u8; 16] {
        self.pair.id()
    }

    /// The content is of another history from here on. `salt` is random and never used before.
    pub fn renew(&mut self, history: [u8; 16], salt: [u8; 16]) -> Result<(), JournalError> {
        assert!(!self.head.is_open, "only a closed journal is another's");
        self.pair.rename(history);
        self.put_head(Head { salt, ..self.head })
    }

    /// What the head says to be applied: never more than is.
    pub fn applied(&self) -> Point {
        self.head.applied
    }

    /// Whether epochs may be appended.
    pub fn is_open(&self) -> bool {
        self.head.is_open
    }

    /// How much the ring holds.
    pub fn ring_bytes(&self) -> u64 {
        self.ring_bytes
    }

    /// How much of the ring is taken by epochs that are not trimmed.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Opens a closed journal for the epochs after `applied`; durable when it returns.
    pub fn begin(&mut self, applied: Point) -> Result<(), JournalError> {
        assert!(!self.head.is_open && self.logged.is_empty(), "a journal is begun once");
        self.put_head(Head { is_open: true, applied, tail: self.end, ..self.head })
    }

    /// Writes an epoch's batches behind the last one; not durable yet. After [`JournalError::Full`] the journal is as before.
    pub fn append(&mut self, point: Point, batches: &[Vec<u8>]) -> Result<(), JournalError> {
        assert!(self.head.is_open, "a closed journal takes nothing");
        let after = self.logged.back().map_or(self.head.applied, |logged| logged.point);
        assert!(point > after, "epochs are appended in their order");
        let bytes = self.needed_bytes(batches);
        let room_bytes = self.ring_bytes - self.used_bytes;
        if bytes > room_bytes {
            return Err(JournalError::Full { bytes, room_bytes });
        }
        let mut end = self.end;
        for (index, batch) in batches.iter().enumerate() {
            let needed = blocks_bytes(batch.len());
            if needed > self.ring_bytes - end.position {
                end = self.put(end, Kind::Skip, point, &[])?;
                end.position = 0;
            }
            let kind = if index + 1 == batches.len() { Kind::Last } else { Kind::More };
            end = self.put(end, kind, point, batch)?;
        }
        if !batches.is_empty() {
            self.end = end;
            self.used_bytes += bytes;
            self.logged.push_back(Logged { point, bytes, end });
        }
        Ok(())
    }

    /// All that was appended is durable when this returns. A failure is final: see [`Guarded`].
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.storage.flush()?;
        self.durable = self.end.sequence;
        Ok(())
    }

    /// The disks have all epochs up to `applied`, flushed. Their room is used again, after the head that says so is durable.
    pub fn trim(&mut self, applied: Point) -> Result<(), JournalError> {
        let trimmed = self.logged.iter().take_while(|logged| logged.point <= applied);
        let Some((count, last)) = trimmed.enumerate().last() else { return Ok(()) };
        let tail = last.end;
        assert!(tail.sequence <= self.durable, "what is applied was durable before");
        self.put_head(Head { tail, applied, ..self.head })?;
        self.used_bytes -= self.logged.drain(..=count).map(|logged| logged.bytes).sum::<u64>();
        Ok(())
    }

    /// Ends it: nothing is replayed any more. The disks have all epochs up to `applied`, flushed, or are worth nothing.
    pub fn close(&mut self, applied: Point) -> Result<(), JournalError> {
        self.put_head(Head { is_open: false, tail: self.end, applied, ..self.head })?;
        self.logged.clear();
        self.used_bytes = 0;
        Ok(())
    }

    fn put_head(&mut self, head: Head) -> Result<(), JournalError> {
        self.pair.put(&mut self.storage, &head.encode())?;
        self.head = head;
        Ok(())
    }

    /// What these batches take of the ring, with what is skipped at its end.
    fn needed_bytes(&self, batches: &[Vec<u8>]) -> u64 {
        let (mut position, mut bytes) = (self.end.position, 0);
        for batch in batches {
            let needed = blocks_bytes(batch.len());
            let left = self.ring_bytes - position;
            if needed > left {
                bytes += left;
                position = 0;
            }
            bytes += needed;
            position = (position + needed) % self.ring_bytes;
        }
        bytes
    }

    fn put(&mut self, at: Place, kind: Kind, point: Point, batch: &[u8]) -> Result<Place, JournalError> {
        let frame = Frame {
            kind,
            salt: self.head.salt,
            sequence: at.sequence,
            durable: self.durable,
            point,
            bytes: batch.len() as u32,
            check: 0,
        };
        self.blocks.clear();
        frame.encode(batch, &mut self.blocks);
        self.storage.write_at(PAIR_BYTES + at.position, &self.blocks)?;
        let position = (at.position + self.blocks.len() as u64) % self.ring_bytes;
        Ok(Place { position, sequence: at.sequence + 1 })
    }
}

fn ring_bytes<S: Storage>(storage: &S) -> Result<u64, JournalError> {
    let bytes = storage.size_bytes();
    if bytes < JOURNAL_BYTES_MIN {
        return Err(JournalError::Small { bytes });
    }
    Ok((bytes - PAIR_BYTES) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64)
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![if self.is_open { 2 } else { 1 }, 0, 0, 0, 0, 0, 0, 0];
        out.extend(self.tail.position.to_le_bytes());
        out.extend(self.tail.sequence.to_le_bytes());
        out.extend(self.salt);
        out.extend(self.applied.generation.0.to_le_bytes());
        out.extend(self.applied.epoch.0.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8], ring_bytes: u64) -> Option<Self> {
        let bytes: &[u8; 56] = bytes.try_into().ok()?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let is_open = match number(0) {
            1 => false,
            2 => true,
            _ => return None,
        };
        let (position, sequence) = (number(8), number(16));
        let is_block = position < ring_bytes && position.is_multiple_of(BLOCK_BYTES as u64);
        // Recovery goes on far behind what was there.
        if !is_block || sequence > u64::MAX / 2 {
            return None;
        }
        let salt = bytes[24..40].try_into().expect("sixteen bytes");
        let applied = Point { generation: Generation(number(40)), epoch: Epoch(number(48)) };
        Some(Self { is_open, tail: Place { position, sequence }, salt, applied })
    }
}

#[cfg(test)]
mod tests;
