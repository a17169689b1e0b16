//! Hashes of chunks, where nobody knows what differs: 256 MiB of them for a disk of 1 TiB, in place of 1 TiB.
//!
//! ```text
//!  0                8        12       16                32
//!  ┌────────────────┬────────┬────────┬─────────────────┬─────────────────┬────
//!  │ first chunk    │ count  │ 0      │ hash            │ hash            │ …
//!  └────────────────┴────────┴────────┴─────────────────┴─────────────────┴────
//! ```
//!
//! A hash is XXH3-128 of a chunk's content, with the chunk's number as its seed: content that has moved is not the same. It
//! is no defence against somebody who makes two contents of one hash; who can write both disks needs none. The last chunk of a
//! disk may be shorter.
//!
//! Whatever the guest writes after a chunk was hashed is in the ledger, so it is sent in any case.
//!
//! Not here: reading disks, and what carries the lists.

use crate::bits::Bits;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The most hashes in one list, of 64 MiB of a disk.
pub const HASHES_MAX: usize = 1024;

const HEAD_BYTES: usize = 16;

/// This is no list of hashes of this disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a list of hashes is damaged ({0}); the comparison begins anew")]
pub struct BadHashes(&'static str);

/// Hashes of chunks that follow each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hashes {
    first: u64,
    hashes: Vec<u128>,
}

/// The hash of a chunk.
pub fn hash(chunk: u64, content: &[u8]) -> u128 {
    xxh3_128_with_seed(content, chunk)
}

impl Hashes {
    /// An empty list that begins with this chunk.
    pub fn new(first: u64) -> Self {
        Self { first, hashes: Vec::new() }
    }

    /// Adds the next chunk; whether the list is full then.
    pub fn push(&mut self, content: &[u8]) -> bool {
        assert!(self.hashes.len() < HASHES_MAX, "a full list takes nothing");
        self.hashes.push(hash(self.next(), content));
        self.hashes.len() == HASHES_MAX
    }

    /// The first chunk.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The chunk after the last one.
    pub fn next(&self) -> u64 {
        self.first + self.hashes.len() as u64
    }

    /// Of this chunk, if it is in the list.
    pub fn of(&self, chunk: u64) -> Option<u128> {
        let index = usize::try_from(chunk.checked_sub(self.first)?).ok()?;
        self.hashes.get(index).copied()
    }

    /// Adds to `differ` the chunks whose hashes are not the same in both lists, which begin and end alike.
    pub fn compare(&self, other: &Self, differ: &mut Bits) -> Result<(), BadHashes> {
        if self.first != other.first || self.hashes.len() != other.hashes.len() {
            return Err(BadHashes("it is of other chunks"));
        }
        for (index, (here, there)) in self.hashes.iter().zip(&other.hashes).enumerate() {
            if here != there {
                differ.insert(self.first + index as u64);
            }
        }
        Ok(())
    }

    /// In bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.first.to_le_bytes().to_vec();
        out.extend((self.hashes.len() as u32).to_le_bytes());
        out.extend([0; 4]);
        self.hashes.iter().for_each(|hash| out.extend(hash.to_le_bytes()));
        out
    }

    /// Reads a list of chunks of a disk that has `chunks` of them.
    pub fn decode(bytes: &[u8], chunks: u64) -> Result<Self, BadHashes> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(BadHashes("its head is cut off"));
        };
        let first = u64::from_le_bytes(*head.first_chunk().expect("sixteen bytes have eight"));
        let count = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let (hashes, left) = rest.as_chunks::<16>();
        if head[12..] != [0; 4] {
            return Err(BadHashes("a reserved byte is set"));
        }
        if count == 0 || count > HASHES_MAX || hashes.len() != count || !left.is_empty() {
            return Err(BadHashes("its length is not that of its hashes"));
        }
        if first.checked_add(count as u64).is_none_or(|end| end > chunks) {
            return Err(BadHashes("it leaves the disk"));
        }
        Ok(Self { first, hashes: hashes.iter().map(|hash| u128::from_le_bytes(*hash)).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(first: u64, contents: &[&[u8]]) -> Hashes {
        let mut hashes = Hashes::new(first);
        contents.iter().for_each(|content| _ = hashes.push(content));
        hashes
    }

    #[test]
    fn a_list_is_these_bytes() {
        let bytes = list(5, &[b"one", b"two"]).encode();
        assert_eq!(bytes[..16], [5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..32], xxh3_128_with_seed(b"one", 5).to_le_bytes());
        assert_eq!(bytes[32..], xxh3_128_with_seed(b"two", 6).to_le_bytes());
    }

    #[test]
    fn what_differs_is_found_and_what_moved_differs() {
        let mut differ = Bits::try_new(10).unwrap();
        let here = list(4, &[b"a", b"b", b"b", b"d"]);
        here.compare(&list(4, &[b"a", b"x", b"b", b"e"]), &mut differ).unwrap();
        assert_eq!(differ.runs().flatten().collect::<Vec<_>>(), [5, 7]);
        assert_ne!(hash(5, b"b"), hash(6, b"b"));
        here.compare(&list(3, &[b"a", b"b", b"b", b"d"]), &mut differ).unwrap_err();
        here.compare(&list(4, &[b"a", b"b", b"b"]), &mut differ).unwrap_err();
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let good = list(8, &[b"a", b"b"]).encode();
        assert_eq!(Hashes::decode(&good, 10), Ok(list(8, &[b"a", b"b"])));
        assert!(Hashes::decode(&good, 9).is_err(), "it leaves the disk");
        for bytes in 0..good.len() {
            assert!(Hashes::decode(&good[..bytes], 10).is_err());
        }
        for (at, value) in [(7, 0xFF), (8, 1), (8, 0), (11, 1), (12, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Hashes::decode(&bad, 10).is_err(), "{at}");
        }
        assert!(Hashes::decode(&[good.as_slice(), &[0]].concat(), 10).is_err());
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(first in 0u64..10, count in 0u32..4, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let wire = [&first.to_le_bytes()[..], &count.to_le_bytes(), &[0; 4], &bytes].concat();
            if let Ok(hashes) = Hashes::decode(&wire, 12) {
                prop_assert_eq!(hashes.encode(), wire);
            }
        }
    }
}
