//! A set of pieces of a disk, one bit each.

use std::ops::Range;
use understudy_checkpoint::{OutOfMemory, room};

/// Which of `count` pieces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    /// None of them, if the host has memory for so many.
    pub fn try_new(count: u64) -> Result<Self, OutOfMemory> {
        let words = usize::try_from(count.div_ceil(64)).map_err(|_| OutOfMemory)?;
        Ok(Self { words: room::filled(0, words)?, count })
    }

    /// How many there could be.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many there are.
    pub fn marked(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether this one is among them.
    pub fn has(&self, piece: u64) -> bool {
        assert!(piece < self.count, "piece {piece} of {}", self.count);
        self.words[(piece / 64) as usize] >> (piece % 64) & 1 == 1
    }

    /// Adds one; whether it was new.
    pub fn insert(&mut self, piece: u64) -> bool {
        let is_new = !self.has(piece);
        self.words[(piece / 64) as usize] |= 1 << (piece % 64);
        is_new
    }

    /// Takes one out; whether it was there.
    pub fn remove(&mut self, piece: u64) -> bool {
        let was_there = self.has(piece);
        self.words[(piece / 64) as usize] &= !(1 << (piece % 64));
        was_there
    }

    /// A bit each, from the lowest of the first byte on.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = self.words.iter().flat_map(|word| word.to_le_bytes());
        bytes.take(self.count.div_ceil(8) as usize).collect()
    }

    /// Reads `count` of them; none if the bytes are not so many, or have a bit behind the last one.
    pub fn from_bytes(bytes: &[u8], count: u64) -> Result<Option<Self>, OutOfMemory> {
        if bytes.len() as u64 != count.div_ceil(8) {
            return Ok(None);
        }
        let mut bits = Self::try_new(count)?;
        for (word, bytes) in bits.words.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(whole);
        }
        let is_all =
            count.is_multiple_of(64) || bits.words.last().is_none_or(|word| word >> (count % 64) == 0);
        Ok(is_all.then_some(bits))
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Adds all of `other`, which is of the same disk.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.count, other.count, "sets of one disk have one size");
        self.words.iter_mut().zip(&other.words).for_each(|(into, from)| *into |= from);
    }

    /// They, as ascending runs that do not touch.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        self.runs_from(0)
    }

    /// As [`runs`](Self::runs), of those from this piece on.
    pub fn runs_from(&self, from: u64) -> impl Iterator<Item = Range<u64>> {
        let mut next = from;
        std::iter::from_fn(move || {
            let begin = self.seek(next, true);
            let end = self.seek(begin, false);
            next = end;
            (begin < end).then_some(begin..end)
        })
    }

    /// The first piece from `from` on that is marked, or is not; or the count.
    fn seek(&self, from: u64, marked: bool) -> u64 {
        let flip = if marked { 0 } else { u64::MAX };
        let (mut index, mut mask) = ((from / 64) as usize, u64::MAX << (from % 64));
        while let Some(word) = self.words.get(index) {
            let found = (word ^ flip) & mask;
            if found != 0 {
                return (index as u64 * 64 + u64::from(found.trailing_zeros())).min(self.count);
            }
            (index, mask) = (index + 1, u64::MAX);
        }
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn bits_are_a_set(count in 1u64..300, marks in proptest::collection::vec((0u64..300, any::<bool>()), 0..200)) {
            let (mut bits, mut set) = (Bits::try_new(count).unwrap(), BTreeSet::new());
            for (piece, add) in marks {
                let piece = piece % count;
                if add {
                    prop_assert_eq!(bits.insert(piece), set.insert(piece));
                } else {
                    prop_assert_eq!(bits.remove(piece), set.remove(&piece));
                }
            }
            prop_assert_eq!(bits.marked() as usize, set.len());
            let read = Bits::from_bytes(&bits.to_bytes(), count).unwrap();
            prop_assert_eq!(read.as_ref(), Some(&bits));
            prop_assert_eq!(Bits::from_bytes(&bits.to_bytes(), count + 8).unwrap(), None);
            prop_assert_eq!(bits.is_empty(), set.is_empty());
            let runs: Vec<_> = bits.runs().collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            let late: Vec<_> = bits.runs_from(100).flatten().collect();
            prop_assert_eq!(late, set.range(100..).copied().collect::<Vec<_>>());
            prop_assert_eq!(runs.into_iter().flatten().collect::<Vec<_>>(), set.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_set_that_no_host_can_hold_is_refused() {
        assert_eq!(Bits::try_new(u64::MAX).err(), Some(OutOfMemory));
    }
}
