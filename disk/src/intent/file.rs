//! The bytes of an intent map: a head in two places, then sectors that each tell of 3,968 regions.
//!
//! ```text
//!  0            8192        8704
//!  ┌──────┬──────┬───────────┬───────────┬─────     sector:  0        8        12       16                   512
//!  │ head │ head │ sector 0  │ sector 1  │ …                 ┌────────┬────────┬────────┬────────────────────┐
//!  └──────┴──────┴───────────┴───────────┴─────              │ check  │ index  │ 0      │ bits …             │
//!                                                            └────────┴────────┴────────┴────────────────────┘
//! ```
//!
//! Bit i of byte b is region 8·b + i of the sector. *check* is XXH3-64 of bytes 8..512, with the first eight bytes of the
//! history as its seed. The head is a record as in [`crate::pair`]; its body is the disk's size and a region's.

use super::{Pending, REGION_BYTES};
use crate::bits::Bits;
use crate::pair::{Format, PAIR_BYTES, Pair, PairError};
use crate::storage::{Guarded, Storage, StorageError};
use crate::words::BLOCK_BYTES;
use thiserror::Error;
use understudy_checkpoint::OutOfMemory;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const SECTOR: usize = 512;
const HEAD: usize = 16;
pub(super) const SECTOR_BITS: u64 = 8 * (SECTOR - HEAD) as u64;
const FORMAT: Format = Format { magic: *b"uSintent", version: 1 };
const NAME: &str = "a disk's intent map";

/// An intent map cannot be made or read. It says nothing then, which is not that nothing is marked.
#[derive(Debug, Error)]
pub enum IntentError {
    /// Its storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its head cannot be read.
    #[error(transparent)]
    Head(#[from] PairError),
    /// It is of another disk.
    #[error(
        "the intent map is of another disk ({what}), so it says nothing of this one; compare the disks by their hashes"
    )]
    Foreign {
        /// What differs.
        what: &'static str,
    },
    /// The host has no memory for it.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// A map that was read.
#[derive(Debug)]
pub struct Opened<S> {
    /// To write on.
    pub file: IntentFile<S>,
    /// What it marks.
    pub marked: Bits,
    /// Sectors that were not whole; all their regions count as marked.
    pub damaged_sectors: u64,
}

/// The file of a map.
#[derive(Debug)]
pub struct IntentFile<S> {
    storage: Guarded<S>,
    seed: u64,
}

fn regions(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(REGION_BYTES)
}

fn body(size_bytes: u64) -> Vec<u8> {
    [size_bytes.to_le_bytes(), REGION_BYTES.to_le_bytes()].concat()
}

fn seed(history: [u8; 16]) -> u64 {
    u64::from_le_bytes(*history.first_chunk().expect("sixteen bytes have eight"))
}

impl<S: Storage> IntentFile<S> {
    /// How large the file of a disk's map is.
    pub fn bytes(size_bytes: u64) -> u64 {
        let sectors = regions(size_bytes).div_ceil(SECTOR_BITS);
        PAIR_BYTES + (sectors * SECTOR as u64).next_multiple_of(BLOCK_BYTES as u64)
    }

    /// Makes a map without a mark, whatever was there before.
    pub fn create(storage: S, history: [u8; 16], size_bytes: u64) -> Result<Self, IntentError> {
        let mut storage = Guarded::new(storage);
        // Whatever ends this life before the head, an old head must not stand before new sectors.
        storage.write_at(0, &[0; PAIR_BYTES as usize])?;
        storage.flush()?;
        let mut file = Self { storage, seed: seed(history) };
        let none = Bits::try_new(regions(size_bytes))?;
        let sectors = regions(size_bytes).div_ceil(SECTOR_BITS);
        file.put(&none, 0..sectors)?;
        file.storage.flush()?;
        Pair::create(&mut file.storage, FORMAT, NAME, history, &body(size_bytes))?;
        Ok(file)
    }

    /// Reads the map of a disk. What is not whole counts as marked, and what is read is durable when this returns.
    pub fn open(storage: S, history: [u8; 16], size_bytes: u64) -> Result<Opened<S>, IntentError> {
        let mut storage = Guarded::new(storage);
        let head = Pair::open(&mut storage, FORMAT, NAME)?;
        if head.pair.id() != history {
            return Err(IntentError::Foreign { what: "the history" });
        }
        if head.body != body(size_bytes) {
            return Err(IntentError::Foreign { what: "the size" });
        }
        let mut file = Self { storage, seed: seed(history) };
        let mut marked = Bits::try_new(regions(size_bytes))?;
        let sectors = marked.count().div_ceil(SECTOR_BITS);
        let mut damaged_sectors = 0;
        let mut block = [0; BLOCK_BYTES];
        for index in 0..sectors {
            let place = index as usize % (BLOCK_BYTES / SECTOR) * SECTOR;
            if place == 0 {
                file.storage.read_at(PAIR_BYTES + index * SECTOR as u64, &mut block)?;
            }
            let sector = &block[place..place + SECTOR];
            let is_whole = is_whole(sector, index, file.seed);
            damaged_sectors += u64::from(!is_whole);
            let begin = index * SECTOR_BITS;
            for region in begin..(begin + SECTOR_BITS).min(marked.count()) {
                let bit = (region - begin) as usize;
                if !is_whole || sector[HEAD + bit / 8] >> (bit % 8) & 1 == 1 {
                    marked.insert(region);
                }
            }
        }
        file.put(&marked, 0..sectors)?;
        file.storage.flush()?;
        Ok(Opened { file, marked, damaged_sectors })
    }

    /// Writes what was taken, and flushes; after an error no write to a region that is not marked may be submitted.
    pub fn write(&mut self, pending: &Pending) -> Result<(), StorageError> {
        self.put(&pending.bits, pending.sectors.iter().copied())?;
        self.storage.flush()
    }

    /// Writes sectors, by whole blocks.
    fn put(&mut self, bits: &Bits, sectors: impl IntoIterator<Item = u64>) -> Result<(), StorageError> {
        let in_block = (BLOCK_BYTES / SECTOR) as u64;
        let mut blocks: Vec<u64> = sectors.into_iter().map(|sector| sector / in_block).collect();
        blocks.dedup();
        for block in blocks {
            let mut bytes = [0; BLOCK_BYTES];
            for (place, sector) in bytes.chunks_exact_mut(SECTOR).enumerate() {
                let index = block * in_block + place as u64;
                if index * SECTOR_BITS < bits.count() {
                    encode(bits, index, self.seed, sector);
                }
            }
            self.storage.write_at(PAIR_BYTES + block * BLOCK_BYTES as u64, &bytes)?;
        }
        Ok(())
    }
}

fn encode(bits: &Bits, index: u64, seed: u64, sector: &mut [u8]) {
    sector[8..12].copy_from_slice(&(index as u32).to_le_bytes());
    let begin = index * SECTOR_BITS;
    for region in begin..(begin + SECTOR_BITS).min(bits.count()) {
        let bit = (region - begin) as usize;
        sector[HEAD + bit / 8] |= u8::from(bits.has(region)) << (bit % 8);
    }
    let check = xxh3_64_with_seed(&sector[8..], seed);
    sector[..8].copy_from_slice(&check.to_le_bytes());
}

fn is_whole(sector: &[u8], index: u64, seed: u64) -> bool {
    let word = |at: usize| u32::from_le_bytes(sector[at..at + 4].try_into().expect("four bytes"));
    let check = u64::from_le_bytes(sector[..8].try_into().expect("eight bytes"));
    u64::from(word(8)) == index && word(12) == 0 && check == xxh3_64_with_seed(&sector[8..], seed)
}
