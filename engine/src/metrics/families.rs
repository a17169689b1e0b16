//! The metrics that are kept for each guest, with their names and what they tell.
//!
//! Not here: when they change ([`GuestMeter`](super::GuestMeter)).

use super::disk::DiskFamilies;
use super::maker::Maker;
use super::sizes::SizeFamilies;
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

/// Pauses and commits, in seconds: from far below a checkpoint's usual time to an outage.
const SECONDS_BUCKETS: &[f64] = &[
    50e-6, 100e-6, 200e-6, 350e-6, 500e-6, 750e-6, 1e-3, 2e-3, 3.5e-3, 5e-3, 7.5e-3, 10e-3, 20e-3, 35e-3,
    50e-3, 100e-3, 200e-3, 350e-3, 500e-3, 1.0,
];

/// Parts of a pause. Each guest has seven of them, and every bucket is a series, so there are half as many.
const PART_SECONDS_BUCKETS: &[f64] = &[100e-6, 350e-6, 1e-3, 3.5e-3, 10e-3, 35e-3, 100e-3, 350e-3, 1.0, 10.0];

/// Dirty pages of a checkpoint: from one page to 4 GiB.
const PAGES_BUCKETS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 131072.0, 1048576.0,
];

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct GuestFamilies {
    pub(super) checkpoint: CheckpointFamilies,
    pub(super) page: PageFamilies,
    pub(super) output: OutputFamilies,
    pub(super) standing: StandingFamilies,
    pub(super) matching: MatchFamilies,
    pub(super) sizes: SizeFamilies,
    pub(super) disk: DiskFamilies,
}

impl GuestFamilies {
    pub(super) fn new(make: &Maker) -> Self {
        Self {
            checkpoint: CheckpointFamilies::new(make),
            page: PageFamilies::new(make),
            output: OutputFamilies::new(make),
            standing: StandingFamilies::new(make),
            matching: MatchFamilies::new(make),
            sizes: SizeFamilies::new(make),
            disk: DiskFamilies::new(make),
        }
    }
}

/// Durations, counts and times of checkpoints.
#[derive(Clone, Debug)]
pub(super) struct CheckpointFamilies {
    pub(super) pause: HistogramVec,
    pub(super) pause_part: HistogramVec,
    pub(super) commit: HistogramVec,
    pub(super) dirty_pages: HistogramVec,
    pub(super) checkpoints: IntCounterVec,
    pub(super) paced: IntCounterVec,
    pub(super) last_commit: GaugeVec,
}

impl CheckpointFamilies {
    fn new(make: &Maker) -> Self {
        let guest = &["guest"][..];
        Self {
            pause: make.histograms(
                "checkpoint_pause_seconds",
                "How long the guest stood still for a checkpoint.",
                guest,
                SECONDS_BUCKETS,
            ),
            pause_part: make.histograms(
                "checkpoint_pause_part_seconds",
                "The parts of the pause.",
                &["guest", "part"],
                PART_SECONDS_BUCKETS,
            ),
            commit: make.histograms(
                "checkpoint_commit_seconds",
                "From the end of the pause to the ack of the secondary, without full syncs; on the primary.",
                guest,
                SECONDS_BUCKETS,
            ),
            dirty_pages: make.histograms(
                "checkpoint_dirty_pages",
                "Pages that a checkpoint copied.",
                guest,
                PAGES_BUCKETS,
            ),
            checkpoints: make.counters(
                "checkpoints_total",
                "Checkpoints by what became of them: acked, declined, diverged or failed; on the primary.",
                &["guest", "result"],
            ),
            paced: make.counters(
                "checkpoints_paced_total",
                "Checkpoints by what had them begin when they did: a clock, output that waited, nothing that waited, or \
                 the budget that delayed them.",
                &["guest", "by"],
            ),
            last_commit: make.float_gauges(
                "last_commit_timestamp_seconds",
                "When the newest checkpoint was acked (primary) or committed (secondary).",
                guest,
            ),
        }
    }
}

/// Counts of pages, by encoding and by how they were found.
#[derive(Clone, Debug)]
pub(super) struct PageFamilies {
    pub(super) encoded: IntCounterVec,
    pub(super) sent_bytes: IntCounterVec,
    pub(super) raw_bytes: IntCounterVec,
    pub(super) ahead: IntCounterVec,
    pub(super) unmarked: IntCounterVec,
    pub(super) compared_bytes: IntGaugeVec,
}

impl PageFamilies {
    fn new(make: &Maker) -> Self {
        let guest = &["guest"][..];
        Self {
            encoded: make.counters(
                "pages_encoded_total",
                "Dirty pages by how they were sent.",
                &["guest", "kind"],
            ),
            sent_bytes: make.counters("stream_sent_bytes_total", "Bytes put on the link for a guest.", guest),
            raw_bytes: make.counters("stream_raw_bytes_total", "Bytes of all dirty pages of a guest.", guest),
            ahead: make.counters(
                "pages_copied_ahead_total",
                "Pages copied ahead of a pause, while the guest ran: kept, or copied again in the pause, because the guest wrote \
                 them meanwhile.",
                &["guest", "result"],
            ),
            unmarked: make.counters(
                "pages_unmarked_total",
                "Pages that changed without a mark in the dirty log, and were sent again.",
                guest,
            ),
            compared_bytes: make.gauges(
                "compare_memory_bytes",
                "Memory that finding a guest's changes by comparing takes; 0 where Xen logs them.",
                guest,
            ),
        }
    }
}

/// Held output.
#[derive(Clone, Debug)]
pub(super) struct OutputFamilies {
    pub(super) held_bytes: IntGaugeVec,
    pub(super) held_frames: IntGaugeVec,
    pub(super) held_share: GaugeVec,
    pub(super) dropped_frames: IntCounterVec,
    pub(super) hold_faults: IntCounterVec,
    pub(super) unheld_cards: IntGaugeVec,
}

impl OutputFamilies {
    fn new(make: &Maker) -> Self {
        let guest = &["guest"][..];
        Self {
            held_bytes: make.gauges("netbuf_held_bytes", "Bytes of output that wait for an ack.", guest),
            held_frames: make.gauges("netbuf_held_frames", "Frames of output that wait for an ack.", guest),
            held_share: make.float_gauges(
                "netbuf_held_ratio",
                "How much of the room for output that waits is taken, of 1; of the fullest card.",
                guest,
            ),
            dropped_frames: make.counters(
                "netbuf_dropped_frames_total",
                "Frames of output dropped because a limit was reached.",
                guest,
            ),
            hold_faults: make.counters(
                "netbuf_hold_faults_total",
                "How often something of the host took away or changed what holds the guest's output.",
                guest,
            ),
            unheld_cards: make.gauges(
                "netbuf_unheld_cards",
                "Cards of the guest whose output cannot be held; it is cut off while the guest is protected.",
                guest,
            ),
        }
    }
}

/// State of the guest, and what has happened to it.
#[derive(Clone, Debug)]
pub(super) struct StandingFamilies {
    pub(super) protected: IntGaugeVec,
    pub(super) role: IntGaugeVec,
    pub(super) copy_refused: IntGaugeVec,
    pub(super) failovers: IntCounterVec,
    pub(super) last_takeover: GaugeVec,
    pub(super) policy: IntCounterVec,
}

impl StandingFamilies {
    fn new(make: &Maker) -> Self {
        let guest = &["guest"][..];
        Self {
            protected: make.gauges(
                "protected",
                "Whether the guest would survive the death of its host.",
                guest,
            ),
            role: make.gauges(
                "role_info",
                "What this node is to the guest, and in which generation; always 1.",
                &["guest", "role", "generation"],
            ),
            copy_refused: make.gauges(
                "copy_refused",
                "The peer says that it does not hold a copy of the guest, and why; 1 while that is so.",
                &["guest", "reason"],
            ),
            failovers: make.counters(
                "failovers_total",
                "Takeovers by this node, by what led to them.",
                &["guest", "reason"],
            ),
            last_takeover: make.float_gauges(
                "last_takeover_timestamp_seconds",
                "When this node took the guest over last, for whatever reason; none before the first time.",
                guest,
            ),
            policy: make.counters(
                "policy_actions_total",
                "What bounds made happen: stretched epochs, checkpoints brought forward by output pressure, \
                 pauses lengthened by full staging, protection given up for slowness.",
                &["guest", "policy"],
            ),
        }
    }
}

/// Output that leaves because a live copy has sent the same.
#[derive(Clone, Debug)]
pub(super) struct MatchFamilies {
    pub(super) live: IntGaugeVec,
    pub(super) seconds: HistogramVec,
    pub(super) released: IntCounterVec,
    pub(super) diverged: IntCounterVec,
}

impl MatchFamilies {
    fn new(make: &Maker) -> Self {
        let guest = &["guest"][..];
        Self {
            live: make.gauges(
                "colo_live",
                "Whether output leaves by a match with a copy that runs on the peer.",
                guest,
            ),
            seconds: make.histograms(
                "colo_match_seconds",
                "How long frames that left by a match waited for the copy's, each to a power of two.",
                guest,
                SECONDS_BUCKETS,
            ),
            released: make.counters(
                "colo_released_total",
                "Frames of output that were held, by what let them out: a match with the copy's, or the ack of their epoch.",
                &["guest", "by"],
            ),
            diverged: make.counters(
                "colo_diverged_total",
                "Checkpoints that were asked for because output would not leave by a match, by why.",
                &["guest", "why"],
            ),
        }
    }
}
