//! Decides when the next checkpoint is worth its pause, from pauses, acks, costs and the output that waits. It owns no
//! timer and knows nothing of epochs.
//!
//! A client notices how long its answer is held; the guest pays with the time it is paused. Both have a budget:
//!
//! ```text
//!   pause │ the guest's share: not before ─┤
//!         │        answers held ─┴─ others are expected: a short wait ─┤
//!         │        bare frames held ─┴──────── BARE_WAIT ──────────────────┤
//!         └──────────────────────────── interval_max: now at the latest ────────────┤
//! ```
//!
//! Whichever of the last three comes first begins the next checkpoint, but not before the guest has had its share.
//! `interval_max` wins over every budget: a guest with long pauses is paced as if by a clock, and its output never
//! starves.

use super::super::{Span, Time};

/// What decides when a checkpoint begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pacing {
    /// A clock: this long from the end of one pause to the beginning of the next.
    Clock { interval: Span },
    /// Output that waits, within budgets.
    Output(Budgets),
}

/// How much protection may cost, for a guest that is paced by its output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budgets {
    /// The least time that the guest runs between two pauses.
    pub interval_min: Span,
    /// The most time that it runs between two pauses, whether output waits or not.
    pub interval_max: Span,
    /// The share of time that the guest may be paused, in percent.
    pub pause_percent_max: u8,
    /// The bytes that checkpoints may send in a second.
    pub link_bytes_per_s_max: u64,
    /// The processor time that checkpoints may take on this host, in percent of one processor.
    pub cpu_percent_max: u16,
}

/// What set the time of a checkpoint, or keeps the next one waiting.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PacedBy {
    /// The fixed interval.
    Clock,
    /// Nothing waited: `interval_max`.
    Quiet,
    /// Output that waited.
    Output,
    /// Answers that were expected besides those that waited.
    Batch,
    /// `interval_min`.
    IntervalMin,
    /// The share of time that the guest may be paused.
    PauseShare,
    /// The budget of the link.
    LinkRate,
    /// The budget of processor time.
    CpuShare,
    /// The previous checkpoint, which is still being encoded.
    Encoder,
    /// A live copy that sent something else.
    Divergence,
    /// A live copy without a divergence: `Colo::period`.
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

/// How long bare frames wait by themselves. A bulk sender gets a window acknowledged once in that time: 10 ms gave a
/// tenth of the throughput that 2 ms gave (netbuf's bench bulk_tcp).
const BARE_WAIT: Span = Span::from_ms(2);
/// This many bare frames mean a sender whose window depends on them. The holder of frames has to report at the same
/// number.
pub const BARE_MANY: u32 = 8;

#[derive(Debug)]
pub(super) struct Pacer {
    pacing: Pacing,
    resumed_at: Time,
    pause: Mean,
    commit: Mean,
    cpu: Mean,
    link_bytes: Mean,
    /// The mean number of answers in an epoch, in sixteenths.
    batch: Mean,
    waiting: Waiting,
    answers_since: Option<Time>,
    bare_since: Option<Time>,
}

impl Pacing {
    /// The most time that the guest runs between two pauses.
    pub fn interval_max(&self) -> Span {
        match self {
            Self::Clock { interval } => *interval,
            Self::Output(budgets) => budgets.interval_max,
        }
    }
}

impl PacedBy {
    /// All values.
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

    /// Its name in `status` and metrics.
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

    /// Takes new settings at once: what waits for the end of a longer interval waits no longer than the new one.
    pub(super) fn set_pacing(&mut self, pacing: Pacing) {
        self.pacing = pacing;
    }

    /// When the next capture may begin, judged by time, output and a busy encoder.
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

    /// At how many answers it wants a report; `None` if further ones change nothing.
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

    /// A pause is over, and what waited is in a closed epoch. `None` if the capture failed without a cut.
    pub(super) fn resumed(&mut self, pause: Option<Span>, now: Time) {
        self.resumed_at = now;
        let Some(pause) = pause else { return };
        self.pause.add(pause.0);
        // An epoch in which nobody waited does not tell how many answers come together.
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

    /// An epoch took this much processor time here, and this many bytes on the link.
    pub(super) fn cost(&mut self, cpu: Span, link_bytes: u64) {
        self.cpu.add(cpu.0);
        self.link_bytes.add(link_bytes);
    }

    /// Where answers come one by one, each goes at once. Where several came together, several are expected and waited
    /// for, but no longer than pays.
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

    /// How many answers come together, by recent epochs.
    fn expected(&self) -> u32 {
        (self.batch.get() / 16).max(1).try_into().unwrap_or(u32::MAX)
    }

    /// Until when the guest runs in any case, unless `interval_max` ends first.
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
