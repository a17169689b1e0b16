//! The report for people: a line per round, printed as rounds end, then a summary.

use super::report::{FailureSummary, Millis, Report, Round};
use std::fmt::Write;

/// Text above the columns of [`line()`].
pub fn head() -> String {
    let groups = format!(
        "{:29} {:^35} │ {:^16} │ {:^36} │ {:^11} │ {:^10} │",
        "", "ms after the failure", "ms", "dirty pages, MB", "pause µs", "commit ms",
    );
    let columns = format!(
        "{:>5} {:<23} {:>8} {:>9} {:>9} {:>6} │ {:>6} {:>9} │ {:>6} {:>7} {:>7} {:>7} {:>5} │ {:>4} {:>6} │ {:>4} {:>5} │ {}",
        "round",
        "failure",
        "detected",
        "authority",
        "activated",
        "reply",
        "gap",
        "protected",
        "epochs",
        "replies",
        "raw",
        "sent",
        "ratio",
        "p50",
        "p99",
        "p50",
        "p99",
        "ending",
    );
    format!("{groups}\n{columns}")
}

/// One round in one line, and a further line for each violation.
pub fn line(round: &Round) -> String {
    let (times, figures) = (&round.times, &round.figures);
    let mut text = format!(
        "{:5} {:<23} {:>8} {:>9} {:>9} {:>6} │ {:>6} {:>9} │ {:>6} {:>7} {:>7.1} {:>7.1} {:>5.1} │ {:>4} {:>6} │ {:>4.1} {:>5.1} │ {}{}",
        round.round,
        round.failure,
        cell(times.detected_ms),
        cell(times.authority_ms),
        cell(times.activated_ms),
        cell(times.first_reply_ms),
        cell(times.gap_ms),
        cell(times.protected_ms),
        figures.epochs,
        round.traffic.replies,
        megabytes(figures.raw_bytes),
        megabytes(figures.link_bytes),
        round.ratio,
        figures.pause_us_p50,
        figures.pause_us_p99,
        figures.commit_us_p50 as f64 / 1e3,
        figures.commit_us_p99 as f64 / 1e3,
        if round.held { "" } else { "FAILED: " },
        round.ending,
    );
    for violation in &round.violations {
        let _ = write!(text, "\n      {violation}");
    }
    text
}

/// What all rounds come to.
pub fn summary(report: &Report) -> String {
    let mut text = String::from(
        "\nfailure                 rounds   held │ first reply ms: median    max │ gap ms: median    max\n",
    );
    for (failure, rounds) in &report.by_failure {
        let _ = writeln!(text, "{}", summary_line(failure, rounds));
    }
    let sum = |pick: fn(&Round) -> u64| report.rounds.iter().map(pick).sum::<u64>();
    let replies = sum(|round| round.traffic.replies);
    let unknown = sum(|round| round.traffic.unknown);
    let late = sum(|round| round.traffic.late);
    let _ = writeln!(
        text,
        "\n{replies} replies checked ({unknown} requests stayed unanswered, {late} answers came late from an old owner that owed them)"
    );
    let (raw, sent) = (sum(|round| round.figures.raw_bytes), sum(|round| round.figures.link_bytes));
    let ratio = if sent == 0 { 0.0 } else { raw as f64 / sent as f64 };
    let _ = writeln!(
        text,
        "{:.1} MB of dirty pages went over the link as {:.1} MB ({ratio:.1}:1), everything counted",
        megabytes(raw),
        megabytes(sent),
    );
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
        "{failure:<23} {:>6} {:>6} │ {:>22} {:>6} │ {:>14} {:>6}",
        rounds.rounds,
        rounds.held,
        cell(rounds.first_reply_ms_p50),
        cell(rounds.first_reply_ms_max),
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
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_failed_round_says_so_and_why() {
        let text = line(&round(7, false, 12.0));
        assert!(text.contains("FAILED: B took over") && text.contains("\n      Lost write"), "{text}");
        let report = Report::new(settings(), vec![round(7, false, 12.0)], Duration::from_secs(3));
        assert!(summary(&report).contains("1 of 1 round FAILED"));
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let bars = |text: &str| -> Vec<usize> {
            text.chars().enumerate().filter(|(_, c)| *c == '│').map(|(at, _)| at).collect()
        };
        for head in head().lines() {
            assert_eq!(bars(head), bars(&line(&round(1, true, 12.0))));
        }
    }
}
