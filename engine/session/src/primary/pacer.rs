//! When the next checkpoint is worth its pause. It is told of pauses, acks, costs and of output that waits; it owns no timer
//! and knows nothing of epochs.
//!
//! A client feels how long its answer is held, the guest pays with the time it stands still. Both are budgets:
//!
//! ```text
//!   pause │ the guest's share: not before ─┤
//!         │        answers held ─┴─ others are expected: a short wait ─┤
//!         │        bare frames held ─┴──────── BARE_WAIT ──────────────────┤
//!         └──────────────────────────── interval_max: now at the latest ────────────┤
//! ```
//!
//! The first of the last three that has come begins the next checkpoint, but not before the guest has had its share.
//! `interval_max` wins over every budget: a guest whose pauses are long is paced as by a clock, and never starves.

use super::super::{Span, Time};

/// What decides when a checkpoint begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pacing {
    /// A clock: this long from the end of one pause to the beginning of the next.
    Clock {
        /// That time.
        interval: Span,
    },
    /// Output that waits, within budgets.
    Output(Budgets),
}

/// How much protection may cost a guest that is paced by its output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budgets {
    /// The guest runs this long between two pauses at least.
    pub interval_min: Span,
    /// It runs this long at most, whether output waits or not.
    pub interval_max: Span,
    /// Of all time, the share that the guest may stand still, in percent.
    pub pause_percent_max: u8,
    /// What checkpoints may send in a second, in bytes.
    pub link_bytes_per_s_max: u64,
    /// Processor time that checkpoints may take on this host, in percent of one processor.
    pub cpu_percent_max: u16,
}

/// What had a checkpoint begin when it did, or has the next one wait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PacedBy {
    /// The fixed interval.
    Clock,
    /// Nothing waited: `interval_max`.
    Quiet,
    /// Output that waited.
    Output,
    /// Answers that were expected beside those that waited.
    Batch,
    /// `interval_min`.
    IntervalMin,
    /// The share of time that the guest may stand still.
    PauseShare,
    /// What the link may take.
    LinkRate,
    /// The processor time that checkpoints may take.
    CpuShare,
    /// The checkpoint before it, which is still being encoded.
    Encoder,
    /// A live copy that sends something else.
    Divergence,
    /// A live copy, of which nothing is heard but the same: `Colo::period`.
    Period,
}

/// Frames of the open epoch that wait for a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Waiting {
    /// Frames that somebody waits for, as far as can be seen.
    pub answers: u32,
    /// Frames that carry nothing: a TCP acknowledgement alone, ARP, neighbour discovery.
    pub bare: u32,
}

/// When a capture may begin, and what decides that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Due {
    pub(super) at: Time,
    pub(super) by: PacedBy,
}

/// How long frames that carry nothing wait by themselves. A sender of bulk has a window acknowledged once in that time: with
/// 10 ms it came to a tenth of what 2 ms let it reach (netbuf's bench bulk_tcp).
const BARE_WAIT: Span = Span::from_ms(2);
/// So many of them are a sender whose window depends on them. Who holds the frames has to tell of just as many.
pub const BARE_MANY: u32 = 8;

#[derive(Debug)]
pub(super) struct Pacer {
    pacing: Pacing,
    resumed_at: Time,
    pause: Mean,
    commit: Mean,
    cpu: Mean,
    link_bytes: Mean,
    /// Answers of an epoch, in 1/16.
    batch: Mean,
    waiting: Waiting,
    answers_since: Option<Time>,
    bare_since: Option<Time>,
}

impl Pacing {
    /// The longest that the guest runs between two pauses.
    pub fn interval_max(&self) -> Span {
        match self {
            Self::Clock { interval } => *interval,
            Self::Output(budgets) => budgets.interval_max,
        }
    }
}

impl PacedBy {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Clock,
        Self::Quiet,
        Self::Output,
        Self::Batch,
        Self::IntervalMin,
        Self::PauseShare,
        Self::LinkRate,
        Self::CpuShare,
        Self::Encoder,
        Self::Divergence,
        Self::Period,
    ];

    /// As `status` and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Quiet => "quiet",
            Self::Output => "output",
            Self::Batch => "batch",
            Self::IntervalMin => "interval_min",
            Self::PauseShare => "pause_share",
            Self::LinkRate => "link_rate",
            Self::CpuShare => "cpu_share",
            Self::Encoder => "encoder",
            Self::Divergence => "divergence",
            Self::Period => "period",
        }
    }
}

impl Pacer {
    pub(super) fn new(pacing: Pacing, now: Time) -> Self {
        Self {
            pacing,
            resumed_at: now,
            pause: Mean::default(),
            commit: Mean::default(),
            cpu: Mean::default(),
            link_bytes: Mean::default(),
            batch: Mean::default(),
            waiting: Waiting::default(),
            answers_since: None,
            bare_since: None,
        }
    }

    pub(super) fn pacing(&self) -> Pacing {
        self.pacing
    }

    /// When the guest ran on after the last pause.
    pub(super) fn resumed_at(&self) -> Time {
        self.resumed_at
    }

    /// Counts from now on: what waits for the end of a longer interval waits no longer than the new one.
    pub(super) fn set_pacing(&mut self, pacing: Pacing) {
        self.pacing = pacing;
    }

    /// When the next capture may begin, as far as time, output and a busy encoder decide that.
    pub(super) fn due(&self, is_encoding: bool) -> Due {
        let budgets = match self.pacing {
            Pacing::Clock { interval } => {
                return Due { at: self.resumed_at + interval, by: PacedBy::Clock };
            }
            Pacing::Output(budgets) => budgets,
        };
        let latest = Due { at: self.resumed_at + budgets.interval_max, by: PacedBy::Quiet };
        let wanted = [self.answers_due(), self.bare_due()].into_iter().flatten();
        let Some(wanted) = wanted.min_by_key(|due| due.at).filter(|due| due.at < latest.at) else {
            return latest;
        };
        if is_encoding {
            return Due { by: PacedBy::Encoder, ..latest };
        }
        let share = self.guests_share(&budgets);
        if share.at >= latest.at {
            Due { at: latest.at, by: share.by }
        } else if share.at > wanted.at {
            share
        } else {
            wanted
        }
    }

    /// Of how many answers it wants to be told; `None` if more of them change nothing.
    pub(super) fn tell_at(&self) -> Option<u32> {
        match self.pacing {
            Pacing::Clock { .. } => None,
            Pacing::Output(_) if self.waiting.answers == 0 => Some(1),
            Pacing::Output(_) => Some(self.expected()).filter(|expected| *expected > self.waiting.answers),
        }
    }

    /// What waits in the open epoch now.
    pub(super) fn waits(&mut self, waiting: Waiting, now: Time) {
        self.waiting = waiting;
        if waiting.answers > 0 {
            self.answers_since.get_or_insert(now);
        }
        if waiting.bare > 0 {
            self.bare_since.get_or_insert(now);
        }
    }

    /// A pause is over: what waited is in an epoch that is closed. `None` if the capture came to nothing, without a cut.
    pub(super) fn resumed(&mut self, pause: Option<Span>, now: Time) {
        self.resumed_at = now;
        let Some(pause) = pause else { return };
        self.pause.add(pause.0);
        // An epoch in which nobody waited says nothing of how many come together.
        if self.waiting.answers > 0 {
            self.batch.add(u64::from(self.waiting.answers) * 16);
        }
        self.waiting = Waiting::default();
        (self.answers_since, self.bare_since) = (None, None);
    }

    /// An epoch was acked this long after its capture.
    pub(super) fn committed(&mut self, after: Span) {
        self.commit.add(after.0);
    }

    /// An epoch has taken this much processor time here, and these bytes on the link.
    pub(super) fn cost(&mut self, cpu: Span, link_bytes: u64) {
        self.cpu.add(cpu.0);
        self.link_bytes.add(link_bytes);
    }

    /// Where one answer comes alone it goes at once. Where several came together, so will the next: they are waited for,
    /// but for no longer than it pays.
    fn answers_due(&self) -> Option<Due> {
        let since = self.answers_since?;
        if self.waiting.answers >= self.expected() {
            return Some(Due { at: since, by: PacedBy::Output });
        }
        Some(Due { at: since + Span(self.commit.get() / 2), by: PacedBy::Batch })
    }

    fn bare_due(&self) -> Option<Due> {
        let since = self.bare_since?;
        let wait = if self.waiting.bare >= BARE_MANY { Span(0) } else { BARE_WAIT };
        Some(Due { at: since + wait, by: PacedBy::Output })
    }

    /// Answers that come together, as far as is known.
    fn expected(&self) -> u32 {
        (self.batch.get() / 16).max(1).try_into().unwrap_or(u32::MAX)
    }

    /// Until when the guest runs in any case, `interval_max` aside.
    fn guests_share(&self, budgets: &Budgets) -> Due {
        let part = |cost: u64, percent: u64| cost.saturating_mul(100) / percent.max(1);
        let percent = u64::from(budgets.pause_percent_max);
        let pause = part(self.pause.get(), percent).saturating_sub(self.pause.get());
        let link = self.link_bytes.get().saturating_mul(1_000_000_000) / budgets.link_bytes_per_s_max.max(1);
        let cpu = part(self.cpu.get(), budgets.cpu_percent_max.into());
        let shares = [
            (budgets.interval_min.0, PacedBy::IntervalMin),
            (pause, PacedBy::PauseShare),
            (link, PacedBy::LinkRate),
            (cpu, PacedBy::CpuShare),
        ];
        let (span, by) = shares.into_iter().max_by_key(|(span, _)| *span).expect("there are four");
        Due { at: self.resumed_at + Span(span), by }
    }
}

/// A mean in which each new value counts a quarter: it follows a change within some epochs, and one outlier is soon
/// forgotten.
#[derive(Clone, Copy, Debug, Default)]
struct Mean(Option<u64>);

impl Mean {
    fn add(&mut self, value: u64) {
        self.0 = Some(self.0.map_or(value, |mean| mean - mean / 4 + value / 4));
    }

    fn get(self) -> u64 {
        self.0.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
