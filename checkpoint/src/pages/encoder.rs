//! [`Encoder`]: turns staged pages into batches on the primary, one encoder for each guest.
//!
//! For each page, the cheapest encoding that fits:
//!
//! ```text
//!   no data?  all zero?  as in the shadow?  in the shadow?                 else
//!      │          │             │                 │                          │
//!      ▼          ▼             ▼                 ▼                          ▼
//!    entry      entry      not sent at all    changed bytes ──┬──────── whole page ──┐
//!                                                             └─ LZ4 over the batch ─┴─► smaller? else raw
//! ```
//!
//! Not here: when an epoch is cut, and how batches travel.

use super::batch::{Batches, Kind};
use super::body::Body;
use super::contents::Contents;
use super::delta::Runs;
use super::digest::{Digest, EpochSummary};
use super::shadow::{Put, Shadow};
use super::stats::EncodeStats;
use super::zero::is_zero;
use crate::staging::Staging;
use crate::{Epoch, EpochKind, Page, PageEntry};

/// A delta that costs more than this is sent as a whole page, on which LZ4 does better than on scattered pieces.
/// Measured on recorded guests; between 2,000 and 3,000 it hardly matters.
const DELTA_COST_BYTES_MAX: usize = 2560;

/// Limits of an encoder.
#[derive(Clone, Copy, Debug)]
pub struct EncoderConfig {
    /// Bytes for the shadow's pages. Pages that do not fit are sent whole each time.
    pub shadow_bytes_max: usize,
}

/// Encodes the pages of one guest's epochs, and tracks what the secondary has.
///
/// Everything encoded must be sent, in order. Report losses with [`forget_after`](Self::forget_after) or
/// [`reset`](Self::reset) before the next epoch.
#[derive(Debug)]
pub struct Encoder {
    shadow: Shadow,
    epoch: Epoch,
    kind: EpochKind,
    digest: Digest,
    runs: Runs,
    body: Body,
    contents: Option<Contents>,
}

impl Encoder {
    /// An encoder whose peer has nothing yet. Memory for the shadow is allocated as pages come.
    pub fn new(config: EncoderConfig) -> Self {
        Self {
            shadow: Shadow::new(config.shadow_bytes_max),
            epoch: Epoch(0),
            kind: EpochKind::Seed,
            digest: Digest::new(),
            runs: Runs::default(),
            body: Body::new(),
            contents: None,
        }
    }

    /// Makes the encoder remember a hash of what it last encoded of each frame: [`Contents`].
    pub fn with_contents(self) -> Self {
        Self { contents: Some(Contents::default()), ..self }
    }

    /// The hashes of what was last encoded of each frame, if they are remembered.
    pub fn contents(&self) -> Option<&Contents> {
        self.contents.as_ref()
    }

    /// Memory that the shadow takes.
    pub fn shadow_bytes(&self) -> u64 {
        self.shadow.bytes()
    }

    /// Starts an epoch. A full sync empties the shadow.
    pub fn begin_epoch(&mut self, epoch: Epoch, kind: EpochKind) {
        if kind == EpochKind::Seed {
            self.shadow.clear();
        }
        self.epoch = epoch;
        self.kind = kind;
        self.digest = Digest::new();
    }

    /// Encodes everything staged and appends it to `out` in as many batches as needed. May be called several times in
    /// an epoch; a page that comes again replaces what was sent before.
    pub fn encode(&mut self, staging: &Staging, out: &mut Batches) -> EncodeStats {
        let mut stats = EncodeStats::default();
        let before = out.byte_count();
        for (entry, page) in staging.iter() {
            if self.body.is_full() || !self.body.can_take(entry) {
                self.body.flush(out, &mut stats);
            }
            if let Some(page) = page {
                self.encode_page(entry, page, &mut stats);
            } else {
                self.shadow.remove(entry.pfn());
                let hash = self.digest.no_data(entry);
                self.note(entry, hash);
                self.body.push(Kind::NoData, entry);
                stats.no_data += 1;
            }
        }
        self.body.flush(out, &mut stats);
        stats.encoded_bytes = (out.byte_count() - before) as u64;
        stats
    }

    /// Ends the epoch. Returns the summary for its end on the link.
    pub fn end_epoch(&mut self) -> EpochSummary {
        self.digest.summary()
    }

    /// Forgets what was sent in epochs after `base`, which may be lost: no delta will build on it. The next epoch must
    /// contain every page dirtied since `base` was captured.
    pub fn forget_after(&mut self, base: Epoch) {
        self.shadow.forget_after(base);
    }

    /// Forgets everything: the peer has nothing any more.
    pub fn reset(&mut self) {
        self.shadow.clear();
    }

    fn encode_page(&mut self, entry: PageEntry, page: &Page, stats: &mut EncodeStats) {
        if is_zero(page) {
            self.shadow.remove(entry.pfn());
            let hash = self.digest.zero(entry);
            self.note(entry, hash);
            self.body.push(Kind::Zero, entry);
            stats.zero += 1;
            return;
        }
        let Some(held) = self.shadow.get(entry.pfn()) else {
            self.encode_whole(entry, page);
            let may_evict = self.kind == EpochKind::Delta;
            let put = self.shadow.put(entry.pfn(), entry.page_type(), page, self.epoch, may_evict);
            stats.evicted += u64::from(put == Put::KeptEvicting);
            return;
        };
        self.runs.compare(held.page, page);
        if self.runs.is_empty() && *held.page_type == entry.page_type() {
            stats.unchanged += 1;
            return;
        }
        *held.put = self.epoch;
        *held.page_type = entry.page_type();
        self.runs.copy(page, held.page);
        if self.runs.cost_bytes() > DELTA_COST_BYTES_MAX {
            self.encode_whole(entry, page);
            return;
        }
        let hash = self.digest.page(entry, page);
        self.body.push_delta(entry, &self.runs, page);
        self.note(entry, hash);
        stats.delta += 1;
    }

    /// Counted as LZ4 or raw when its batch is closed.
    fn encode_whole(&mut self, entry: PageEntry, page: &Page) {
        let hash = self.digest.page(entry, page);
        self.body.push_whole(entry, page);
        self.note(entry, hash);
    }

    /// Records the hash. For a page equal to the shadow's this was done when it was put there.
    fn note(&mut self, entry: PageEntry, hash: u64) {
        if let Some(contents) = &mut self.contents {
            contents.note(entry.pfn(), hash);
        }
    }
}
