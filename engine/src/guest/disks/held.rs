//! [`HeldDisks`]: the disks of a guest whose copy is held here.
//!
//! ```text
//!            begin(full copy)              end: all of it arrived, flushed
//!   Nothing ─────────────────► Copying ─────────────────────────────────► Following ── hand_over ──► the guest runs here
//!      ▲                          │ writes: onto the disk at once             │ writes: held by epoch; commit: journal, disk
//!      └───── broken ─────────────┘ ◄──────────── begin(full copy) ───────────┘
//! ```
//!
//! A commit returns once its writes are on the disk and flushed: so all acked epochs are applied before the witness is asked for
//! the guest (rule R6 of `docs/DISKS.md`). Not here: memory of the same epoch ([`receiver`](crate::guest::receiver)).

use super::place::{DiskPlace, PlaceError};
use understudy_checkpoint::epoch::{EpochHead, WritesEnd, WritesSummary};
use understudy_checkpoint::{Epoch, EpochKind, Generation};
use understudy_disk::apply::{Applier, ApplyError};
use understudy_disk::batch::{BadBatch, Summing, decode};
use understudy_disk::held::{Held, HeldError};
use understudy_disk::storage::file::FileStorage;
use understudy_disk::words::Point;

/// Writes that wait for their epoch, or for its commit.
const HELD_BYTES_MAX: usize = 64 << 20;

/// What an epoch has for disks cannot be taken.
#[derive(thiserror::Error, Debug)]
pub enum DisksError {
    /// This host has no disks for guests.
    #[error("this host keeps no disks of guests")]
    Unsupported,
    /// Its files.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A disk, a label or the journal.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// What is to be held.
    #[error(transparent)]
    Held(#[from] HeldError),
    /// A batch of a full copy.
    #[error(transparent)]
    Batch(#[from] BadBatch),
    /// A write of a full copy.
    #[error("a write ends at {end} of a disk of {size_bytes} bytes; the disks of both hosts differ")]
    Beyond {
        /// Where it ends.
        end: u64,
        /// What there is.
        size_bytes: u64,
    },
    /// It is of another epoch, or comes when nothing is awaited.
    #[error("writes came that belong to no epoch that is being received; the sender is defective")]
    Order,
    /// The full copy is not what was sent.
    #[error("the copy of the disk is not what was sent; it has to be sent again")]
    Mismatch,
    /// Its end is missing.
    #[error("the epoch ends without the end of its writes; the sender is defective")]
    Missing,
}

#[derive(Debug)]
enum State {
    Nothing,
    Copying(Box<Summing>),
    Following(Held),
}

/// The disks of one guest.
#[derive(Debug)]
pub struct HeldDisks {
    applier: Applier<FileStorage>,
    sizes_bytes: Vec<u64>,
    state: State,
    /// The epoch that is being received, and whether its writes are whole.
    open: Option<(Generation, Epoch, bool)>,
    scratch: Vec<u8>,
}

impl HeldDisks {
    /// The disk at `place`, whatever it has.
    pub fn open(place: &DiskPlace) -> Result<Self, DisksError> {
        let applier = place.open()?.applier;
        let sizes_bytes = vec![place.size_bytes()];
        Ok(Self { applier, sizes_bytes, state: State::Nothing, open: None, scratch: Vec::new() })
    }

    /// An epoch begins. With a full copy, what is there is worth nothing from here on.
    pub fn begin(&mut self, head: &EpochHead) -> Result<(), DisksError> {
        self.open = Some((head.generation, head.epoch, false));
        match (head.kind, &self.state) {
            (EpochKind::Seed, _) => {
                self.state = State::Nothing;
                self.applier.begin_sync()?;
                self.state = State::Copying(Box::default());
            }
            (EpochKind::Delta, State::Following(_)) => {}
            (EpochKind::Delta, _) => return Err(DisksError::Order),
        }
        Ok(())
    }

    /// A batch of writes arrives.
    pub fn writes(&mut self, generation: Generation, tag: Epoch, batch: &[u8]) -> Result<(), DisksError> {
        let Some((of, epoch, false)) = self.open else { return Err(DisksError::Order) };
        if of != generation || tag > epoch {
            return Err(DisksError::Order);
        }
        match &mut self.state {
            State::Nothing => Err(DisksError::Order),
            State::Following(held) => Ok(held.batch(tag, batch)?),
            State::Copying(summing) => {
                let sizes_bytes = &self.sizes_bytes;
                decode(batch, &mut self.scratch, |write| {
                    let size_bytes = sizes_bytes.get(usize::from(write.disk.0)).copied().unwrap_or(0);
                    let end = write.extent.end();
                    if end > size_bytes {
                        return Err(DisksError::Beyond { end, size_bytes });
                    }
                    summing.add(write);
                    Ok(())
                })?;
                Ok(self.applier.bulk(batch)?)
            }
        }
    }

    /// The epoch's writes are all here, if they are what was sent.
    pub fn end(&mut self, end: WritesEnd) -> Result<(), DisksError> {
        match &mut self.open {
            Some((generation, epoch, is_whole @ false))
                if (*generation, *epoch) == (end.generation, end.epoch) =>
            {
                *is_whole = true;
            }
            _ => return Err(DisksError::Order),
        }
        match &mut self.state {
            State::Nothing => Err(DisksError::Order),
            State::Following(held) => Ok(held.end(end.epoch, end.summary)?),
            State::Copying(summing) => {
                let seen = summing.summary();
                let none = WritesSummary::default();
                let seen = if seen.writes == 0 { none } else { none.then(seen) };
                if seen == end.summary { Ok(()) } else { Err(DisksError::Mismatch) }
            }
        }
    }

    /// Whether the epoch that is being received has all its writes.
    pub fn check_whole(&self) -> Result<(), DisksError> {
        if matches!(self.open, Some((.., true))) { Ok(()) } else { Err(DisksError::Missing) }
    }

    /// The epoch is whole, memory and writes. After a full copy the disk is at it.
    pub fn complete(&mut self) -> Result<(), DisksError> {
        let Some((generation, epoch, true)) = self.open.take() else { return Err(DisksError::Missing) };
        if let State::Copying(_) = self.state {
            self.state = State::Nothing;
            self.applier.end_sync(Point { generation, epoch })?;
            self.state = State::Following(Held::new(epoch, self.sizes_bytes.clone(), HELD_BYTES_MAX));
        }
        Ok(())
    }

    /// All up to this epoch is acked: it is on the disk and flushed when this returns.
    pub fn commit(&mut self, generation: Generation, through: Epoch) -> Result<(), DisksError> {
        let State::Following(held) = &mut self.state else { return Ok(()) };
        let committed = held.commit(through);
        let mut has_writes = false;
        // An epoch without writes leaves the disk where it is.
        for epoch in committed.into_iter().filter(|epoch| !epoch.batches.is_empty()) {
            self.applier.log(generation, epoch)?;
            has_writes = true;
        }
        if has_writes {
            self.applier.apply()?;
        }
        Ok(())
    }

    /// What comes after `whole` is dropped; without one, all. A full copy that has not ended leaves a disk that is worth nothing.
    pub fn drop_after(&mut self, whole: Option<Epoch>) {
        self.open = None;
        match (&mut self.state, whole) {
            (State::Following(held), Some(whole)) => held.drop_after(whole),
            (state, _) => *state = State::Nothing,
        }
    }

    /// The witness has given the guest to this host: the labels say that the disk will be newer, and nothing is replayed over it.
    pub fn hand_over(&mut self, generation: Generation) -> Result<(), DisksError> {
        let State::Following(_) = self.state else { return Err(DisksError::Order) };
        self.state = State::Nothing;
        self.applier.settle()?;
        Ok(self.applier.own(generation)?)
    }
}
