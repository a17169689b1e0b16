//! The secondary's disks: committed epochs go into the journal, then onto the disks, so that a loss of power leaves them at
//! an epoch.
//!
//! ```text
//!   commit N ─► log ─► apply: journal flushed │ disks written │ disks flushed │ now and then: head: applied N, room free again
//!                             └ from here on N can be replayed                                    └ from here on it need not be
//!
//!   Closed ──begin_sync──► Syncing ──end_sync──► Following ──settle──► Closed ──own──► the guest runs here
//!     ▲                       └────────────────────── a crash ─────────────┘  └─begin_sync, follow: a standby again
//!     └── recover
//! ```
//!
//! | mode | ack | a loss of power leaves |
//! |---|---|---|
//! | ordered | from memory | exactly some epoch, the ack or before |
//! | durable | after [`Applier::log`] | exactly some epoch, the ack or after |
//! | off | from memory | no epoch: the label says *partial* all the time |
//!
//! Not here: when an epoch is committed, and who may open the disk.

use crate::batch::{self, BadBatch, Content, Write};
use crate::held::HeldEpoch;
use crate::journal::{Journal, JournalError, Recovered};
use crate::label::{Label, LabelError, LabelFile, Standing};
use crate::storage::{Guarded, Storage, StorageError};
use crate::words::{DiskNumber, Point};
use std::collections::VecDeque;
use thiserror::Error;
use understudy_checkpoint::{Epoch, Generation};

/// Room in the journal is made again when this share of it is used.
const TRIM_SHARE: u64 = 8;

/// What is promised after a loss of power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The disks are at an epoch; which one is not said.
    Ordered,
    /// They are at the ack or after it.
    Durable,
    /// They are worth nothing.
    Off,
}

/// Disks, labels or the journal did not do it. Where storage failed, nothing more is logged or applied in this life.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// A disk's or a label's storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A batch that was checked when it came.
    #[error(transparent)]
    Batch(#[from] BadBatch),
    /// A label cannot be read.
    #[error("the label of disk {disk}")]
    Label {
        /// The disk of the label.
        disk: DiskNumber,
        /// Why not.
        #[source]
        source: LabelError,
    },
    /// Disk, label and journal are not of one guest's disks.
    #[error(
        "disk {disk} does not belong to what stands beside it ({what}); it was exchanged, compare it with the other host's by its hashes"
    )]
    Foreign {
        /// The disk that was exchanged.
        disk: DiskNumber,
        /// What differs.
        what: &'static str,
    },
}

/// What disks are worth after a start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// All are exactly at this epoch.
    Epoch(Point),
    /// The guest ran on them here, in this generation. What it wrote beyond `applied` the intent map says.
    Owned {
        /// The last one.
        generation: Generation,
        /// What the other host surely has, too.
        applied: Point,
    },
    /// They are at no epoch: a sync of all that is not known to be the same.
    Nothing,
}

/// A disk and its label.
#[derive(Debug)]
pub struct Volume<S> {
    disk: Guarded<S>,
    label: LabelFile<S>,
}

impl<S: Storage> Volume<S> {
    /// The two, which belong together.
    pub fn new(disk: S, label: LabelFile<S>) -> Self {
        Self { disk: Guarded::new(disk), label }
    }

    fn stand(&mut self, standing: Standing, point: Point) -> Result<(), StorageError> {
        let (generation, applied) = (point.generation, point.epoch);
        let is_clean = standing != Standing::Partial;
        self.label.put(Label { standing, generation, applied, is_clean, ..self.label.label().clone() })
    }

    fn write(&mut self, write: Write<'_>) -> Result<(), StorageError> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut offset = write.extent.offset();
        match write.content {
            Content::Data(data) => self.disk.write_at(offset, data),
            Content::Zeros => {
                while offset < write.extent.end() {
                    let bytes = (write.extent.end() - offset).min(ZEROS.len() as u64);
                    self.disk.write_at(offset, &ZEROS[..bytes as usize])?;
                    offset += bytes;
                }
                Ok(())
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed,
    Syncing,
    Following,
}

/// The disks of one guest on the host that does not run it.
#[derive(Debug)]
pub struct Applier<S> {
    volumes: Vec<Volume<S>>,
    journal: Journal<S>,
    mode: Mode,
    state: State,
    applied: Point,
    waiting: VecDeque<(Point, HeldEpoch)>,
    scratch: Vec<u8>,
}

impl<S: Storage> Applier<S> {
    /// Disks that have never followed, with a journal just made.
    pub fn create(volumes: Vec<Volume<S>>, journal: Journal<S>, mode: Mode) -> Result<Self, ApplyError> {
        check(&volumes, journal.history())?;
        assert!(!journal.is_open(), "a journal with content is recovered");
        Ok(Self::closed(volumes, journal, mode))
    }

    /// What is there after a start, whatever ended the life before. Whole epochs that the journal has are on the disks when
    /// it returns; what is on the disks is flushed.
    pub fn recover(
        volumes: Vec<Volume<S>>,
        journal: Recovered<S>,
        mode: Mode,
    ) -> Result<(Self, Trust), ApplyError> {
        check(&volumes, journal.history())?;
        let (mut volumes, mut journal) = (volumes, journal);
        let trust = trust(&volumes, &journal)?;
        if matches!(trust, Trust::Epoch(_)) {
            let mut scratch = Vec::new();
            journal.replay(|batch| write_batch(&mut volumes, batch, &mut scratch))?;
        }
        // Also where the guest ran: what it reads when it begins is not lost with the next loss of power.
        flush(&mut volumes)?;
        let journal = journal.finish()?;
        Ok((Self::closed(volumes, journal, mode), trust))
    }

    fn closed(volumes: Vec<Volume<S>>, journal: Journal<S>, mode: Mode) -> Self {
        let applied = journal.applied();
        Self {
            volumes,
            journal,
            mode,
            state: State::Closed,
            applied,
            waiting: VecDeque::new(),
            scratch: Vec::new(),
        }
    }

    /// All epochs up to this one are on the disks, and flushed.
    pub fn applied(&self) -> Point {
        self.applied
    }

    /// Disks will be overwritten in any order. When it returns, no start believes them any more.
    pub fn begin_sync(&mut self) -> Result<(), ApplyError> {
        self.waiting.clear();
        for volume in &mut self.volumes {
            volume.stand(Standing::Partial, self.applied)?;
        }
        // After the labels: an open journal beside labels that say *whole* would be replayed.
        self.journal.close(self.applied)?;
        self.state = State::Syncing;
        Ok(())
    }

    /// The sync brings content of this history; `salt` is for the journal, random and never used before. A loss of power before it
    /// returns leaves labels that say *partial*, and perhaps a journal of another history, which is worth nothing beside them.
    pub fn adopt(&mut self, history: [u8; 16], salt: [u8; 16]) -> Result<(), ApplyError> {
        assert_eq!(self.state, State::Syncing, "the history of a disk that is at an epoch stays");
        if self.journal.history() == history {
            return Ok(());
        }
        for volume in &mut self.volumes {
            volume.label.rename(history);
            volume.stand(Standing::Partial, self.applied)?;
        }
        Ok(self.journal.renew(history, salt)?)
    }

    /// Which history the disks' content belongs to.
    pub fn history(&self) -> [u8; 16] {
        self.journal.history()
    }

    /// A disk, for who may use it past the journal: the guest that runs here, or a comparison that only reads.
    pub fn disk(&mut self, number: DiskNumber) -> Option<&mut Guarded<S>> {
        self.volumes.get_mut(usize::from(number.0)).map(|volume| &mut volume.disk)
    }

    /// Writes of a sync, onto the disks at once.
    pub fn bulk(&mut self, batch: &[u8]) -> Result<(), ApplyError> {
        assert_eq!(self.state, State::Syncing, "only a sync writes past the journal");
        write_batch(&mut self.volumes, batch, &mut self.scratch)
    }

    /// The sync is complete: the disks are at `point`.
    pub fn end_sync(&mut self, point: Point) -> Result<(), ApplyError> {
        assert_eq!(self.state, State::Syncing, "a sync ends once");
        flush(&mut self.volumes)?;
        self.follow_from(point)
    }

    /// Disks that are at `point`, as [`settle`](Self::settle) or [`recover`](Self::recover) said, follow again.
    pub fn follow(&mut self, point: Point) -> Result<(), ApplyError> {
        assert_eq!(self.state, State::Closed, "what follows does so once");
        self.follow_from(point)
    }

    fn follow_from(&mut self, point: Point) -> Result<(), ApplyError> {
        self.journal.begin(point)?;
        let standing = if self.mode == Mode::Off { Standing::Partial } else { Standing::Whole };
        for volume in &mut self.volumes {
            volume.stand(standing, point)?;
        }
        (self.state, self.applied) = (State::Following, point);
        Ok(())
    }

    /// Takes a committed epoch. In mode *durable* it is what is acked after this, not before; nothing that may still be
    /// refused is logged.
    pub fn log(&mut self, generation: Generation, held: HeldEpoch) -> Result<(), ApplyError> {
        assert_eq!(self.state, State::Following, "an epoch needs disks that follow");
        let point = Point { generation, epoch: held.epoch };
        if self.mode != Mode::Off {
            match self.journal.append(point, &held.batches) {
                Err(JournalError::Full { .. }) => {
                    self.apply()?;
                    self.journal.trim(self.applied)?;
                    self.journal.append(point, &held.batches)?;
                }
                appended => appended?,
            }
        }
        if self.mode == Mode::Durable {
            self.journal.flush()?;
        }
        self.waiting.push_back((point, held));
        Ok(())
    }

    /// Brings all that was logged onto the disks, and gives what is applied.
    pub fn apply(&mut self) -> Result<Point, ApplyError> {
        let Some((point, _)) = self.waiting.back() else { return Ok(self.applied) };
        let point = *point;
        if self.mode != Mode::Off {
            self.journal.flush()?;
        }
        for (_, held) in &self.waiting {
            for batch in &held.batches {
                write_batch(&mut self.volumes, batch, &mut self.scratch)?;
            }
        }
        flush(&mut self.volumes)?;
        self.waiting.clear();
        self.applied = point;
        // Its head costs a flush, and a replay of what is applied changes nothing: so not each time.
        if self.mode != Mode::Off && self.journal.used_bytes() > self.journal.ring_bytes() / TRIM_SHARE {
            self.journal.trim(point)?;
        }
        Ok(point)
    }

    /// Before the witness is asked for the guest: all that was logged is applied, nothing will be replayed, and the labels
    /// say where the disks are.
    pub fn settle(&mut self) -> Result<Point, ApplyError> {
        assert_eq!(self.state, State::Following, "only disks that follow are at an epoch");
        let point = self.apply()?;
        self.journal.close(point)?;
        for volume in &mut self.volumes {
            volume.stand(Standing::Whole, point)?;
        }
        self.state = State::Closed;
        Ok(point)
    }

    /// The witness gave the guest to this host: before it runs, the labels say that the disks will be newer. What they say of the
    /// other host stays.
    pub fn own(&mut self, generation: Generation) -> Result<(), ApplyError> {
        assert_eq!(self.state, State::Closed, "a guest runs on disks that are settled");
        for volume in &mut self.volumes {
            let label = volume.label.label();
            let known = if label.standing == Standing::Owned { label.applied } else { Epoch(0) };
            let epoch = self.applied.epoch.max(known);
            volume.stand(Standing::Owned, Point { generation, epoch })?;
        }
        Ok(())
    }
}

impl<S: Storage> Applier<S> {
    /// The other host has applied so much of what the guest wrote here. It is durable before the intent map forgets a region
    /// by it: after a crash the two say together what the other host may lack.
    pub fn peer_applied(&mut self, through: Epoch) -> Result<(), ApplyError> {
        for volume in &mut self.volumes {
            let label = volume.label.label().clone();
            assert_eq!(label.standing, Standing::Owned, "the guest runs here");
            volume.label.put(Label { applied: label.applied.max(through), ..label })?;
        }
        Ok(())
    }
}

fn check<S: Storage>(volumes: &[Volume<S>], history: [u8; 16]) -> Result<(), ApplyError> {
    for (number, volume) in volumes.iter().enumerate() {
        let disk = DiskNumber(number as u16);
        let foreign = |what| Err(ApplyError::Foreign { disk, what });
        if volume.label.history() != history {
            return foreign("its label is of another history than the journal");
        }
        if volume.label.label().size_bytes != volume.disk.size_bytes() {
            return foreign("its size is not the one that its label says");
        }
    }
    Ok(())
}

/// What labels and journal say together.
fn trust<S: Storage>(volumes: &[Volume<S>], journal: &Recovered<S>) -> Result<Trust, ApplyError> {
    let has = |standing| volumes.iter().position(|volume| volume.label.label().standing == standing);
    if has(Standing::Partial).is_some() || has(Standing::Blank).is_some() {
        return Ok(Trust::Nothing);
    }
    let Some(owned) = has(Standing::Owned) else { return Ok(Trust::Epoch(journal.point())) };
    if !journal.is_closed() {
        let disk = DiskNumber(owned as u16);
        return Err(ApplyError::Foreign { disk, what: "a guest ran on it, and its journal is open" });
    }
    let labels = || {
        volumes.iter().map(|volume| volume.label.label()).filter(|label| label.standing == Standing::Owned)
    };
    let generation = volumes[owned].label.label().generation;
    let known = labels().map(|label| label.applied).min().unwrap_or_default();
    // What the labels say is of this generation, unless it is where the disks were settled before it.
    let settled = journal.point();
    let applied = if known > settled.epoch { Point { generation, epoch: known } } else { settled };
    Ok(Trust::Owned { generation, applied })
}

fn write_batch<S: Storage>(
    volumes: &mut [Volume<S>],
    bytes: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<(), ApplyError> {
    batch::decode(bytes, scratch, |write| {
        let missing = ApplyError::Foreign { disk: write.disk, what: "the guest has no such disk" };
        volumes.get_mut(usize::from(write.disk.0)).ok_or(missing)?.write(write).map_err(ApplyError::from)
    })
}

fn flush<S: Storage>(volumes: &mut [Volume<S>]) -> Result<(), StorageError> {
    volumes.iter_mut().try_for_each(|volume| volume.disk.flush())
}

#[cfg(test)]
mod tests;
