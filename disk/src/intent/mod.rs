//! The intent map: which regions of a disk this host may have written since the other one applied them; on the media before
//! the write is (rule R8 of `docs/DISKS.md`).
//!
//! ```text
//!                   begin: in memory          flushed                      quiet, applied           flushed
//!   (not marked) ──────────────────► marked ───────────► marked, durable ─────────────────► (not) ─────────► (not marked)
//!                                    the write waits     the write goes                     a write waits again
//! ```
//!
//! After a crash the marked regions are all that the other host's disk can lack or differ in. A region costs one flush when it
//! gets hot, and none while it stays so. It gets cold when nothing is in flight in it, its last write is applied at the
//! peer, and it was quiet for a while.
//!
//! Each sector of the map has its own check. A loss of power leaves each sector old or new, and either is right: a bit that was
//! durable is in both. A sector that rotted counts as all marked: that costs a longer resync and loses nothing.
//!
//! Blocks are taken out to be written while requests go on; one set of blocks at a time is on its way.
//!
//! * `file` the bytes, and what reads and writes them
//!
//! Not here: threads, and when the map is looked through for cold regions.

mod file;

use crate::bits::Bits;
use crate::words::Extent;
pub use file::{IntentError, IntentFile, Opened};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;
use understudy_checkpoint::time::{Span, Time};
use understudy_checkpoint::{Epoch, OutOfMemory};

/// What one bit stands for.
pub const REGION_BYTES: u64 = 4 << 20;

/// How long a region is left marked after its last write.
pub const QUIET: Span = Span::from_ms(10_000);

/// Regions of which one sector of the map tells.
const SECTOR_REGIONS: u64 = file::SECTOR_BITS;

/// The map could not be written, so no write to a region that is not marked may be submitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "the intent map could not be written, so writes to regions that it has not marked fail; put its device right and start anew"
)]
pub struct Failed;

/// A region with writes since it was marked.
#[derive(Debug)]
struct Hot {
    in_flight: u32,
    last_epoch: Epoch,
    last_time: Time,
}

/// Sectors of the map on their way to the media.
#[derive(Debug)]
pub struct Pending {
    sectors: Vec<u64>,
    bits: Bits,
}

/// The map in memory.
#[derive(Debug)]
pub struct Intent {
    marked: Bits,
    /// Marked on the media, and nothing else was ever submitted for it since.
    durable: Bits,
    hot: BTreeMap<u64, Hot>,
    /// Marked when this life began: cold only when a resync has ended.
    inherited: Bits,
    /// Sectors of the map that differ from the media, or may.
    changed: BTreeSet<u64>,
    is_pending: bool,
    has_failed: bool,
}

impl Intent {
    /// A map whose marks are these, on the media.
    pub fn new(marked: Bits) -> Result<Self, OutOfMemory> {
        let mut inherited = Bits::try_new(marked.count())?;
        inherited.merge(&marked);
        Ok(Self {
            durable: marked.clone(),
            marked,
            hot: BTreeMap::new(),
            inherited,
            changed: BTreeSet::new(),
            is_pending: false,
            has_failed: false,
        })
    }

    /// The regions that are marked, in memory or on the media.
    pub fn marked(&self) -> &Bits {
        &self.marked
    }

    /// A write arrives; whether it may be submitted at once. If not, it may when [`is_durable`](Self::is_durable) says so after
    /// a flush. Each `begin` that is no error is followed by one [`end`](Self::end).
    pub fn begin(&mut self, extent: Extent) -> Result<bool, Failed> {
        if self.has_failed && !self.is_durable(extent) {
            return Err(Failed);
        }
        for region in extent.pieces(REGION_BYTES) {
            let cold = Hot { in_flight: 0, last_epoch: Epoch(0), last_time: Time(0) };
            self.hot.entry(region).or_insert(cold).in_flight += 1;
            if self.marked.insert(region) {
                self.changed.insert(region / SECTOR_REGIONS);
            }
        }
        Ok(self.is_durable(extent))
    }

    /// Whether a write to it may be submitted.
    pub fn is_durable(&self, extent: Extent) -> bool {
        extent.pieces(REGION_BYTES).all(|region| self.durable.has(region))
    }

    /// A write is done, well or not, or was given up. `tag` is the epoch in which it was recorded or marked.
    pub fn end(&mut self, extent: Extent, tag: Epoch, now: Time) {
        for region in extent.pieces(REGION_BYTES) {
            let hot = self.hot.get_mut(&region).expect("what ends has begun");
            hot.in_flight = hot.in_flight.checked_sub(1).expect("what ends has begun");
            hot.last_epoch = hot.last_epoch.max(tag);
            hot.last_time = hot.last_time.max(now);
        }
    }

    /// Unmarks what is cold, when all up to `applied` is on the peer's disk; gives how many regions. The media follow with the
    /// next flush.
    pub fn cool(&mut self, applied: Epoch, now: Time) -> usize {
        let is_cold =
            |hot: &Hot| hot.in_flight == 0 && hot.last_epoch <= applied && now - hot.last_time >= QUIET;
        let inherited = &self.inherited;
        let cold: Vec<u64> = self
            .hot
            .iter()
            .filter(|(region, hot)| is_cold(hot) && !inherited.has(**region))
            .map(|(region, _)| *region)
            .collect();
        for region in &cold {
            self.hot.remove(region);
            self.unmark(*region);
        }
        cold.len()
    }

    /// A resync has ended, and is applied: what was marked when this life began is like any other region.
    pub fn release_inherited(&mut self) {
        let regions: Vec<u64> = self.inherited.runs().flatten().collect();
        self.inherited.clear();
        for region in regions {
            if !self.hot.contains_key(&region) {
                self.unmark(region);
            }
        }
    }

    fn unmark(&mut self, region: u64) {
        self.marked.remove(region);
        // From here on the media may lose it at any time: a write waits for a mark of its own.
        self.durable.remove(region);
        self.changed.insert(region / SECTOR_REGIONS);
    }

    /// Whether it could not be written: what is not durable now will not be.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// What is to be written and flushed now; none if nothing changed, or if some is on its way.
    pub fn take(&mut self) -> Option<Pending> {
        if self.is_pending || self.has_failed || self.changed.is_empty() {
            return None;
        }
        self.is_pending = true;
        let sectors = std::mem::take(&mut self.changed).into_iter().collect();
        Some(Pending { sectors, bits: self.marked.clone() })
    }

    /// It was written and flushed.
    pub fn done(&mut self, pending: &Pending) {
        self.is_pending = false;
        for sector in &pending.sectors {
            let begin = sector * SECTOR_REGIONS;
            for region in begin..(begin + SECTOR_REGIONS).min(self.marked.count()) {
                // Unmarked meanwhile: the media have the mark, and will lose it with the next flush.
                if pending.bits.has(region) && self.marked.has(region) {
                    self.durable.insert(region);
                }
            }
        }
    }

    /// It was not. Nothing is marked or unmarked on the media any more.
    pub fn failed(&mut self) {
        self.has_failed = true;
    }
}

#[cfg(test)]
mod tests;
