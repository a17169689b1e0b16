//! The secondary's held epochs: writes that have arrived, and may not touch the disk yet.
//!
//! ```text
//!   batch(tag 7) batch(tag 8)          end(8, summary)                    commit(8)
//!   ─────────────────────────► open ────────────────────► whole ─────────────────────► to the journal, then the disk
//!                               │        not the same       │
//!                               └──► nothing of 8 is taken  └─ an epoch is all tags after the one before, up to its own
//! ```
//!
//! Batches are kept as they came: they go into the journal as they are. Each was read once on arrival, so what is held
//! can be applied: its form, its disks' numbers and ends were checked. Memory is bounded by the sum of their bytes.
//!
//! Not here: when an epoch is acked (the session's word), and memory pages of the same epoch.

use crate::batch::{self, BadBatch, Summing};
use crate::words::DiskNumber;
use std::collections::VecDeque;
use thiserror::Error;
use understudy_checkpoint::epoch::WritesSummary;
use understudy_checkpoint::{Epoch, OutOfMemory, room};

/// What a batch costs beside its bytes.
const BATCH_COST_BYTES: usize = 64;

/// A batch or an epoch was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HeldError {
    /// Not a batch.
    #[error(transparent)]
    Batch(#[from] BadBatch),
    /// A write to a disk, or to a place of it, that is not there.
    #[error(
        "a write of {bytes} bytes at {offset} is not within disk {disk} of the guest; the disks of both hosts differ"
    )]
    Beyond {
        /// Which disk.
        disk: DiskNumber,
        /// From its begin.
        offset: u64,
        /// How many.
        bytes: u32,
    },
    /// Tags do not go back.
    #[error(
        "writes of epoch {tag} came after epoch {after}; the peer's order is wrong, a full sync is needed"
    )]
    Order {
        /// Of the batch, or of the epoch's end.
        tag: Epoch,
        /// What had been there.
        after: Epoch,
    },
    /// What is held would be more than is allowed.
    #[error(
        "the writes that wait for their epoch need more than {bytes_max} bytes; the copy goes stale, a higher limit avoids it"
    )]
    Full {
        /// The limit.
        bytes_max: usize,
    },
    /// The host has no memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The epoch's writes are not what the primary recorded.
    #[error("the writes of epoch {epoch} are not those that were recorded; the epoch is not taken")]
    Mismatch {
        /// The epoch that is not taken.
        epoch: Epoch,
    },
}

/// An epoch whose writes are all here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldEpoch {
    /// The number of the epoch.
    pub epoch: Epoch,
    /// Its writes in order.
    pub batches: Vec<Vec<u8>>,
}

/// Of one guest.
#[derive(Debug)]
pub struct Held {
    sizes_bytes: Vec<u64>,
    bytes_max: usize,
    bytes: usize,
    open: VecDeque<Tagged>,
    whole: VecDeque<HeldEpoch>,
    /// The last epoch that ended, or was taken as the begin.
    last: Epoch,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Tagged {
    tag: Epoch,
    summing: Summing,
    batches: Vec<Vec<u8>>,
}

impl Held {
    /// Holds epochs after `base`, for disks of these sizes.
    pub fn new(base: Epoch, sizes_bytes: Vec<u64>, bytes_max: usize) -> Self {
        Self {
            sizes_bytes,
            bytes_max,
            bytes: 0,
            open: VecDeque::new(),
            whole: VecDeque::new(),
            last: base,
            scratch: Vec::new(),
        }
    }

    /// How much is held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a batch of the epoch that was open when it was recorded. After an error its tag, and with it the epoch, can
    /// not become whole: its summary tells.
    pub fn batch(&mut self, tag: Epoch, bytes: &[u8]) -> Result<(), HeldError> {
        let after = self.open.back().map_or(self.last, |tagged| tagged.tag);
        if tag < after || tag <= self.last {
            return Err(HeldError::Order { tag, after });
        }
        let cost = bytes.len() + BATCH_COST_BYTES;
        if cost > self.bytes_max - self.bytes {
            return Err(HeldError::Full { bytes_max: self.bytes_max });
        }
        let mut summing = match self.open.back() {
            Some(tagged) if tagged.tag == tag => tagged.summing.clone(),
            _ => Summing::default(),
        };
        let sizes_bytes = &self.sizes_bytes;
        batch::decode(bytes, &mut self.scratch, |write| {
            let size_bytes = sizes_bytes.get(usize::from(write.disk.0)).copied().unwrap_or(0);
            if write.extent.end() > size_bytes {
                let (offset, bytes) = (write.extent.offset(), write.extent.bytes());
                return Err(HeldError::Beyond { disk: write.disk, offset, bytes });
            }
            summing.add(write);
            Ok(())
        })?;
        let mut kept = Vec::new();
        room::reserve(&mut kept, bytes.len())?;
        kept.extend_from_slice(bytes);
        if self.open.back().is_none_or(|tagged| tagged.tag != tag) {
            self.open.push_back(Tagged { tag, summing: Summing::default(), batches: Vec::new() });
        }
        let tagged = self.open.back_mut().expect("it was put there");
        tagged.summing = summing;
        tagged.batches.push(kept);
        self.bytes += cost;
        Ok(())
    }

    /// The primary's summary of an epoch: all tags up to its own, each without a batch left out. After a mismatch nothing of
    /// them is held.
    pub fn end(&mut self, epoch: Epoch, summary: WritesSummary) -> Result<(), HeldError> {
        if epoch <= self.last {
            return Err(HeldError::Order { tag: epoch, after: self.last });
        }
        self.last = epoch;
        let mut seen = WritesSummary::default();
        let mut batches = Vec::new();
        while let Some(tagged) = self.open.pop_front_if(|tagged| tagged.tag <= epoch) {
            seen = seen.then(tagged.summing.summary());
            batches.extend(tagged.batches);
        }
        if seen != summary {
            self.bytes -= batches.iter().map(|batch| batch.len() + BATCH_COST_BYTES).sum::<usize>();
            return Err(HeldError::Mismatch { epoch });
        }
        self.whole.push_back(HeldEpoch { epoch, batches });
        Ok(())
    }

    /// Hands over the whole epochs up to this one, in order.
    pub fn commit(&mut self, through: Epoch) -> Vec<HeldEpoch> {
        let mut committed = Vec::new();
        while let Some(epoch) = self.whole.pop_front_if(|held| held.epoch <= through) {
            self.bytes -= epoch.batches.iter().map(|batch| batch.len() + BATCH_COST_BYTES).sum::<usize>();
            committed.push(epoch);
        }
        committed
    }

    /// Forgets all that is not acked: what came after `acked`, whole or not. The next epochs come after it.
    pub fn drop_after(&mut self, acked: Epoch) {
        self.open.clear();
        self.whole.retain(|held| held.epoch <= acked);
        self.last = acked;
        let whole = self.whole.iter().flat_map(|held| &held.batches);
        self.bytes = whole.map(|batch| batch.len() + BATCH_COST_BYTES).sum();
    }
}

#[cfg(test)]
mod tests;
