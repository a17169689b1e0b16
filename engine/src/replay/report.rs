//! The cost of a replay and its result, for people and as the JSON of `replay --output json`. Keys of the JSON are
//! added, never changed or removed.

use super::compare::Finding;
use crate::control::status::Quantiles;
use crate::node::{ReplayStats, Totals};
use serde::Serialize;
use std::time::Duration;

/// Pages by encoding.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encodings {
    /// Zero pages: a few bits.
    pub zero: u64,
    /// Pages that the secondary has already: nothing is sent.
    pub unchanged: u64,
    /// Pages sent as changes.
    pub delta: u64,
    /// Whole, in batches that LZ4 made smaller.
    pub lz4: u64,
    /// Whole pages, uncompressed.
    pub raw: u64,
}

/// The first copy, or all later checkpoints.
#[derive(Serialize, Clone, Copy, PartialEq, Debug)]
pub struct Part {
    /// The number of epochs.
    pub epochs: u64,
    /// Dirty pages with data.
    pub pages: u64,
    /// Entries without data.
    pub entries_without_data: u64,
    /// Bytes of those pages.
    pub raw_bytes: u64,
    /// Bytes on the link, including all framing.
    pub link_bytes: u64,
    /// Raw bytes for each byte on the link.
    pub ratio: Option<f64>,
    /// Pages by encoding.
    pub encodings: Encodings,
    /// Raw gigabytes that one core encodes in a second.
    pub encode_gb_per_s_per_core: Option<f64>,
}

impl Part {
    fn of(totals: &Totals) -> Self {
        let stats = &totals.stats;
        let raw_bytes = stats.raw_bytes();
        let per = |divisor: f64| (divisor > 0.0).then_some(raw_bytes as f64 / divisor);
        Self {
            epochs: totals.epochs,
            pages: stats.data_pages(),
            entries_without_data: stats.no_data,
            raw_bytes,
            link_bytes: totals.link_bytes,
            ratio: per(totals.link_bytes as f64),
            encodings: Encodings {
                zero: stats.zero,
                unchanged: stats.unchanged,
                delta: stats.delta,
                lz4: stats.lz4,
                raw: stats.raw,
            },
            encode_gb_per_s_per_core: per(totals.busy.as_secs_f64() * 1e9),
        }
    }
}

/// Percentiles of a time, in milliseconds.
#[derive(Serialize, Clone, Copy, PartialEq, Debug)]
pub struct Milliseconds {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl From<Quantiles> for Milliseconds {
    fn from(us: Quantiles) -> Self {
        let ms = |us: u64| us as f64 / 1e3;
        Self { p50: ms(us.p50), p99: ms(us.p99), max: ms(us.max) }
    }
}

/// The report of a replay.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub struct Report {
    /// Epochs played, including the first copy.
    pub epochs: u64,
    /// Full syncs; more than one if the link broke.
    pub full_copies: u64,
    /// Whether the committed image is byte for byte the recording's last complete epoch; `null` if the secondary could
    /// not be asked for it.
    pub identical: Option<bool>,
    /// The offset of the first difference in the file for `xl restore`.
    pub differs_at: Option<u64>,
    /// The first copy.
    pub first_copy: Part,
    /// All checkpoints after it.
    pub checkpoints: Part,
    /// The time from the end of a pause to its ack.
    pub commit_ms: Milliseconds,
    /// The pauses; a recording needs the time to read it.
    pub pause_ms: Milliseconds,
    /// Seconds from the first byte sent to the last ack.
    pub seconds: f64,
}

/// What a report is made from.
pub(super) struct Ingredients {
    pub(super) played: u64,
    pub(super) replay_stats: ReplayStats,
    pub(super) commit: Quantiles,
    pub(super) pause: Quantiles,
    pub(super) took: Duration,
    pub(super) finding: Option<Finding>,
}

impl Report {
    pub(super) fn new(from: Ingredients) -> Self {
        Self {
            epochs: from.played,
            full_copies: from.replay_stats.seeds,
            identical: from.finding.map(|finding| matches!(finding, Finding::Identical { .. })),
            differs_at: match from.finding {
                Some(Finding::DiffersAt(offset)) => Some(offset),
                Some(Finding::Identical { .. }) | None => None,
            },
            first_copy: Part::of(&from.replay_stats.first_copy),
            checkpoints: Part::of(&from.replay_stats.checkpoints),
            commit_ms: from.commit.into(),
            pause_ms: from.pause.into(),
            seconds: from.took.as_secs_f64(),
        }
    }

    /// The report for people.
    pub fn table(&self) -> String {
        let mut lines = vec![
            format!(
                "{:<12} {:>6} {:>9} {:>10} {:>10} {:>7} {:>9}   {}",
                "",
                "epochs",
                "pages",
                "raw MB",
                "link MB",
                "ratio",
                "GB/s/core",
                "zero/unchanged/delta/lz4/raw"
            ),
            row("first copy", &self.first_copy),
            row("checkpoints", &self.checkpoints),
            String::new(),
        ];
        let Milliseconds { p50, p99, max } = self.commit_ms;
        lines.push(format!("commit       p50 {p50:.1} ms, p99 {p99:.1} ms, longest {max:.1} ms"));
        lines.push(format!("played       {} epochs in {:.2} s", self.epochs, self.seconds));
        lines.push(match (self.identical, self.differs_at) {
            (Some(true), _) => "image        byte for byte the recording's last complete epoch".into(),
            (Some(false), offset) => {
                format!("image        DIFFERS from the recording, first at byte {}", offset.unwrap_or(0))
            }
            (None, _) => "image        not compared: give the secondary's --control".into(),
        });
        lines.join("\n")
    }
}

fn row(name: &str, part: &Part) -> String {
    let or_dash = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
    let Encodings { zero, unchanged, delta, lz4, raw } = part.encodings;
    format!(
        "{name:<12} {:>6} {:>9} {:>10.1} {:>10.2} {:>7} {:>9}   {zero}/{unchanged}/{delta}/{lz4}/{raw}",
        part.epochs,
        part.pages,
        part.raw_bytes as f64 / 1e6,
        part.link_bytes as f64 / 1e6,
        or_dash(part.ratio),
        or_dash(part.encode_gb_per_s_per_core),
    )
}
