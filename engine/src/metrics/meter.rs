//! One guest's measurements: into its Prometheus series, and into the quantiles that `status` shows.

use super::Role;
use super::disk::DiskMeter;
use super::families::GuestFamilies;
use super::matching::{MatchMeter, Waits};
use super::sizes::SizeMeter;
use super::times::{quantiles, record, times};
use crate::control::status::{CopiedAhead, GuestStatus, PageCounts, PauseCalls, PauseParts};
use crate::guest::{Asked, OutputStats};
use hdrhistogram::Histogram;
use prometheus::{IntCounter, IntGauge};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use understudy_checkpoint::pages::EncodeStats;
use understudy_link::HoldReason;
use understudy_session::Divergence;
use understudy_session::primary::PacedBy;

/// The parts of a pause, as labels, in order.
pub(super) const PAUSE_PARTS: [&str; 7] =
    ["suspend", "drain", "copy", "state", "device_model", "cut", "resume"];

/// Outcomes of a checkpoint.
const RESULTS: [&str; 4] = ["acked", "declined", "diverged", "failed"];

/// Bounds that may take effect.
const POLICIES: [&str; 4] = ["stretch", "output_pressure", "staging_overflow", "unprotect"];

/// Causes of a takeover.
const TAKEOVER_REASONS: [&str; 4] = ["link_ended", "silent", "switchover", "operator"];

/// Measures one guest on this node, in one role. Its series vanish from the metrics when it is dropped.
#[derive(Debug)]
pub struct GuestMeter {
    families: GuestFamilies,
    guest: String,
    role: Option<(Role, u64)>,
    refusal: Option<HoldReason>,
    pause: prometheus::Histogram,
    pause_parts: [prometheus::Histogram; 7],
    commit: prometheus::Histogram,
    dirty_pages: prometheus::Histogram,
    /// Created at the first commit, because there is no time to show before.
    last_commit: Option<prometheus::Gauge>,
    /// A full sync has begun and is not acked yet.
    is_full_copy: bool,
    sent: IntCounter,
    raw: IntCounter,
    protected: IntGauge,
    held_bytes: IntGauge,
    held_frames: IntGauge,
    held_share: prometheus::Gauge,
    compared_bytes: IntGauge,
    dropped_frames: IntCounter,
    hold_faults: IntCounter,
    unheld_cards: IntGauge,
    pause_us: Histogram<u64>,
    part_us: [Histogram<u64>; 7],
    /// Of the newest pause.
    asked: Asked,
    copied_ahead: CopiedAhead,
    commit_us: Histogram<u64>,
    pages: PageCounts,
    link_bytes: u64,
    raw_bytes: u64,
    dropped_frames_before: u64,
    hold_faults_before: u64,
    matching: MatchMeter,
    sizes: SizeMeter,
    disk: DiskMeter,
}

impl GuestMeter {
    pub(super) fn new(families: GuestFamilies, guest: &str) -> Self {
        let labels = &[guest];
        families.begin_counters(guest);
        Self {
            role: None,
            refusal: None,
            pause: families.checkpoint.pause.with_label_values(labels),
            pause_parts: PAUSE_PARTS
                .map(|part| families.checkpoint.pause_part.with_label_values(&[guest, part])),
            commit: families.checkpoint.commit.with_label_values(labels),
            dirty_pages: families.checkpoint.dirty_pages.with_label_values(labels),
            last_commit: None,
            is_full_copy: false,
            sent: families.page.sent_bytes.with_label_values(labels),
            raw: families.page.raw_bytes.with_label_values(labels),
            protected: families.standing.protected.with_label_values(labels),
            held_bytes: families.output.held_bytes.with_label_values(labels),
            held_frames: families.output.held_frames.with_label_values(labels),
            held_share: families.output.held_share.with_label_values(labels),
            compared_bytes: families.page.compared_bytes.with_label_values(labels),
            dropped_frames: families.output.dropped_frames.with_label_values(labels),
            hold_faults: families.output.hold_faults.with_label_values(labels),
            unheld_cards: families.output.unheld_cards.with_label_values(labels),
            pause_us: times(),
            part_us: std::array::from_fn(|_| times()),
            asked: Asked::default(),
            copied_ahead: CopiedAhead::default(),
            commit_us: times(),
            pages: PageCounts::default(),
            link_bytes: 0,
            raw_bytes: 0,
            dropped_frames_before: 0,
            hold_faults_before: 0,
            matching: MatchMeter::new(&families.matching, guest),
            sizes: SizeMeter::new(&families.sizes, guest),
            disk: DiskMeter::new(&families.disk, guest),
            guest: guest.to_owned(),
            families,
        }
    }

    /// Sets the node's role for the guest, and its generation.
    pub fn set_role(&mut self, role: impl Into<Role>, generation: u64) {
        let role = role.into();
        if self.role == Some((role, generation)) {
            return;
        }
        self.forget_role();
        self.role = Some((role, generation));
        self.families
            .standing
            .role
            .with_label_values(&[&*self.guest, role.label(), &generation.to_string()])
            .set(1);
    }

    /// Sets whether the guest would survive the death of its host now.
    pub fn set_protected(&mut self, protected: bool) {
        self.protected.set(i64::from(protected));
    }

    /// Sets the memory that comparing the guest takes; 0 if Xen logs its changes.
    pub fn compares_with(&mut self, bytes: u64) {
        self.compared_bytes.set(bytes.cast_signed());
    }

    /// Records a pause: its length, its parts in the order of `PAUSE_PARTS`, and the pages that it copied.
    pub fn paused(&mut self, total: Duration, parts: [Duration; 7], dirty_pages: u64) {
        self.pause.observe(total.as_secs_f64());
        record(&mut self.pause_us, total);
        for ((part, series), times) in parts.into_iter().zip(&self.pause_parts).zip(&mut self.part_us) {
            series.observe(part.as_secs_f64());
            record(times, part);
        }
        self.dirty_pages.observe(dirty_pages as f64);
    }

    /// What the newest pause asked of the host.
    pub fn asked(&mut self, asked: Asked) {
        self.asked = asked;
    }

    /// Of the pages that were copied ahead of a pause, so many were copied again in it.
    pub fn copied_ahead(&mut self, pages: u64, again: u64) {
        let kept = pages.saturating_sub(again);
        self.copied_ahead.kept += kept;
        self.copied_ahead.again += again;
        for (result, count) in [("kept", kept), ("again", again)] {
            self.families.page.ahead.with_label_values(&[&*self.guest, result]).inc_by(count);
        }
    }

    /// Records that a checkpoint was acked (primary) or committed (secondary), this long after its pause or its begin.
    pub fn committed(&mut self, took: Duration) {
        let (families, guest) = (&self.families, &self.guest);
        let last_commit = self
            .last_commit
            .get_or_insert_with(|| families.checkpoint.last_commit.with_label_values(&[guest]));
        last_commit.set(now_seconds());
        // A full sync takes as long as the link takes for it: no output waits for that.
        if std::mem::take(&mut self.is_full_copy) {
            self.checkpoint_unless_secondary();
            return;
        }
        record(&mut self.commit_us, took);
        if !self.is_secondary() {
            self.commit.observe(took.as_secs_f64());
        }
        self.checkpoint_unless_secondary();
    }

    /// A full sync begins: the time to its ack is not a time that output waits.
    pub fn full_copy_begun(&mut self) {
        self.is_full_copy = true;
    }

    fn is_secondary(&self) -> bool {
        matches!(self.role, Some((Role::Secondary, _)))
    }

    /// Both ends know each checkpoint; the primary alone counts it.
    fn checkpoint_unless_secondary(&self) {
        if !self.is_secondary() {
            self.checkpoint("acked");
        }
    }

    /// A checkpoint was declined by the secondary.
    pub fn declined(&mut self) {
        self.checkpoint("declined");
    }

    /// A checkpoint was declined because the copy differs from the guest.
    pub fn diverged(&mut self) {
        self.checkpoint("diverged");
    }

    /// Sets why the peer holds no copy of the guest; `None` if the peer has given no reason.
    pub fn copy_refused(&mut self, reason: Option<HoldReason>) {
        if self.refusal == reason {
            return;
        }
        if let Some(former) = std::mem::replace(&mut self.refusal, reason) {
            // It was set before, so it is there.
            let _ = self.families.standing.copy_refused.remove_label_values(&[&*self.guest, former.label()]);
        }
        if let Some(reason) = reason {
            self.families.standing.copy_refused.with_label_values(&[&*self.guest, reason.label()]).set(1);
        }
    }

    /// A capture failed.
    pub fn capture_failed(&mut self) {
        self.checkpoint("failed");
    }

    fn checkpoint(&self, result: &str) {
        self.families.checkpoint.checkpoints.with_label_values(&[self.guest.as_str(), result]).inc();
    }

    /// Pages were encoded.
    pub fn encoded(&mut self, stats: &EncodeStats) {
        let kinds = [
            ("zero", stats.zero, &mut self.pages.zero),
            ("unchanged", stats.unchanged, &mut self.pages.unchanged),
            ("delta", stats.delta, &mut self.pages.delta),
            ("lz4", stats.lz4, &mut self.pages.lz4),
            ("raw", stats.raw, &mut self.pages.raw),
        ];
        for (kind, count, sum) in kinds {
            *sum += count;
            self.families.page.encoded.with_label_values(&[self.guest.as_str(), kind]).inc_by(count);
        }
        self.raw_bytes += stats.raw_bytes();
        self.raw.inc_by(stats.raw_bytes());
    }

    /// Pages changed without a mark in the dirty log.
    pub fn unmarked(&self, pages: u64) {
        self.families.page.unmarked.with_label_values(&[self.guest.as_str()]).inc_by(pages);
    }

    /// Adds bytes that were put on the link for this guest, headers included.
    pub fn sent(&mut self, bytes: u64) {
        self.link_bytes += bytes;
        self.sent.inc_by(bytes);
    }

    /// What the output queue holds now; what was dropped at its limits, and wrong with what holds, since it began; and what
    /// has left by a match and by an ack.
    pub fn output(&mut self, stats: &OutputStats) {
        self.held_bytes.set(stats.held_bytes.cast_signed());
        self.held_frames.set(stats.held_frames.cast_signed());
        self.held_share.set(stats.held_share);
        self.dropped_frames.inc_by(stats.dropped_frames.saturating_sub(self.dropped_frames_before));
        self.dropped_frames_before = stats.dropped_frames;
        self.hold_faults.inc_by(stats.hold_faults.saturating_sub(self.hold_faults_before));
        self.hold_faults_before = stats.hold_faults;
        self.matching.left(stats.matched_frames, stats.acked_frames);
    }

    /// Sets the encoder's memory.
    pub fn encoder_takes(&self, shadow_bytes: u64, staging_bytes: u64) {
        self.sizes.encoder(shadow_bytes, staging_bytes);
    }

    /// Sets what is on its way to the peer and not acked.
    pub fn in_flight(&self, epochs: usize, bytes: u64) {
        self.sizes.in_flight(epochs, bytes);
    }

    /// Sets what is held of a guest whose copy is here: the image, and the epochs that wait to be applied.
    pub fn holds(&self, image_bytes: u64, inbox_bytes: u64) {
        self.sizes.held(image_bytes, inbox_bytes);
    }

    /// Sets how much of a full sync is encoded; `None` without a full sync.
    pub fn full_sync(&mut self, share: Option<f64>) {
        self.sizes.full_sync(share);
    }

    /// Sets the number of cards whose output cannot be held.
    pub fn unheld_cards(&mut self, count: usize) {
        self.unheld_cards.set(count as i64);
    }

    /// An epoch was stretched: the limit of epochs in flight was reached.
    pub fn stretched(&mut self) {
        self.policy("stretch");
    }

    /// A checkpoint was brought forward because output neared its limit.
    pub fn output_pressure(&mut self) {
        self.policy("output_pressure");
    }

    /// Sets what the other host's disk lacks at most, on the node where the guest runs, and whether the disk here can be used. Not
    /// called for a guest without a disk.
    pub fn disk(&mut self, behind_bytes: Option<u64>, has_failed: bool) {
        self.disk.set(behind_bytes, has_failed);
    }

    /// Counts a checkpoint by what made it begin.
    pub fn paced(&mut self, by: &'static str) {
        self.families.checkpoint.paced.with_label_values(&[self.guest.as_str(), by]).inc();
    }

    /// The pause was longer because more pages were dirty than staging holds.
    pub fn staging_overflow(&mut self) {
        self.policy("staging_overflow");
    }

    /// Protection was given up because epochs were too slow.
    pub fn unprotected_for_slowness(&mut self) {
        self.policy("unprotect");
    }

    /// Adds the waits for the copy's frames since `before`.
    pub fn matched(&mut self, before: &Waits, now: &Waits) {
        self.matching.waited(before, now);
    }

    /// Counts a divergence between the copy's output and the guest's.
    pub fn output_diverged(&mut self, why: Divergence) {
        self.matching.diverged(why);
    }

    /// Sets whether a live copy releases output now.
    pub fn set_live(&self, is_live: bool) {
        self.matching.set_live(is_live);
    }

    fn policy(&self, policy: &str) {
        self.families.standing.policy.with_label_values(&[self.guest.as_str(), policy]).inc();
    }

    /// Counts a takeover by this node; `reason` is one of `TAKEOVER_REASONS`.
    pub fn took_over(&mut self, reason: &'static str) {
        let standing = &self.families.standing;
        standing.failovers.with_label_values(&[self.guest.as_str(), reason]).inc();
        standing.last_takeover.with_label_values(&[self.guest.as_str()]).set(now_seconds());
    }

    /// Fills in the measured part of a guest's status.
    pub fn fill(&self, status: &mut GuestStatus) {
        let parts = |[suspend, drain, copy, state, device_model, cut, resume]: [u64; 7]| PauseParts {
            suspend,
            drain,
            copy,
            state,
            device_model,
            cut,
            resume,
        };
        status.pause_us = quantiles(&self.pause_us);
        status.pause_parts_us = parts(self.part_us.each_ref().map(|times| times.value_at_quantile(0.5)));
        status.pause_calls = PauseCalls {
            hypercalls: parts(self.asked.hypercalls.map(u64::from)),
            store_requests: self.asked.store_requests.into(),
            waits: self.asked.waits.into(),
        };
        status.commit_us = quantiles(&self.commit_us);
        status.pages = self.pages;
        status.copied_ahead = self.copied_ahead;
        status.raw_bytes = self.raw_bytes;
        status.link_bytes = self.link_bytes;
        status.held_bytes = self.held_bytes.get().cast_unsigned();
        status.dropped_frames = self.dropped_frames_before;
        self.matching.fill(&mut status.colo);
    }

    fn forget_role(&mut self) {
        if let Some((role, generation)) = self.role.take() {
            let labels = [&*self.guest, role.label(), &generation.to_string()];
            // It was set before, so it is there.
            let _ = self.families.standing.role.remove_label_values(&labels);
        }
    }
}

impl GuestFamilies {
    /// Counters start at 0: Prometheus would not see the first increment of a series that appears with it.
    fn begin_counters(&self, guest: &str) {
        for result in RESULTS {
            self.checkpoint.checkpoints.with_label_values(&[guest, result]);
        }
        self.page.unmarked.with_label_values(&[guest]);
        for result in ["kept", "again"] {
            self.page.ahead.with_label_values(&[guest, result]);
        }
        for policy in POLICIES {
            self.standing.policy.with_label_values(&[guest, policy]);
        }
        for by in PacedBy::ALL {
            self.checkpoint.paced.with_label_values(&[guest, by.name()]);
        }
        for kind in ["zero", "unchanged", "delta", "lz4", "raw"] {
            self.page.encoded.with_label_values(&[guest, kind]);
        }
        for reason in TAKEOVER_REASONS {
            self.standing.failovers.with_label_values(&[guest, reason]);
        }
    }
}

impl Drop for GuestMeter {
    /// Gauges vanish, because they are no longer true. Counters stay, because what they counted did happen.
    fn drop(&mut self) {
        self.forget_role();
        self.copy_refused(None);
        let guest = &[self.guest.as_str()];
        let _ = self.families.standing.protected.remove_label_values(guest);
        let _ = self.families.page.compared_bytes.remove_label_values(guest);
        let _ = self.families.output.held_bytes.remove_label_values(guest);
        let _ = self.families.output.held_frames.remove_label_values(guest);
        let _ = self.families.output.held_share.remove_label_values(guest);
        let _ = self.families.output.unheld_cards.remove_label_values(guest);
        let _ = self.families.checkpoint.last_commit.remove_label_values(guest);
        let _ = self.families.matching.live.remove_label_values(guest);
    }
}

/// Seconds since 1970, as Prometheus expects times.
fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
