//! A short record that survives a write which is torn: two slots of one block, and in each the whole record.
//!
//! ```text
//!  0        8        16       20       24                    40                                     4080        4096
//!  ┌────────┬────────┬────────┬────────┬─────────────────────┬──────────────────────────┬───────────┬───────────┐
//!  │ magic  │sequence│ version│ bytes  │ of what (id)        │ body …                   │ zeros …   │ XXH3-128  │
//!  └────────┴────────┴────────┴────────┴─────────────────────┴──────────────────────────┴───────────┴───────────┘
//!
//!   put(n+1):   slot that is not the durable one ◄─ n+1    flush    the other ◄─ n+1, durable with the next flush
//! ```
//!
//! At each moment one slot is durable and not being written. So a loss of power leaves the record of before or the new one,
//! and after the next flush both slots have the same: rot of one is then healed, where slots that merely take turns would
//! go back in time without a word.
//!
//! Not here: what a record says.

use crate::storage::{Guarded, Storage, StorageError};
use crate::words::BLOCK_BYTES;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

/// What both slots take.
pub const PAIR_BYTES: u64 = 2 * BLOCK_BYTES as u64;

const HEAD_BYTES: usize = 40;
const CHECK_AT: usize = BLOCK_BYTES - 16;

/// The longest body.
pub const BODY_BYTES_MAX: usize = CHECK_AT - HEAD_BYTES;

/// What a record is of: eight letters, and the version of its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// The first bytes of each slot.
    pub magic: [u8; 8],
    /// Of the body. A slot of another version is not read, and not called damaged.
    pub version: u32,
}

/// Why no record was read.
#[derive(Debug, Error)]
pub enum PairError {
    /// Storage failed. Nothing is known of the record.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Both slots are zeros: nothing was ever written here.
    #[error("there is no record of {name}; it has never been set up")]
    Blank {
        /// What the record is of.
        name: &'static str,
    },
    /// Something is there, and no slot of it is whole.
    #[error(
        "the record of {name} is damaged in both places; nothing it stands for is trusted, compare the disks by their hashes"
    )]
    Damaged {
        /// What the record is of.
        name: &'static str,
    },
    /// Written by another version of this program.
    #[error(
        "the record of {name} has version {version}, and this program reads {known}; run the version that wrote it"
    )]
    Version {
        /// What the record is of.
        name: &'static str,
        /// What is there.
        version: u32,
        /// What is known here.
        known: u32,
    },
}

/// A record in two slots, at the begin of some storage.
#[derive(Debug)]
pub struct Pair {
    format: Format,
    name: &'static str,
    id: [u8; 16],
    sequence: u64,
    /// The slot that is durable and must not be touched.
    durable: usize,
}

/// What was read.
#[derive(Debug)]
pub struct Opened {
    /// To write on.
    pub pair: Pair,
    /// The record.
    pub body: Vec<u8>,
    /// One slot was not whole, and has been written again.
    pub was_healed: bool,
}

enum Slot {
    Blank,
    Damaged,
    Version(u32),
    Whole { sequence: u64, id: [u8; 16], body: Vec<u8> },
}

impl Pair {
    /// Writes a first record, whatever was there before. Returns when it is durable in both slots.
    pub fn create<S: Storage>(
        storage: &mut Guarded<S>,
        format: Format,
        name: &'static str,
        id: [u8; 16],
        body: &[u8],
    ) -> Result<Self, StorageError> {
        let mut pair = Self { format, name, id, sequence: 0, durable: 1 };
        // What was there may have a higher sequence: it must be gone before the first new slot counts.
        storage.write_at(0, &[0; PAIR_BYTES as usize])?;
        storage.flush()?;
        pair.put(storage, body)?;
        storage.flush()?;
        Ok(pair)
    }

    /// Reads the newest whole record, and makes both slots durable before it is believed: what is read may come from a cache,
    /// never flushed, or given up by a flush that failed. So its own slot comes first.
    pub fn open<S: Storage>(
        storage: &mut Guarded<S>,
        format: Format,
        name: &'static str,
    ) -> Result<Opened, PairError> {
        let mut blocks = [[0; BLOCK_BYTES]; 2];
        storage.read_at(0, blocks.as_flattened_mut())?;
        let [first, second] = blocks.map(|block| read_slot(&block, format));
        let was_healed = !matches!(
            (&first, &second),
            (Slot::Whole { sequence: one, .. }, Slot::Whole { sequence: other, .. }) if one == other
        );
        let damaged = PairError::Damaged { name };
        let newest = match (first, second) {
            (Slot::Version(version), _) | (_, Slot::Version(version)) => {
                return Err(PairError::Version { name, version, known: format.version });
            }
            (Slot::Whole { sequence: one, .. }, whole @ Slot::Whole { sequence: other, .. })
                if one < other =>
            {
                (1, whole)
            }
            (whole @ Slot::Whole { .. }, _) => (0, whole),
            (_, whole @ Slot::Whole { .. }) => (1, whole),
            (Slot::Blank, Slot::Blank) => return Err(PairError::Blank { name }),
            (Slot::Blank | Slot::Damaged, Slot::Blank | Slot::Damaged) => return Err(damaged),
        };
        let (durable, Slot::Whole { sequence, id, body }) = newest else { return Err(damaged) };
        let pair = Self { format, name, id, sequence, durable };
        let block = pair.block(sequence, &body);
        // The same bytes over themselves cannot be torn, and if they are not on the media, the other place still is.
        for slot in [durable, 1 - durable] {
            storage.write_at((slot * BLOCK_BYTES) as u64, &block)?;
            storage.flush()?;
        }
        Ok(Opened { pair, body, was_healed })
    }

    /// What the record is of.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// What is put from here on is of this.
    pub fn rename(&mut self, id: [u8; 16]) {
        self.id = id;
    }

    /// Replaces the record; durable when it returns.
    pub fn put<S: Storage>(&mut self, storage: &mut Guarded<S>, body: &[u8]) -> Result<(), StorageError> {
        let block = self.block(self.sequence + 1, body);
        let first = 1 - self.durable;
        storage.write_at((first * BLOCK_BYTES) as u64, &block)?;
        storage.flush()?;
        (self.sequence, self.durable) = (self.sequence + 1, first);
        storage.write_at(((1 - first) * BLOCK_BYTES) as u64, &block)
    }

    fn block(&self, sequence: u64, body: &[u8]) -> [u8; BLOCK_BYTES] {
        assert!(body.len() <= BODY_BYTES_MAX, "a record of {} fits into a block", self.name);
        let mut block = [0; BLOCK_BYTES];
        block[..8].copy_from_slice(&self.format.magic);
        block[8..16].copy_from_slice(&sequence.to_le_bytes());
        block[16..20].copy_from_slice(&self.format.version.to_le_bytes());
        block[20..24].copy_from_slice(&(body.len() as u32).to_le_bytes());
        block[24..40].copy_from_slice(&self.id);
        block[HEAD_BYTES..][..body.len()].copy_from_slice(body);
        let check = xxh3_128(&block[..CHECK_AT]);
        block[CHECK_AT..].copy_from_slice(&check.to_le_bytes());
        block
    }
}

fn read_slot(block: &[u8; BLOCK_BYTES], format: Format) -> Slot {
    if block.iter().all(|byte| *byte == 0) {
        return Slot::Blank;
    }
    let number = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"));
    let check = u128::from_le_bytes(block[CHECK_AT..].try_into().expect("sixteen bytes"));
    if block[..8] != format.magic || check != xxh3_128(&block[..CHECK_AT]) {
        return Slot::Damaged;
    }
    let (version, bytes) = (number(16), number(20) as usize);
    if version != format.version {
        return Slot::Version(version);
    }
    let sequence = u64::from_le_bytes(block[8..16].try_into().expect("eight bytes"));
    // Nobody writes a record that often.
    if bytes > BODY_BYTES_MAX || sequence > u64::MAX / 2 {
        return Slot::Damaged;
    }
    let id = block[24..40].try_into().expect("sixteen bytes");
    Slot::Whole { sequence, id, body: block[HEAD_BYTES..][..bytes].to_vec() }
}

#[cfg(test)]
mod tests;
