//! What a drill found, for programs: one object per round, a summary, and whether every check held.
//! [`table`](super::table) shows the same to people.

use super::spread::Spreads;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Milliseconds with their fraction, as the report gives all times.
#[derive(Serialize, Clone, Copy, PartialEq, PartialOrd, Debug)]
#[serde(transparent)]
pub struct Millis(pub f64);

impl From<Duration> for Millis {
    fn from(span: Duration) -> Self {
        // Microseconds are the finest that means anything between processes.
        Self((span.as_secs_f64() * 1e6).round() / 1e3)
    }
}

/// The engine's own figures of a round: of protection before the failure, over all guests. They are shown,
/// never judged by.
#[derive(Serialize, Clone, Copy, PartialEq, Debug, Default)]
pub struct Figures {
    /// Checkpoints committed.
    pub epochs: u64,
    /// Frames that left because a live copy had sent the same.
    pub matched: u64,
    /// Bytes of the pages in them.
    pub raw_bytes: u64,
    /// Bytes on the link for them, everything counted.
    pub link_bytes: u64,
    /// Median pause, microseconds.
    pub pause_us_p50: u64,
    /// 99th percentile.
    pub pause_us_p99: u64,
    /// Median time from a capture's end to its ack, microseconds.
    pub commit_us_p50: u64,
    /// 99th percentile.
    pub commit_us_p99: u64,
}

impl Figures {
    /// Raw bytes per byte sent; 0 if nothing was sent.
    pub fn ratio(&self) -> f64 {
        if self.link_bytes == 0 { 0.0 } else { self.raw_bytes as f64 / self.link_bytes as f64 }
    }
}

/// When what followed the failure happened, in milliseconds after it; of several guests, the last. `None` where
/// it does not belong to the failure (no takeover, no interruption).
#[derive(Serialize, Clone, Copy, PartialEq, Debug, Default)]
pub struct Times {
    /// The secondary noticed.
    pub detected_ms: Option<Millis>,
    /// The witness gave it the guest.
    pub authority_ms: Option<Millis>,
    /// The guest ran.
    pub activated_ms: Option<Millis>,
    /// A client had an answer from it.
    pub first_reply_ms: Option<Millis>,
    /// Longest time any client was without an answer, wherever in the round.
    pub gap_ms: Option<Millis>,
    /// All guests were protected again.
    pub protected_ms: Option<Millis>,
}

/// What the clients of all guests did in a round.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Requests made.
    pub requests: u64,
    /// Answers received, all of them checked.
    pub replies: u64,
    /// Requests whose outcome stayed unknown.
    pub unknown: u64,
    /// Answers that an old owner owed and gave after the new one had begun.
    pub late: u64,
    /// Answers that came a second time.
    pub repeated: u64,
}

/// One round.
#[derive(Serialize, Clone, Debug)]
pub struct Round {
    /// From 1.
    pub round: usize,
    pub failure: String,
    /// How it ended.
    pub ending: String,
    /// Whether it ended as it must and every promise was kept.
    pub held: bool,
    /// What was broken, in words.
    pub violations: Vec<String>,
    /// When what happened.
    #[serde(flatten)]
    pub times: Times,
    /// What the clients did.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// What the engine says of itself.
    #[serde(flatten)]
    pub figures: Figures,
    /// Raw bytes per byte sent.
    pub ratio: f64,
    /// Length of the round.
    pub duration_ms: Millis,
    /// For histograms; programs have the quantiles.
    #[serde(skip)]
    pub spreads: Spreads,
}

/// All rounds of one failure.
#[derive(Serialize, Clone, Debug, Default)]
pub struct FailureSummary {
    pub rounds: usize,
    /// How many held.
    pub held: usize,
    /// Median time from the failure to the first reply of a new owner.
    pub first_reply_ms_p50: Option<Millis>,
    /// The longest.
    pub first_reply_ms_max: Option<Millis>,
    /// Median time from the witness's word to the first reply of the new owner: what a takeover itself takes.
    pub authority_to_reply_ms_p50: Option<Millis>,
    /// 99th percentile.
    pub authority_to_reply_ms_p99: Option<Millis>,
    /// Median of the longest gaps.
    pub gap_ms_p50: Option<Millis>,
    /// The longest gap.
    pub gap_ms_max: Option<Millis>,
}

/// What a drill was, so that it can be repeated.
#[derive(Serialize, Clone, Debug)]
pub struct Settings {
    /// Seed.
    pub seed: u64,
    /// What decided when checkpoints began, as a node takes it.
    pub pacing: String,
    /// How the guests were protected.
    pub mode: &'static str,
    /// What differed between the hosts for their guests, as a node takes it.
    pub diverge: Option<String>,
    /// How long each guest stood still to suspend, beside the work.
    pub suspend_takes_ms: Millis,
    /// Memory of each guest.
    pub memory_bytes: u64,
    /// The disk of each guest, if they had any.
    pub disk_bytes: Option<u64>,
    /// Its load.
    pub load: String,
    pub guests: u16,
    pub clients: u16,
}

/// A whole drill.
#[derive(Serialize, Clone, Debug)]
pub struct Report {
    /// Whether every check of every round held.
    pub held: bool,
    /// What was asked.
    pub settings: Settings,
    /// Round by round.
    pub rounds: Vec<Round>,
    /// By failure.
    pub by_failure: BTreeMap<String, FailureSummary>,
    /// From the first process to the last check.
    pub duration_ms: Millis,
}

impl Report {
    /// Sums the rounds up.
    pub fn new(settings: Settings, rounds: Vec<Round>, duration: Duration) -> Self {
        let mut by_failure = BTreeMap::<String, Vec<&Round>>::new();
        for round in &rounds {
            by_failure.entry(round.failure.clone()).or_default().push(round);
        }
        let by_failure =
            by_failure.into_iter().map(|(failure, rounds)| (failure, summarize(&rounds))).collect();
        let held = !rounds.is_empty() && rounds.iter().all(|round| round.held);
        Self { held, settings, rounds, by_failure, duration_ms: duration.into() }
    }
}

fn summarize(rounds: &[&Round]) -> FailureSummary {
    let sorted = |pick: fn(&Times) -> Option<Millis>| {
        let mut values: Vec<Millis> = rounds.iter().filter_map(|round| pick(&round.times)).collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        values
    };
    let first_reply = sorted(|times| times.first_reply_ms);
    let takeover = sorted(|times| Some(Millis(times.first_reply_ms?.0 - times.authority_ms?.0)));
    let gap = sorted(|times| times.gap_ms);
    FailureSummary {
        rounds: rounds.len(),
        held: rounds.iter().filter(|round| round.held).count(),
        first_reply_ms_p50: first_reply.get(first_reply.len() / 2).copied(),
        first_reply_ms_max: first_reply.last().copied(),
        authority_to_reply_ms_p50: takeover.get(takeover.len() / 2).copied(),
        authority_to_reply_ms_p99: takeover.get(takeover.len() * 99 / 100).copied(),
        gap_ms_p50: gap.get(gap.len() / 2).copied(),
        gap_ms_max: gap.last().copied(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A round of a report, for tests of what is made of it.
    pub(in crate::drill) fn round(number: usize, held: bool, first_reply_ms: f64) -> Round {
        let first_reply_ms = Some(Millis(first_reply_ms));
        Round {
            round: number,
            failure: "kill".into(),
            ending: "B took over".into(),
            held,
            violations: if held { Vec::new() } else { vec!["Lost write: …".into()] },
            times: Times { authority_ms: Some(Millis(4.0)), first_reply_ms, ..Times::default() },
            traffic: Traffic { requests: 10, replies: 9, unknown: 1, late: 0, repeated: 0 },
            figures: Figures { raw_bytes: 100, link_bytes: 10, ..Figures::default() },
            ratio: 10.0,
            duration_ms: Millis(1.0),
            spreads: Spreads::default(),
        }
    }

    pub(in crate::drill) fn settings() -> Settings {
        let load = "mixed".into();
        Settings {
            seed: 1,
            pacing: "interval=25ms".into(),
            mode: "remus",
            diverge: None,
            suspend_takes_ms: Millis(0.0),
            memory_bytes: 1 << 28,
            disk_bytes: Some(1 << 20),
            load,
            guests: 1,
            clients: 4,
        }
    }

    #[test]
    fn one_broken_round_or_none_at_all_is_no_success() {
        let report = |rounds| Report::new(settings(), rounds, Duration::from_secs(1));
        assert!(report(vec![round(1, true, 5.0)]).held);
        assert!(!report(vec![round(1, true, 5.0), round(2, false, 5.0)]).held);
        assert!(!report(Vec::new()).held);
    }

    #[test]
    fn rounds_are_summed_up_by_failure() {
        let rounds = vec![round(1, true, 30.0), round(2, true, 10.0), round(3, false, 20.0)];
        let report = Report::new(settings(), rounds, Duration::from_secs(1));
        let kill = &report.by_failure["kill"];
        assert_eq!((kill.rounds, kill.held), (3, 2));
        assert_eq!(kill.first_reply_ms_p50, Some(Millis(20.0)));
        assert_eq!(kill.first_reply_ms_max, Some(Millis(30.0)));
        assert_eq!(kill.authority_to_reply_ms_p50, Some(Millis(16.0)));
        assert_eq!(kill.authority_to_reply_ms_p99, Some(Millis(26.0)));
    }
}
