//! Which hashes are asked for, and which chunk is compared next.
//!
//! ```text
//!   asked for:   [ list ][ list ]            two lists, so that both hosts read at the same time
//!   heard:       [ list ]
//!   compared:    ████░                       chunk by chunk, in the disk's order
//! ```
//!
//! Not here: reading, and the lists ([`hashes`](super::hashes)).

use super::hashes::{HASHES_MAX, Hashes};
use std::collections::VecDeque;

/// Lists that are asked for and not compared.
const LISTS_MAX: usize = 2;

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    /// Ask for hashes.
    Ask {
        /// Of this chunk
        first: u64,
        /// and so many.
        count: u32,
    },
    /// Compare a chunk with the other host's hash of it.
    Chunk {
        /// The number of the chunk.
        chunk: u64,
        /// The other host's hash.
        hash: u128,
    },
    /// Nothing before an answer.
    Waits,
    /// All chunks were compared.
    Done,
}

/// Of one disk.
#[derive(Debug)]
pub struct Comparison {
    chunks: u64,
    /// The first chunk that was not asked for.
    to_ask: u64,
    asked: VecDeque<(u64, u32)>,
    heard: VecDeque<Hashes>,
    /// The next chunk.
    next: u64,
}

impl Comparison {
    /// Of a disk of so many chunks.
    pub fn new(chunks: u64) -> Self {
        Self { chunks, to_ask: 0, asked: VecDeque::new(), heard: VecDeque::new(), next: 0 }
    }

    /// What to do now.
    pub fn step(&mut self) -> Compared {
        if self.to_ask < self.chunks && self.asked.len() + self.heard.len() < LISTS_MAX {
            let (first, count) = (self.to_ask, (self.chunks - self.to_ask).min(HASHES_MAX as u64) as u32);
            self.to_ask += u64::from(count);
            self.asked.push_back((first, count));
            return Compared::Ask { first, count };
        }
        let Some(list) = self.heard.front() else {
            return if self.next == self.chunks { Compared::Done } else { Compared::Waits };
        };
        let (chunk, is_last) = (self.next, self.next + 1 == list.next());
        let hash = list.of(chunk).expect("lists are heard in the order in which they are asked for");
        self.next += 1;
        if is_last {
            self.heard.pop_front();
        }
        Compared::Chunk { chunk, hash }
    }

    /// An answer; whether it is the one that was to come next.
    pub fn heard(&mut self, hashes: Hashes) -> bool {
        let count = (hashes.next() - hashes.first()) as u32;
        let is_next = self.asked.pop_front_if(|asked| *asked == (hashes.first(), count)).is_some();
        if is_next {
            self.heard.push_back(hashes);
        }
        is_next
    }

    /// Chunks that were not compared.
    pub fn left(&self) -> u64 {
        self.chunks - self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::hashes::hash;

    fn list(first: u64, count: u32) -> Hashes {
        let mut hashes = Hashes::new(first);
        (0..count).for_each(|_| _ = hashes.push(b"same"));
        hashes
    }

    #[test]
    fn each_chunk_is_compared_once_with_its_own_hash_and_two_lists_are_asked_for() {
        let chunks = 2 * HASHES_MAX as u64 + 5;
        let mut comparison = Comparison::new(chunks);
        let (mut asked, mut compared, mut asked_most) = (VecDeque::new(), 0, 0);
        loop {
            match comparison.step() {
                Compared::Ask { first, count } => asked.push_back((first, count)),
                Compared::Chunk { chunk, hash: there } => {
                    assert_eq!((chunk, there), (compared, hash(chunk, b"same")));
                    compared += 1;
                    assert_eq!(comparison.left(), chunks - compared);
                }
                Compared::Waits => {
                    let (first, count) = asked.pop_front().unwrap();
                    assert!(!comparison.heard(list(first + 1, count)), "another one was asked for");
                    assert!(comparison.heard(list(first, count)));
                }
                Compared::Done => break,
            }
            asked_most = asked_most.max(asked.len());
        }
        assert_eq!((compared, asked_most), (chunks, LISTS_MAX));
        assert!(!comparison.heard(list(0, 5)), "nothing is asked for");
    }
}
