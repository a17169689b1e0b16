//! What protecting a guest has cost: full syncs and later checkpoints are counted apart.

use crate::guest::Encoded;
use std::time::Duration;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::pages::EncodeStats;
use understudy_session::{EpochKind, Span};

/// Sums over epochs of one kind.
#[derive(Clone, Default, Debug)]
pub struct Totals {
    /// Epochs encoded.
    pub epochs: u64,
    /// Pages by encoding, and bytes of batches.
    pub stats: EncodeStats,
    /// Bytes on the link, everything included.
    pub link_bytes: u64,
    /// Time spent encoding.
    pub busy: Duration,
}

impl Totals {
    fn add(&mut self, encoded: &Encoded) {
        self.epochs += 1;
        self.stats += encoded.stats;
        self.link_bytes += encoded.link_bytes;
        self.busy += encoded.busy;
    }
}

/// What protecting one guest has cost so far.
#[derive(Clone, Default, Debug)]
pub struct ReplayStats {
    /// Full syncs.
    pub first_copy: Totals,
    /// All other checkpoints.
    pub checkpoints: Totals,
    /// Full syncs begun.
    pub seeds: u64,
    /// Incremental resynchronisations begun, after a link came back.
    pub resyncs: u64,
    /// Newest acked epoch.
    pub acked: Option<Epoch>,
    /// Checkpoints acked.
    pub acks: u64,
    /// The longest time from a pause's end to its ack.
    pub commit_max: Span,
    /// Whether the guest is a recording that has ended and is acked as a whole.
    pub finished: bool,
}

impl ReplayStats {
    pub(super) fn encoded(&mut self, kind: EpochKind, encoded: &Encoded) {
        match kind {
            EpochKind::Seed => self.first_copy.add(encoded),
            EpochKind::Delta => self.checkpoints.add(encoded),
        }
    }

    pub(super) fn committed(&mut self, epoch: Epoch, after: Span) {
        self.acked = Some(epoch);
        self.acks += 1;
        self.commit_max = self.commit_max.max(after);
    }
}
