//! What two hosts ask and say about a disk before a full copy of it, and during one. Bytes without a head: the link says whose
//! they are, and of which epoch.
//!
//! ```text
//!   primary                                        secondary
//!     Stand? ────────────────────────────────────►
//!            ◄──────────── Stand: label, journal, map
//!     Begin(history) ────────────────────────────►  from here on its disk is partial
//!     Compare(chunks) ───────────────────────────►
//!            ◄──────────── Hashes(chunks)                             each list as it is asked for
//!
//!            ◄──────────── Applied                                    after the copy and after each commit
//! ```
//!
//! `docs/DISKS.md` draws the bytes. Not here: what is to be done then ([`plan`](super::plan)).

use super::hashes::{BadHashes, HASHES_MAX, Hashes};
use super::plan::{Known, Theirs};
use crate::apply::Trust;
use crate::bits::Bits;
use crate::intent::REGION_BYTES;
use crate::ledger::CHUNK_BYTES;
use crate::words::{Point, SECTOR_BYTES};
use thiserror::Error;
use understudy_checkpoint::{Epoch, Generation, OutOfMemory};

/// This is nothing that is asked or said about a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadTalk {
    /// A field.
    #[error("what the other host asks or says about a disk is damaged ({0}); the sender is defective")]
    Field(&'static str),
    /// A list.
    #[error(transparent)]
    Hashes(#[from] BadHashes),
    /// No memory for a map.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// From the host that runs the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// What is your disk worth?
    Stand,
    /// A copy of a disk of this history begins: what follows is written at once.
    Begin([u8; 16]),
    /// Hashes of these chunks.
    Compare {
        /// The first.
        first: u64,
        /// How many.
        count: u32,
    },
}

/// From the host that does not.
#[derive(Clone, Debug)]
pub enum Say {
    /// What its disk is worth.
    Stand(Theirs),
    /// What was asked for.
    Hashes(Hashes),
    /// All up to the epoch that this came with is on its disk, and flushed.
    Applied,
}

impl Ask {
    /// In bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stand => vec![1],
            Self::Begin(history) => [&[2][..], history].concat(),
            Self::Compare { first, count } => [&[3][..], &first.to_le_bytes(), &count.to_le_bytes()].concat(),
        }
    }

    /// Reads one about a disk of so many bytes.
    pub fn decode(bytes: &[u8], size_bytes: u64) -> Result<Self, BadTalk> {
        let mut body = Body(bytes);
        let ask = match body.byte()? {
            1 => Self::Stand,
            2 => Self::Begin(body.array()?),
            3 => {
                let (first, count) = (body.number()?, u32::from_le_bytes(body.array()?));
                let chunks = size_bytes.div_ceil(CHUNK_BYTES);
                let is_in = first.checked_add(count.into()).is_some_and(|end| end <= chunks);
                if !is_in || count == 0 || count as usize > HASHES_MAX {
                    return Err(BadTalk::Field("chunks that are no part of the disk"));
                }
                Self::Compare { first, count }
            }
            _ => return Err(BadTalk::Field("an unknown question")),
        };
        body.end().map(|()| ask)
    }
}

impl Say {
    /// In bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stand(theirs) => [&[1][..], &encode_stand(theirs)].concat(),
            Self::Hashes(hashes) => [&[2][..], &hashes.encode()].concat(),
            Self::Applied => vec![3],
        }
    }

    /// Reads one about a disk that has so many bytes here.
    pub fn decode(bytes: &[u8], size_bytes: u64) -> Result<Self, BadTalk> {
        let mut body = Body(bytes);
        match body.byte()? {
            1 => decode_stand(body, size_bytes).map(Self::Stand),
            2 => Ok(Self::Hashes(Hashes::decode(body.0, size_bytes.div_ceil(CHUNK_BYTES))?)),
            3 => body.end().map(|()| Self::Applied),
            _ => Err(BadTalk::Field("an unknown answer")),
        }
    }
}

fn encode_stand(theirs: &Theirs) -> Vec<u8> {
    let mut out = theirs.size_bytes.to_le_bytes().to_vec();
    let zero = Point { generation: Generation(0), epoch: Epoch(0) };
    let Some(known) = theirs.label else {
        out.push(0);
        return out;
    };
    let (kind, owned_in, point) = match known.trust {
        _ if known.is_blank => (1, Generation(0), zero),
        Trust::Nothing => (2, Generation(0), zero),
        Trust::Epoch(point) => (3, Generation(0), point),
        Trust::Owned { generation, applied } => (4, generation, applied),
    };
    out.push(kind);
    out.extend(known.history);
    for number in [owned_in.0, point.generation.0, point.epoch.0] {
        out.extend(number.to_le_bytes());
    }
    if let Some(marked) = &theirs.marked {
        out.extend(marked.to_bytes());
    }
    out
}

fn decode_stand(mut body: Body<'_>, size_bytes: u64) -> Result<Theirs, BadTalk> {
    let theirs_bytes = body.number()?;
    if theirs_bytes == 0 || !theirs_bytes.is_multiple_of(SECTOR_BYTES) {
        return Err(BadTalk::Field("a disk's size"));
    }
    let kind = body.byte()?;
    if kind == 0 {
        body.end()?;
        return Ok(Theirs { label: None, size_bytes: theirs_bytes, marked: None });
    }
    let history = body.array()?;
    let (owned_in, generation, epoch) = (body.number()?, body.number()?, body.number()?);
    let point = Point { generation: Generation(generation), epoch: Epoch(epoch) };
    let trust = match kind {
        1 | 2 => Trust::Nothing,
        3 => Trust::Epoch(point),
        4 => Trust::Owned { generation: Generation(owned_in), applied: point },
        _ => return Err(BadTalk::Field("what a disk is worth")),
    };
    let is_said = kind >= 3 || (generation, epoch) == (0, 0);
    if !is_said || (kind != 4 && owned_in != 0) {
        return Err(BadTalk::Field("a point of a disk that has none"));
    }
    // A map of a disk of another size is not looked at.
    let regions = size_bytes.div_ceil(REGION_BYTES);
    let marked = match body.0 {
        [] => None,
        _ if theirs_bytes != size_bytes => None,
        bytes => Some(Bits::from_bytes(bytes, regions)?.ok_or(BadTalk::Field("a map"))?),
    };
    let label = Some(Known { history, trust, is_blank: kind == 1 });
    Ok(Theirs { label, size_bytes: theirs_bytes, marked })
}

struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadTalk> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BadTalk::Field("it is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, BadTalk> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, BadTalk> {
        self.array().map(u64::from_le_bytes)
    }

    fn end(self) -> Result<(), BadTalk> {
        if self.0.is_empty() { Ok(()) } else { Err(BadTalk::Field("it goes on behind its end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: u64 = 9 * REGION_BYTES;

    fn owned() -> Theirs {
        let mut marked = Bits::try_new(9).unwrap();
        [0, 3, 8].into_iter().for_each(|region| _ = marked.insert(region));
        let applied = Point { generation: Generation(2), epoch: Epoch(0x1234) };
        let trust = Trust::Owned { generation: Generation(3), applied };
        let label = Some(Known { history: [7; 16], trust, is_blank: false });
        Theirs { label, size_bytes: SIZE, marked: Some(marked) }
    }

    #[test]
    fn questions_are_these_bytes() {
        assert_eq!(Ask::Stand.encode(), [1]);
        assert_eq!(Ask::Begin([7; 16]).encode(), [&[2][..], &[7; 16]].concat());
        let compare = Ask::Compare { first: 5, count: 3 };
        assert_eq!(compare.encode(), [3, 5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
        for ask in [Ask::Stand, Ask::Begin([7; 16]), compare] {
            assert_eq!(Ask::decode(&ask.encode(), SIZE), Ok(ask));
        }
        assert!(Ask::decode(&compare.encode(), 7 * CHUNK_BYTES).is_err(), "it leaves the disk");
        let most = Ask::Compare { first: 0, count: HASHES_MAX as u32 + 1 };
        assert!(Ask::decode(&most.encode(), 1 << 40).is_err());
        assert!(Ask::decode(&Ask::Compare { first: u64::MAX, count: 1 }.encode(), SIZE).is_err());
    }

    #[test]
    fn answers_are_these_bytes() {
        let mut expected = vec![1, 0, 0, 0x40, 2, 0, 0, 0, 0, 4];
        expected.extend([7; 16]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0]);
        expected.extend([0b1001, 1]);
        assert_eq!(Say::Stand(owned()).encode(), expected);
        assert_eq!(Say::Applied.encode(), [3]);
        let Ok(Say::Stand(theirs)) = Say::decode(&expected, SIZE) else { panic!("it is one") };
        assert_eq!((theirs.label, theirs.marked), (owned().label, owned().marked));
        let Ok(Say::Stand(theirs)) = Say::decode(&expected, 2 * SIZE) else { panic!("it is one") };
        assert_eq!((theirs.size_bytes, theirs.marked), (SIZE, None), "of another size");
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_refused() {
        let good = Say::Stand(owned()).encode();
        for bytes in 0..good.len() {
            // Without its map it is whole.
            assert!(bytes == good.len() - 2 || Say::decode(&good[..bytes], SIZE).is_err(), "{bytes}");
        }
        for (at, value) in [(0, 9), (1, 1), (9, 5), (9, 3), (9, 1), (good.len() - 1, 2)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Say::decode(&bad, SIZE).is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(kind in 0u8..6, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let bytes = [&[kind][..], &bytes].concat();
            if let Ok(ask) = Ask::decode(&bytes, SIZE) {
                prop_assert_eq!(ask.encode(), bytes.clone());
            }
            match Say::decode(&bytes, SIZE) {
                // A map of another disk is passed over.
                Ok(Say::Stand(theirs)) if theirs.size_bytes != SIZE => {}
                Ok(say) => prop_assert_eq!(say.encode(), bytes),
                Err(_) => {}
            }
        }
    }
}
