//! [`HeldDisks`]: the disks of a guest whose copy is held here.
//!
//! ```text
//!            ask(Begin)                 end: all of it arrived, flushed
//!   Nothing ────────────► Copying ─────────────────────────────────► Following ── hand_over ──► the guest runs here
//!      ▲ │ ask(Stand)        │ writes: onto the disk at once             │ writes: held by epoch; commit: journal, disk
//!      └─┴─── broken ────────┘                                           │
//!      └────────────────── an epoch of a full copy begins ───────────────┘
//! ```
//!
//! What the disk is worth is kept until a copy of the disk really begins: until then it is at some epoch, and only what it lacks
//! needs to come.
//!
//! A commit returns once its writes are on the disk and flushed: so all acked epochs are applied before the witness is asked for
//! the guest (rule R6 of `docs/DISKS.md`). Not here: memory of the same epoch ([`receiver`](crate::guest::receiver)).

use super::files::DiskStorage;
use super::place::{DiskPlace, Opened, PlaceError};
use understudy_checkpoint::epoch::{EpochHead, WritesEnd, WritesSummary};
use understudy_checkpoint::{Epoch, EpochKind, Generation};
use understudy_disk::apply::{Applier, ApplyError, Trust};
use understudy_disk::batch::{BadBatch, Summing, decode};
use understudy_disk::bits::Bits;
use understudy_disk::held::{Held, HeldError};
use understudy_disk::label::Standing;
use understudy_disk::ledger::CHUNK_BYTES;
use understudy_disk::storage::{Storage, StorageError};
use understudy_disk::sync::hashes::Hashes;
use understudy_disk::sync::plan::{Known, Theirs};
use understudy_disk::sync::talk::{Ask, BadTalk, Say};
use understudy_disk::words::{DiskNumber, Point};

/// Bound of writes that wait for their epoch's end or its commit.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Why an epoch's disk writes cannot be accepted.
#[derive(thiserror::Error, Debug)]
pub enum DisksError {
    /// This host holds no disks.
    #[error("this host keeps no disks of guests")]
    Unsupported,
    /// The disk's files.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A disk, a label or the journal.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The write's place.
    #[error(transparent)]
    Held(#[from] HeldError),
    /// A batch of a full copy is malformed.
    #[error(transparent)]
    Batch(#[from] BadBatch),
    /// What the primary asks.
    #[error(transparent)]
    Talk(#[from] BadTalk),
    /// The disk cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A write of a full copy lies beyond the disk.
    #[error("a write ends at {end} of a disk of {size_bytes} bytes; the disks of both hosts differ")]
    Beyond {
        /// Where it ends.
        end: u64,
        size_bytes: u64,
    },
    /// The writes belong to another epoch, or arrive when none are expected.
    #[error("writes came that belong to no epoch that is being received; the sender is defective")]
    Order,
    /// The full copy differs from what was sent.
    #[error("the copy of the disk is not what was sent; it has to be sent again")]
    Mismatch,
    /// The end of the epoch's writes is missing.
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
    place: DiskPlace,
    applier: Applier<DiskStorage>,
    /// Of the disk, while it does not follow.
    trust: Trust,
    is_blank: bool,
    /// What an earlier life of a guest here may have written; none if that is not known.
    marked: Option<Bits>,
    sizes_bytes: Vec<u64>,
    state: State,
    /// The epoch that is being received, and whether all of its writes have arrived.
    open: Option<(Generation, Epoch, bool)>,
    scratch: Vec<u8>,
}

impl HeldDisks {
    /// Opens the disk at `place`, whatever its state.
    pub fn open(place: &DiskPlace) -> Result<Self, DisksError> {
        let Opened { applier, trust, standing, map } = place.open()?;
        if let Err(error) = &map {
            tracing::warn!(%error, "What a guest wrote to its disk here is not known; it will be compared");
        }
        Ok(Self {
            place: place.clone(),
            applier,
            trust,
            is_blank: standing == Standing::Blank,
            marked: map.ok().map(|map| map.marked),
            sizes_bytes: vec![place.size_bytes()],
            state: State::Nothing,
            open: None,
            scratch: Vec::new(),
        })
    }

    /// An epoch begins. With a full copy, what is there follows no more.
    pub fn begin(&mut self, head: &EpochHead) -> Result<(), DisksError> {
        self.open = Some((head.generation, head.epoch, false));
        match (head.kind, &self.state) {
            (EpochKind::Seed, _) => self.follow_no_more(),
            (EpochKind::Delta, State::Following(_)) => {}
            (EpochKind::Delta, _) => return Err(DisksError::Order),
        }
        Ok(())
    }

    fn follow_no_more(&mut self) {
        if let State::Following(_) = self.state {
            (self.trust, self.marked) = (Trust::Epoch(self.applier.applied()), None);
        }
        self.state = State::Nothing;
    }

    /// The primary asks, or tells, before a full copy and during one; what it is answered.
    pub fn ask(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        ask: &[u8],
    ) -> Result<Option<Say>, DisksError> {
        if self.open != Some((generation, epoch, false)) || matches!(self.state, State::Following(_)) {
            return Err(DisksError::Order);
        }
        match Ask::decode(ask, self.place.size_bytes())? {
            Ask::Stand => Ok(Some(Say::Stand(self.stand()))),
            Ask::Begin(history) => self.begin_copy(history).map(|()| None),
            Ask::Compare { first, count } => {
                self.hashes(first, count).map(|hashes| Some(Say::Hashes(hashes)))
            }
        }
    }

    fn stand(&self) -> Theirs {
        let label = Known { history: self.applier.history(), trust: self.trust, is_blank: self.is_blank };
        Theirs { label: Some(label), size_bytes: self.place.size_bytes(), marked: self.marked.clone() }
    }

    /// What is there is worth nothing from here on.
    fn begin_copy(&mut self, history: [u8; 16]) -> Result<(), DisksError> {
        (self.state, self.trust, self.is_blank, self.marked) = (State::Nothing, Trust::Nothing, false, None);
        self.applier.begin_sync()?;
        self.applier.adopt(history, self.place.random()?)?;
        self.place.renew_map(history)?;
        self.state = State::Copying(Box::default());
        Ok(())
    }

    fn hashes(&mut self, first: u64, count: u32) -> Result<Hashes, DisksError> {
        let size_bytes = self.place.size_bytes();
        let disk = self.applier.disk(DiskNumber(0)).ok_or(DisksError::Unsupported)?;
        let (mut hashes, mut chunk) = (Hashes::new(first), vec![0; CHUNK_BYTES as usize]);
        for number in first..first + u64::from(count) {
            let offset = number * CHUNK_BYTES;
            let content = &mut chunk[..CHUNK_BYTES.min(size_bytes - offset) as usize];
            disk.read_at(offset, content)?;
            hashes.push(content);
        }
        Ok(hashes)
    }

    /// Takes a batch of writes.
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

    /// Completes the epoch's writes; fails if they differ from what was sent.
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

    /// Whether all writes of the epoch that is being received have arrived.
    pub fn check_whole(&self) -> Result<(), DisksError> {
        if matches!(self.open, Some((.., true))) { Ok(()) } else { Err(DisksError::Missing) }
    }

    /// The epoch is whole, memory and writes. After a full copy the disk is at it, and this is true.
    pub fn complete(&mut self) -> Result<bool, DisksError> {
        let Some((generation, epoch, true)) = self.open.take() else { return Err(DisksError::Missing) };
        if let State::Copying(_) = self.state {
            self.state = State::Nothing;
            self.applier.end_sync(Point { generation, epoch })?;
            self.state = State::Following(Held::new(epoch, self.sizes_bytes.clone(), HELD_BYTES_MAX));
            return Ok(true);
        }
        Ok(false)
    }

    /// All up to this epoch is acked: it is on the disk and flushed when this returns, if the disk follows at all.
    pub fn commit(&mut self, generation: Generation, through: Epoch) -> Result<bool, DisksError> {
        let State::Following(held) = &mut self.state else { return Ok(false) };
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
        Ok(true)
    }

    /// Drops the writes after `whole`, or all of them without one. An unfinished full copy leaves an invalid disk.
    pub fn drop_after(&mut self, whole: Option<Epoch>) {
        self.open = None;
        match (&mut self.state, whole) {
            (State::Following(held), Some(whole)) => held.drop_after(whole),
            _ => self.follow_no_more(),
        }
    }

    /// The witness has given the guest to this host: marks the labels so that nothing is replayed over the disk's newer content.
    pub fn hand_over(&mut self, generation: Generation) -> Result<(), DisksError> {
        let State::Following(_) = self.state else { return Err(DisksError::Order) };
        self.state = State::Nothing;
        self.applier.settle()?;
        Ok(self.applier.own(generation)?)
    }
}
