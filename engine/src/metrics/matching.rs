//! What left because a copy had sent the same, what did not, and how long it took: for Prometheus, and for `status`.

use super::families::MatchFamilies;
use super::times::{quantiles, record_n, times};
use crate::control::status::ColoStatus;
use hdrhistogram::Histogram;
use prometheus::IntGauge;
use understudy_colo::comparer::WAIT_BUCKETS;
use understudy_session::Divergence;

/// Counts of frames by their wait; bucket `n` is less than 2^n microseconds.
pub type Waits = [u64; WAIT_BUCKETS];

/// The series of one guest.
#[derive(Debug)]
pub(super) struct MatchMeter {
    live: IntGauge,
    seconds: prometheus::Histogram,
    released: [prometheus::IntCounter; 2],
    diverged: [prometheus::IntCounter; Divergence::ALL.len()],
    waits_us: Histogram<u64>,
    left: [u64; 2],
    diverged_here: [u64; Divergence::ALL.len()],
}

impl MatchMeter {
    pub(super) fn new(families: &MatchFamilies, guest: &str) -> Self {
        Self {
            live: families.live.with_label_values(&[guest]),
            seconds: families.seconds.with_label_values(&[guest]),
            released: ["match", "ack"].map(|by| families.released.with_label_values(&[guest, by])),
            diverged: Divergence::ALL.map(|why| families.diverged.with_label_values(&[guest, why.name()])),
            waits_us: times(),
            left: [0; 2],
            diverged_here: [0; Divergence::ALL.len()],
        }
    }

    /// Adds the waits since `before`.
    pub(super) fn waited(&mut self, before: &Waits, now: &Waits) {
        for (bucket, (before, now)) in before.iter().zip(now).enumerate() {
            let count = now.saturating_sub(*before);
            if count == 0 {
                continue;
            }
            // The middle of the bucket, by ratio.
            let us = (1u64 << bucket) as f64 / std::f64::consts::SQRT_2;
            record_n(&mut self.waits_us, us as u64, count);
            (0..count).for_each(|_| self.seconds.observe(us / 1e6));
        }
    }

    /// Sets how many frames have left so far, by a match and by an ack.
    pub(super) fn left(&mut self, by_match: u64, by_ack: u64) {
        let left = [by_match, by_ack];
        for ((series, before), now) in self.released.iter().zip(&mut self.left).zip(left) {
            series.inc_by(now.saturating_sub(*before));
            *before = now;
        }
    }

    pub(super) fn diverged(&mut self, why: Divergence) {
        let kinds = self.diverged.iter().zip(&mut self.diverged_here).zip(Divergence::ALL);
        for ((series, count), _) in kinds.filter(|(_, kind)| *kind == why) {
            series.inc();
            *count += 1;
        }
    }

    pub(super) fn set_live(&self, is_live: bool) {
        self.live.set(i64::from(is_live));
    }

    pub(super) fn fill(&self, status: &mut ColoStatus) {
        let [by_match, by_ack] = self.left;
        (status.released_by_match, status.released_by_ack) = (by_match, by_ack);
        let all = by_match + by_ack;
        status.match_share = (all > 0).then(|| by_match as f64 / all as f64);
        let counts = Divergence::ALL.iter().zip(self.diverged_here);
        status.diverged = counts.map(|(why, count)| (why.name().to_owned(), count)).collect();
        status.match_us = quantiles(&self.waits_us);
    }
}
