//! The report for people: each round as it ends, then a summary. No line has more than [`WIDTH`](super::wrap::WIDTH) columns.
//!
//! ```text
//!   round failure                 detected authority activated  reply │    gap protected
//!       1 kill                          12        14        21     25 │     60       410
//!       └ B took over, a new A protects it; 41 epochs, 5400 replies; …
//!         pause p50 310 µs, p99 900 µs; commit p50 2.1 ms, p99 4.0 ms
//! ```

use super::report::{FailureSummary, Millis, Report, Round};
use super::wrap::wrap;
use std::fmt::Write;

/// Text above the columns of [`line()`].
pub fn head() -> String {
    let groups = format!("{:29} {:^35} │ {:^16}", "", "ms after the failure", "ms");
    let columns = format!(
        "{:>5} {:<23} {:>8} {:>9} {:>9} {:>6} │ {:>6} {:>9}",
        "round", "failure", "detected", "authority", "activated", "reply", "gap", "protected",
    );
    format!("{}\n{columns}", groups.trim_end())
}

/// One round: its times, then how it ended and what the engine says of itself, then each violation.
pub fn line(round: &Round) -> String {
    let times = &round.times;
    let mut text = format!(
        "{:5} {:<23} {:>8} {:>9} {:>9} {:>6} │ {:>6} {:>9}",
        round.round,
        round.failure,
        cell(times.detected_ms),
        cell(times.authority_ms),
        cell(times.activated_ms),
        cell(times.first_reply_ms),
        cell(times.gap_ms),
        cell(times.protected_ms),
    );
    let _ = write!(text, "\n{}", wrap("      └ ", &details(round)));
    for violation in &round.violations {
        let _ = write!(text, "\n{}", wrap("      ✗ ", std::slice::from_ref(violation)));
    }
    text
}

/// What belongs to a round besides its times.
fn details(round: &Round) -> Vec<String> {
    let figures = &round.figures;
    let failed = if round.held { "" } else { "FAILED: " };
    let matched = match figures.matched {
        0 => String::new(),
        matched => format!(", {matched} frames matched"),
    };
    vec![
        format!("{failed}{}", round.ending),
        format!("{} epochs, {} replies{matched}", figures.epochs, round.traffic.replies),
        format!(
            "pages {:.1} MB, sent {:.1} MB ({:.1}:1)",
            megabytes(figures.raw_bytes),
            megabytes(figures.link_bytes),
            round.ratio
        ),
        format!("pause p50 {} µs, p99 {} µs", figures.pause_us_p50, figures.pause_us_p99),
        format!(
            "commit p50 {:.1} ms, p99 {:.1} ms",
            figures.commit_us_p50 as f64 / 1e3,
            figures.commit_us_p99 as f64 / 1e3
        ),
    ]
}

/// What all rounds come to.
pub fn summary(report: &Report) -> String {
    let mut text = format!(
        "\n{:37} │ {:^15} │ {:^15} │ {:^15}\n{:<23} {:>6} {:>6} │ {:>8} {:>6} │ {:>8} {:>6} │ {:>8} {:>6}\n",
        "milliseconds",
        "first reply",
        "after authority",
        "gap",
        "failure",
        "rounds",
        "held",
        "median",
        "max",
        "median",
        "p99",
        "median",
        "max"
    );
    for (failure, rounds) in &report.by_failure {
        let _ = writeln!(text, "{}", summary_line(failure, rounds));
    }
    let sum = |pick: fn(&Round) -> u64| report.rounds.iter().map(pick).sum::<u64>();
    let replies = sum(|round| round.traffic.replies);
    let unknown = sum(|round| round.traffic.unknown);
    let late = sum(|round| round.traffic.late);
    let repeated = sum(|round| round.traffic.repeated);
    let answers = [
        format!("{replies} replies checked"),
        format!("{unknown} requests stayed unanswered"),
        format!("{late} answers came late from an old owner that owed them"),
        format!("{repeated} came twice"),
    ];
    let (raw, sent) = (sum(|round| round.figures.raw_bytes), sum(|round| round.figures.link_bytes));
    let ratio = if sent == 0 { 0.0 } else { raw as f64 / sent as f64 };
    let bytes = [
        format!("{:.1} MB of dirty pages went over the link as {:.1} MB", megabytes(raw), megabytes(sent)),
        format!("{ratio:.1}:1, everything counted"),
    ];
    let _ = writeln!(text, "\n{}\n{}", wrap("", &answers), wrap("", &bytes));
    let broken = report.rounds.iter().filter(|round| !round.held).count();
    let seconds = report.duration_ms.0 / 1e3;
    let _ = match broken {
        0 => writeln!(text, "Every check held in {}, {seconds:.1} s.", rounds(report.rounds.len())),
        _ => writeln!(text, "{broken} of {} FAILED, {seconds:.1} s.", rounds(report.rounds.len())),
    };
    text
}

fn rounds(count: usize) -> String {
    if count == 1 { "1 round".into() } else { format!("{count} rounds") }
}

fn summary_line(failure: &str, rounds: &FailureSummary) -> String {
    format!(
        "{failure:<23} {:>6} {:>6} │ {:>8} {:>6} │ {:>8} {:>6} │ {:>8} {:>6}",
        rounds.rounds,
        rounds.held,
        cell(rounds.first_reply_ms_p50),
        cell(rounds.first_reply_ms_max),
        cell(rounds.authority_to_reply_ms_p50),
        cell(rounds.authority_to_reply_ms_p99),
        cell(rounds.gap_ms_p50),
        cell(rounds.gap_ms_max),
    )
}

fn cell(time: Option<Millis>) -> String {
    time.map_or_else(|| "·".into(), |time| format!("{:.0}", time.0))
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{round, settings};
    use super::super::report::{Figures, Times};
    use super::super::wrap::WIDTH;
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_failed_round_says_so_and_why() {
        let text = line(&round(7, false, 12.0));
        assert!(text.contains("FAILED: B took over") && text.contains("\n      ✗ Lost write"), "{text}");
        let report = Report::new(settings(), vec![round(7, false, 12.0)], Duration::from_secs(3));
        assert!(summary(&report).contains("1 of 1 round FAILED"));
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let bars = |text: &str| -> Vec<usize> {
            text.chars().enumerate().filter(|(_, c)| *c == '│').map(|(at, _)| at).collect()
        };
        let first = line(&round(1, true, 12.0));
        let first = first.lines().next().unwrap();
        for head in head().lines() {
            assert_eq!(bars(head), bars(first));
        }
    }

    /// As bad as a round can be: every number is long, and what failed takes a paragraph.
    fn worst() -> Round {
        let mut worst = round(1_000_000, false, 9_999_999.0);
        let long = Some(Millis(9_999_999.0));
        worst.times = Times {
            detected_ms: long,
            authority_ms: long,
            activated_ms: long,
            first_reply_ms: long,
            gap_ms: long,
            protected_ms: long,
        };
        worst.failure = "partition: to secondary".into();
        worst.ending = "no guest came back to the host, which ".repeat(9);
        worst.violations = vec!["Lost write: a client that ".repeat(20), "x".repeat(300)];
        worst.traffic.replies = u64::MAX;
        worst.figures = Figures {
            epochs: u64::MAX,
            matched: u64::MAX,
            raw_bytes: u64::MAX,
            link_bytes: u64::MAX,
            pause_us_p50: u64::MAX,
            pause_us_p99: u64::MAX,
            commit_us_p50: u64::MAX,
            commit_us_p99: u64::MAX,
        };
        worst.ratio = 1e12;
        worst
    }

    #[test]
    fn no_line_is_wider_than_a_page() {
        let mut report = Report::new(settings(), vec![worst()], Duration::from_secs(99_999));
        report.by_failure.values_mut().for_each(|it| it.rounds = 1_000_000);
        report.rounds.iter_mut().for_each(|round| round.figures.raw_bytes >>= 1);
        let text = format!("{}\n{}\n{}", head(), line(&worst()), summary(&report));
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{}: {line}", line.chars().count());
        }
    }
}
