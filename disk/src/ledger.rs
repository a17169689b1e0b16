//! What of one disk the peer may lack, in chunks of 64 KiB: what a resync sends.
//!
//! ```text
//!   recent, by the epoch that was open        behind: one set
//!   epoch 9   {3, 7, 8}                       {0, 1, 2, 40, …}
//!   epoch 8   {7}              ──too many──►  none of it forgotten before epoch 7 is applied
//!        applied(8): gone
//! ```
//!
//! It forgets by *applied*, never by *ack* (rule R5 of `docs/DISKS.md`): a secondary that acked and lost its power has
//! only what it applied. What it forgets too late costs bytes of a resync; forgetting too early would cost the disk. So
//! where memory is bounded, epochs melt into one set that is forgotten with the last of them.
//!
//! Not here: what survives this process (`disk/src/intent`).

use crate::bits::Bits;
use crate::words::Extent;
use std::collections::{BTreeSet, VecDeque};
use understudy_checkpoint::{Epoch, OutOfMemory};

/// What is sent at once.
pub const CHUNK_BYTES: u64 = 64 << 10;

/// Of one disk.
#[derive(Debug)]
pub struct Ledger {
    behind: Bits,
    behind_count: u64,
    /// The last epoch whose chunks went into `behind`.
    behind_through: Option<Epoch>,
    recent: VecDeque<(Epoch, BTreeSet<u64>)>,
    recent_count: usize,
    recent_max: usize,
}

impl Ledger {
    /// Of a disk that the peer has. `recent_max` chunks are told apart by epoch.
    pub fn new(size_bytes: u64, recent_max: usize) -> Result<Self, OutOfMemory> {
        let behind = Bits::try_new(size_bytes.div_ceil(CHUNK_BYTES))?;
        let recent = VecDeque::new();
        Ok(Self { behind, behind_count: 0, behind_through: None, recent, recent_count: 0, recent_max })
    }

    /// A write in the open epoch, or one that has no room in its record.
    pub fn mark(&mut self, extent: Extent, tag: Epoch) {
        match self.recent.back() {
            Some((last, _)) if *last == tag => {}
            last => {
                assert!(last.is_none_or(|(last, _)| *last < tag), "tags only grow");
                self.recent.push_back((tag, BTreeSet::new()));
            }
        }
        let (_, chunks) = self.recent.back_mut().expect("it was put there");
        let before = chunks.len();
        chunks.extend(extent.pieces(CHUNK_BYTES));
        self.recent_count += chunks.len() - before;
        while self.recent_count > self.recent_max {
            self.melt();
        }
    }

    /// Chunks that the peer lacks, of which nobody knows since when: as if written in `through`.
    pub fn behind(&mut self, chunks: &Bits, through: Epoch) {
        self.behind.merge(chunks);
        self.behind_count = self.behind.marked();
        self.behind_through = self.behind_through.max(Some(through));
    }

    /// The peer has all up to this epoch on its disk, flushed. Gives the newest epoch of what is forgotten, if anything is: nothing
    /// was written between it and `through`.
    pub fn applied(&mut self, through: Epoch) -> Option<Epoch> {
        let mut newest = None;
        while let Some((tag, chunks)) = self.recent.pop_front_if(|(tag, _)| *tag <= through) {
            self.recent_count -= chunks.len();
            newest = Some(tag);
        }
        if let Some(last) = self.behind_through.take_if(|last| *last <= through) {
            self.behind.clear();
            self.behind_count = 0;
            newest = newest.max(Some(last));
        }
        newest
    }

    /// All that the peer may lack.
    pub fn lacking(&self) -> Bits {
        let mut lacking = self.behind.clone();
        for (_, chunks) in &self.recent {
            chunks.iter().for_each(|chunk| _ = lacking.insert(*chunk));
        }
        lacking
    }

    /// How many chunks that is at most: one that was written in several epochs counts in each.
    pub fn lacking_max(&self) -> u64 {
        self.behind_count + self.recent_count as u64
    }

    /// The oldest epoch goes into the one set.
    fn melt(&mut self) {
        let Some((tag, chunks)) = self.recent.pop_front() else { return };
        self.recent_count -= chunks.len();
        self.behind_count += chunks.iter().filter(|chunk| self.behind.insert(**chunk)).count() as u64;
        self.behind_through = self.behind_through.max(Some(tag));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNKS: u64 = 40;

    #[derive(Clone, Debug)]
    enum Step {
        Mark(u64, u32),
        Cut,
        Applied(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..CHUNKS * 128 - 300, 1u32..300).prop_map(|(sector, sectors)| Step::Mark(sector, sectors)),
            2 => Just(Step::Cut),
            1 => (0u64..4).prop_map(Step::Applied),
        ]
    }

    proptest! {
        /// The model remembers each chunk with the last epoch that wrote it.
        #[test]
        fn what_is_not_applied_is_never_forgotten(steps in proptest::collection::vec(step(), 1..120), recent_max in 0usize..60) {
            let mut ledger = Ledger::new(CHUNKS * CHUNK_BYTES, recent_max).unwrap();
            let mut last_write = vec![None; CHUNKS as usize];
            let (mut tag, mut applied, mut has_melted) = (1, 0, false);
            for step in steps {
                match step {
                    Step::Mark(sector, sectors) => {
                        let extent = Extent::new(sector * 512, sectors * 512).unwrap();
                        ledger.mark(extent, Epoch(tag));
                        extent.pieces(CHUNK_BYTES).for_each(|chunk| last_write[chunk as usize] = Some(tag));
                    }
                    Step::Cut => tag += 1,
                    Step::Applied(back) => {
                        applied = applied.max((tag - 1).saturating_sub(back));
                        ledger.applied(Epoch(applied));
                    }
                }
                has_melted |= ledger.behind_through.is_some();
                prop_assert!(ledger.recent_count <= recent_max);
                let lacking = ledger.lacking();
                prop_assert!(lacking.marked() <= ledger.lacking_max() && ledger.lacking_max() <= CHUNKS + recent_max as u64);
                for (chunk, last) in last_write.iter().enumerate() {
                    let must = last.is_some_and(|last| last > applied);
                    prop_assert!(lacking.has(chunk as u64) || !must, "chunk {chunk} is forgotten");
                    prop_assert!(has_melted || lacking.has(chunk as u64) == must, "chunk {chunk} is remembered for nothing");
                }
            }
            ledger.applied(Epoch(tag));
            prop_assert!(ledger.lacking().is_empty() && ledger.lacking_max() == 0);
        }
    }

    #[test]
    fn what_was_behind_from_the_begin_is_forgotten_when_the_sync_is_applied() {
        let mut ledger = Ledger::new(CHUNKS * CHUNK_BYTES, 10).unwrap();
        let mut chunks = Bits::try_new(CHUNKS).unwrap();
        chunks.insert(5);
        ledger.behind(&chunks, Epoch(7));
        assert_eq!(ledger.applied(Epoch(6)), None);
        assert_eq!(ledger.lacking(), chunks);
        ledger.mark(Extent::new(0, 512).unwrap(), Epoch(9));
        assert_eq!(ledger.applied(Epoch(8)), Some(Epoch(7)));
        assert_eq!(ledger.applied(Epoch(12)), Some(Epoch(9)), "nothing was written after it");
        assert!(ledger.lacking().is_empty());
    }
}
