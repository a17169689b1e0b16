//! What became of one frame of the primary's guest: a line of `--frames`.

use super::capture::Nanoseconds;
use super::report::Fates;
use serde::Serialize;
use std::fmt;
use understudy_colo::Flow;

/// The outcome of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It would have left this long after it was sent.
    Matched { wait: Nanoseconds, is_late: bool, is_capped: bool },
    /// It would have waited for a checkpoint.
    Waited,
    /// Its flow had diverged.
    AfterDivergence,
    /// A capture has it or one before it cut short.
    Cut,
    /// The captures end too soon after it.
    Open,
}

/// A line of `--frames`.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub(super) struct FrameReport {
    /// Its number in the primary's capture.
    frame: u64,
    /// Seconds after the first frame.
    at_s: f64,
    flow: String,
    bytes: u64,
    /// `matched`, `late`, `waited`, `after_divergence`, `cut` or `open`.
    fate: &'static str,
    /// How long it waited, in milliseconds, if it left by match.
    wait_ms: Option<f64>,
    /// Whether its ack or window was lowered to the copy's.
    capped: bool,
}

impl FrameReport {
    pub(super) fn new(frame: u64, since_begin: Nanoseconds, flow: &Flow, bytes: u64, fate: Fate) -> Self {
        let (wait_ms, capped) = match fate {
            Fate::Matched { wait, is_capped, .. } => (Some(wait as f64 / 1e6), is_capped),
            Fate::Waited | Fate::AfterDivergence | Fate::Cut | Fate::Open => (None, false),
        };
        Self {
            frame,
            at_s: since_begin as f64 / 1e9,
            flow: flow.to_string(),
            bytes,
            fate: fate.name(),
            wait_ms,
            capped,
        }
    }
}

impl Fate {
    pub(super) fn count(self, fates: &mut Fates) {
        *match self {
            Self::Matched { .. } => &mut fates.matched,
            Self::Waited => &mut fates.waited,
            Self::AfterDivergence => &mut fates.after_divergence,
            Self::Cut => &mut fates.cut,
            Self::Open => &mut fates.open,
        } += 1;
    }

    fn name(self) -> &'static str {
        match self {
            Self::Matched { is_late: false, .. } => "matched",
            Self::Matched { is_late: true, .. } => "late",
            Self::Waited => "waited",
            Self::AfterDivergence => "after_divergence",
            Self::Cut => "cut",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for FrameReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frame, at_s, flow, bytes, fate, .. } = self;
        let wait = self.wait_ms.map(|ms| format!(" after {ms:.3} ms")).unwrap_or_default();
        let capped = if self.capped { ", its ack or window lowered" } else { "" };
        write!(f, "{frame:>8} {at_s:>12.6} s {bytes:>6} B  {flow}  {fate}{wait}{capped}")
    }
}
