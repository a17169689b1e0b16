//! [`Past`]: what this host's files say of the disk of a guest that runs here, and of the other host's.
//!
//! ```text
//!   label: owned in G, the other host has all up to E      map: what may have been written since E      ledger: since this life
//!                              └────────── what the other host may lack ───────────────┘
//! ```
//!
//! The map forgets nothing by an epoch that the label does not have: both are read together after a crash. So the label is
//! written first, and only now and then, since it costs a flush. Not here: what is sent then (`understudy_disk::sync::plan`).

use super::files::DiskStorage;
use super::place::NUMBER;
use understudy_checkpoint::time::{Span, Time};
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::apply::{Applier, ApplyError, Trust};
use understudy_disk::bits::Bits;
use understudy_disk::intent::{IntentFile, Pending, QUIET};
use understudy_disk::storage::{Guarded, StorageError};
use understudy_disk::sync::plan::{Ours, Plan, Theirs, Unlike, plan};
use understudy_disk::words::Point;

/// The files of a disk in use, and what is known of the other host's.
#[derive(Debug)]
pub(super) struct Past {
    applier: Applier<DiskStorage>,
    map: IntentFile<DiskStorage>,
    generation: Generation,
    /// The ledger has all that was written after this point.
    since: Point,
    /// The epoch that ends the full copy begun last, if the other host has not applied it.
    copying: Option<Epoch>,
    /// The first full copy of this life that it has applied.
    copied: Option<Epoch>,
    next_label: Time,
}

impl Past {
    /// Of a disk that was recovered.
    pub(super) fn new(applier: Applier<DiskStorage>, trust: Trust, map: IntentFile<DiskStorage>) -> Self {
        let zero = Point { generation: Generation(0), epoch: Epoch(0) };
        let (generation, since) = match trust {
            Trust::Epoch(point) => (point.generation, point),
            Trust::Owned { generation, applied } => (generation, applied),
            Trust::Nothing => (zero.generation, zero),
        };
        Self { applier, map, generation, since, copying: None, copied: None, next_label: Time(0) }
    }

    /// The label says from here on that the guest runs here.
    pub(super) fn own(&mut self) -> Result<(), ApplyError> {
        self.applier.own(self.generation)
    }

    /// The disk.
    pub(super) fn disk(&mut self) -> &mut Guarded<DiskStorage> {
        self.applier.disk(NUMBER).expect("it was opened with one")
    }

    /// Writes marks, and flushes them.
    pub(super) fn mark(&mut self, pending: &Pending) -> Result<(), StorageError> {
        self.map.write(pending)
    }

    /// Names the content.
    pub(super) fn history(&self) -> [u8; 16] {
        self.applier.history()
    }

    /// The guest runs here in this generation, and a full copy begins.
    pub(super) fn begin_copy(&mut self, generation: Generation, ended_by: Epoch) -> Result<(), ApplyError> {
        self.copying = Some(ended_by);
        if generation != self.generation {
            self.applier.own(generation)?;
            self.generation = generation;
        }
        Ok(())
    }

    /// What the other host's disk needs; `lacking` is the ledger's.
    pub(super) fn plan(&self, size_bytes: u64, lacking: Bits, theirs: &Theirs) -> Result<Plan, Unlike> {
        let (history, generation, since) = (self.history(), self.generation, self.since);
        let plan = plan(&Ours { history, size_bytes, generation, since, lacking }, theirs)?;
        match &plan {
            Plan::Send(chunks) => {
                let (chunks, of) = (chunks.marked(), chunks.count());
                tracing::info!(chunks, of, "The other host's disk is known; what it lacks is sent");
            }
            Plan::Compare => tracing::info!("The other host's disk is not known; hashes are compared"),
        }
        Ok(plan)
    }

    /// The other host has applied all up to this epoch. `forget` has the ledger forget it, and gives the newest epoch of what was
    /// forgotten. Gives whether the map may forget, too: the label says so.
    pub(super) fn applied(
        &mut self,
        through: Epoch,
        now: Time,
        forget: impl FnOnce() -> Option<Epoch>,
    ) -> Result<bool, ApplyError> {
        let ends_copy = self.copying.take_if(|ended_by| *ended_by == through).is_some();
        if ends_copy {
            self.copied.get_or_insert(through);
        }
        // A word of an earlier life.
        if self.copied.is_none_or(|copied| through < copied) {
            return Ok(false);
        }
        let newest = if ends_copy { forget().max(Some(through)) } else { forget() };
        // Where nothing was written, the other host's label stays behind.
        if let Some(epoch) = newest {
            self.since = self.since.max(Point { generation: self.generation, epoch });
        }
        if !ends_copy && now < self.next_label {
            return Ok(false);
        }
        // The epoch that the other host's own label has, too: those without writes are in no label.
        self.applier.peer_applied(self.since.epoch)?;
        self.next_label = now + Span(QUIET.0 / 2);
        Ok(true)
    }

    /// Whether a full copy of this life is applied there.
    pub(super) fn is_copied(&self) -> bool {
        self.copied.is_some()
    }
}
