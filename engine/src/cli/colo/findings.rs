//! What a comparison found, before it is a report.

use super::both::Host;
use super::capture::Nanoseconds;
use super::flows::Flows;
use super::guest::Sender;
use super::report::{DivergenceReport, Waits};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// What the captures have of each guest.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Seen {
    pub(super) frames: u64,
    pub(super) guest_frames: u64,
    pub(super) stranger_frames: u64,
    pub(super) cut_frames: u64,
    pub(super) last_at: Option<Nanoseconds>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) seen: [Seen; 2],
    pub(super) flows: Flows,
    pub(super) divergences: Vec<DivergenceReport>,
    pub(super) by_kind: BTreeMap<&'static str, u64>,
    pub(super) waits: Option<Waits>,
}

impl Findings {
    pub(super) fn saw(&mut self, host: Host, sender: Sender, at: Nanoseconds) {
        let seen = &mut self.seen[host as usize];
        seen.frames += 1;
        seen.guest_frames += u64::from(sender == Sender::Guest);
        seen.stranger_frames += u64::from(sender == Sender::Stranger);
        seen.last_at = seen.last_at.max(Some(at));
    }
}

impl Waits {
    /// `us`: how long frames waited, in microseconds.
    pub(super) fn of(us: &Histogram<u64>) -> Option<Self> {
        let ms = |us: u64| us as f64 / 1e3;
        (!us.is_empty()).then(|| Self {
            p50: ms(us.value_at_quantile(0.5)),
            p99: ms(us.value_at_quantile(0.99)),
            max: ms(us.max()),
        })
    }
}
