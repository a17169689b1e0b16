//! The primary's record of the open epoch: each write is in it before it is answered (rule R1 of `docs/DISKS.md`), and a cut is a number (R2).
//!
//! ```text
//!   tag 7: ▓▓▓▓▓▓ ▓▓▓▓▓▓ ▓▓     cut     tag 8: ▓▓▓▓▓▓ ▓▓      batches, as they get full, to the link
//!          └──── summary ────┘                 └ summary …
//!   epoch 8 on the wire, if the capture of 7 failed: summary of 7, then of 8
//! ```
//!
//! What has no room is told at once (R3: nothing waits), and nothing more is recorded until the record begins anew: a gap
//! would be an epoch that never was.
//!
//! Not here: which chunks the peer lacks then, and threads.

use crate::batch::{Content, Encoder, Summing, Write, pieces};
use std::collections::VecDeque;
use thiserror::Error;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::epoch::WritesSummary;

/// The record has no room, or had none before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "the link takes less than the guest writes, so its writes are only marked and the copy goes stale; a faster link or a higher limit avoids it"
)]
pub struct Overrun;

/// A batch on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tagged {
    /// The epoch that was open.
    pub tag: Epoch,
    /// Writes.
    pub batch: Vec<u8>,
}

/// Of one guest.
#[derive(Debug)]
pub struct Record {
    bytes_max: usize,
    bytes: usize,
    tag: Epoch,
    encoder: Encoder,
    summing: Summing,
    ready: VecDeque<Tagged>,
    /// Of tags that were cut and are in no epoch yet.
    cut: VecDeque<(Epoch, WritesSummary)>,
    is_overrun: bool,
}

impl Record {
    /// An empty record whose open epoch is `tag`.
    pub fn new(tag: Epoch, bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            tag,
            encoder: Encoder::default(),
            summing: Summing::default(),
            ready: VecDeque::new(),
            cut: VecDeque::new(),
            is_overrun: false,
        }
    }

    /// The open epoch.
    pub fn tag(&self) -> Epoch {
        self.tag
    }

    /// Records a write.
    pub fn write(&mut self, write: Write<'_>) -> Result<(), Overrun> {
        let bytes = u64::from(write.extent.bytes());
        let worst = match write.content {
            Content::Zeros => 0,
            Content::Data(_) => bytes,
        };
        if self.is_overrun || !self.has_room(worst) {
            self.overrun();
            return Err(Overrun);
        }
        for piece in pieces(write) {
            self.summing.add(piece);
            let full = self.encoder.add(piece);
            self.put(full);
        }
        Ok(())
    }

    /// Whether so much content has room, however badly it compresses.
    pub fn has_room(&self, bytes: u64) -> bool {
        bytes <= (self.bytes_max.saturating_sub(self.bytes())) as u64
    }

    /// Ends the open epoch; the next write belongs to `next`. Nothing is compressed, allocated or waited for but the end of
    /// one batch.
    pub fn cut(&mut self, next: Epoch) {
        assert!(next > self.tag, "tags only grow");
        let rest = self.encoder.finish();
        self.put(rest);
        let summary = std::mem::take(&mut self.summing).summary();
        // A tag without writes never reaches the secondary, so it has no part in an epoch's summary.
        if summary.writes > 0 {
            self.cut.push_back((self.tag, summary));
        }
        self.tag = next;
    }

    /// The next batch for the link.
    pub fn next_batch(&mut self) -> Option<Tagged> {
        self.next_batch_through(Epoch(u64::MAX))
    }

    /// The next batch, if it is of an epoch up to this one.
    pub fn next_batch_through(&mut self, epoch: Epoch) -> Option<Tagged> {
        let tagged = self.ready.pop_front_if(|tagged| tagged.tag <= epoch)?;
        self.bytes -= tagged.batch.len();
        Some(tagged)
    }

    /// What an epoch's end says of its disks: of all tags that were cut, up to its own, and in no epoch before. None after an
    /// overrun, since that epoch has a gap.
    pub fn end(&mut self, epoch: Epoch) -> Result<WritesSummary, Overrun> {
        let tags = self.end_tags(epoch)?;
        Ok(tags.iter().fold(WritesSummary::default(), |all, (_, of_tag)| all.then(*of_tag)))
    }

    /// The same, tag by tag: who sends an epoch again together with later ones sums up all their tags.
    pub fn end_tags(&mut self, epoch: Epoch) -> Result<Vec<(Epoch, WritesSummary)>, Overrun> {
        if self.is_overrun {
            return Err(Overrun);
        }
        assert!(epoch < self.tag, "an epoch ends after its cut");
        Ok(std::iter::from_fn(|| self.cut.pop_front_if(|(tag, _)| *tag <= epoch)).collect())
    }

    /// Begins anew after an overrun or a lost link, with an empty record.
    pub fn begin_anew(&mut self) {
        *self = Self::new(self.tag, self.bytes_max);
    }

    fn bytes(&self) -> usize {
        self.bytes + self.encoder.bytes()
    }

    fn put(&mut self, batch: Option<Vec<u8>>) {
        if let Some(batch) = batch {
            self.bytes += batch.len();
            self.ready.push_back(Tagged { tag: self.tag, batch });
        }
    }

    fn overrun(&mut self) {
        self.begin_anew();
        self.is_overrun = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::{Held, HeldError};
    use crate::testing::Dice;
    use crate::words::{DiskNumber, Extent};

    fn write(record: &mut Record, sector: u64, data: &[u8]) -> Result<(), Overrun> {
        let extent = Extent::new(sector * 512, data.len() as u32).unwrap();
        record.write(Write { disk: DiskNumber(0), extent, content: Content::Data(data) })
    }

    fn deliver(record: &mut Record, held: &mut Held) {
        while let Some(tagged) = record.next_batch() {
            held.batch(tagged.tag, &tagged.batch).unwrap();
        }
    }

    #[test]
    fn writes_of_a_capture_that_failed_belong_to_the_next_epoch() {
        let mut record = Record::new(Epoch(5), 1 << 20);
        let mut held = Held::new(Epoch(4), vec![1 << 20], 1 << 20);
        write(&mut record, 0, &[1; 512]).unwrap();
        record.cut(Epoch(6));
        // The capture of 5 failed here. Nothing is written in 6, something in 7.
        record.cut(Epoch(7));
        write(&mut record, 0, &[2; 512]).unwrap();
        record.cut(Epoch(8));
        write(&mut record, 0, &[3; 512]).unwrap();
        let of_7 = record.end(Epoch(7)).unwrap();
        assert_eq!(of_7.writes, 2);
        deliver(&mut record, &mut held);
        held.end(Epoch(7), of_7).unwrap();
        record.cut(Epoch(9));
        deliver(&mut record, &mut held);
        held.end(Epoch(8), record.end(Epoch(8)).unwrap()).unwrap();
        held.end(Epoch(9), Default::default()).unwrap();
        let committed = held.commit(Epoch(9));
        assert_eq!(
            committed.iter().map(|held| (held.epoch.0, held.batches.len())).collect::<Vec<_>>(),
            [(7, 2), (8, 1), (9, 0)]
        );
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn what_has_no_room_is_told_and_no_epoch_has_a_gap() {
        let mut dice = Dice::new(1);
        let noise: Vec<u8> = (0..8192).map(|_| dice.next() as u8).collect();
        let mut record = Record::new(Epoch(0), 16 << 10);
        write(&mut record, 0, &noise).unwrap();
        assert_eq!(write(&mut record, 16, &noise), Err(Overrun));
        assert_eq!(
            write(&mut record, 0, &[1; 512]),
            Err(Overrun),
            "there would be room, and a gap before it"
        );
        record.cut(Epoch(1));
        assert_eq!(record.end(Epoch(0)), Err(Overrun));
        assert!(record.next_batch().is_none());
        record.begin_anew();
        assert_eq!(record.tag(), Epoch(1));
        write(&mut record, 0, &[1; 512]).unwrap();
        record.cut(Epoch(2));
        assert_eq!(record.end(Epoch(1)).unwrap().writes, 1);
    }

    #[test]
    fn a_batch_that_is_lost_or_comes_twice_is_no_epoch() {
        for lose in [true, false] {
            let mut record = Record::new(Epoch(1), 1 << 20);
            let mut held = Held::new(Epoch(0), vec![1 << 20], 1 << 20);
            write(&mut record, 0, &[1; 512]).unwrap();
            record.cut(Epoch(2));
            let tagged = record.next_batch().unwrap();
            let times = if lose { 0 } else { 2 };
            (0..times).for_each(|_| held.batch(tagged.tag, &tagged.batch).unwrap());
            let summary = record.end(Epoch(1)).unwrap();
            assert_eq!(held.end(Epoch(1), summary), Err(HeldError::Mismatch { epoch: Epoch(1) }));
            assert_eq!((held.bytes(), held.commit(Epoch(9))), (0, vec![]));
        }
    }
}
