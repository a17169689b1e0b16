//! The report as one page of HTML that a person can keep: nothing in it is loaded from elsewhere, and nothing in it runs.
//!
//! ```text
//!   verdict, when, by whom, of which version ─ what was asked ─ what was checked
//!   round by round: a time line, what was found ─ histograms of pause, commit and gap ─ sums by failure
//! ```
//!
//! Not here: what is judged ([`check`](super::check)), and the figures ([`report`](super::report)).

use super::plot::{histogram, text_of, time_line};
use super::report::{Millis, Report, Round};
use super::spread::Spreads;
use crate::config::human::{show_bytes, show_time};
use std::fmt::Write;

/// When a drill was, and by whom.
#[derive(Clone, Debug)]
pub struct Imprint {
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// Who ran it, and where.
    pub by: String,
    /// The kernel of that machine.
    pub kernel: String,
    /// How it was asked for.
    pub command: String,
}

impl Imprint {
    /// Of this process, now.
    pub fn of_this_process() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
        let user = user.map_or_else(|| format!("user {}", nix::unistd::getuid()), |user| user.name);
        let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        Self {
            began_ms: now.as_millis() as u64,
            by: format!("{user} on {}", read("/proc/sys/kernel/hostname")),
            kernel: read("/proc/sys/kernel/osrelease"),
            command: ["understudy".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" "),
        }
    }
}

/// What is checked in each round, in the order of [`Violation`](super::check::Violation).
const CHECKS: [(&str, &str); 8] = [
    ("No write is lost", "every answer contains each write that was acknowledged before it was asked for"),
    ("Nothing goes back", "no answer is older than one that any client had before"),
    ("Nothing comes from nowhere", "no answer contains a write that nobody asked for"),
    ("No write counts twice", "no two increments are answered with the same value"),
    (
        "No second answer",
        "no request is answered twice, unless a running copy repeats the first answer byte for byte",
    ),
    ("No nonsense", "no answer is one that the service never gives"),
    ("One owner", "the old host sends nothing once the new one has begun, but what it owed before"),
    ("Service goes on", "every client is answered after the failure, at the same address and port"),
];

const STYLE: &str = "\
body{font:15px/1.45 sans-serif;color:#1b1f24;background:#fff;max-width:60em;margin:2em auto;padding:0 1em}
h1{font-size:1.7em;margin-bottom:.2em}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid #d0d7de}
h3{font-size:1em;margin-bottom:.3em}table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:left;vertical-align:top}
td.n,th.n{text-align:right}.held{color:#116329}.failed{color:#a40e26}.verdict{font-size:1.2em;font-weight:bold}
.round{break-inside:avoid}svg{max-width:100%;height:auto}svg text{font:11px sans-serif;fill:#1b1f24}
code{background:#f3f4f6;padding:.1em .3em}li{margin:.15em 0}";

/// The page.
pub fn page(report: &Report, imprint: &Imprint) -> String {
    let mut page = String::new();
    let (class, verdict) = match report.held {
        true => ("held", "Held: every check of every round"),
        false => ("failed", "Failed: at least one check did not hold"),
    };
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>understudy drill, {when}</title>\n\
         <style>\n{STYLE}\n</style></head><body>\n<h1>Drill of {when}</h1>\n<p class=\"verdict {class}\">{verdict}</p>\n",
        when = text_of(&show_time(imprint.began_ms)),
    );
    put_head(&mut page, report, imprint);
    put_checks(&mut page);
    put_summary(&mut page, report);
    put_rounds(&mut page, report);
    put_histograms(&mut page, report);
    page.push_str("</body></html>\n");
    page
}

fn put_rows(page: &mut String, rows: &[(&str, String)]) {
    page.push_str("<table>\n");
    for (name, value) in rows {
        let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", text_of(name), text_of(value));
    }
    page.push_str("</table>\n");
}

fn put_head(page: &mut String, report: &Report, imprint: &Imprint) {
    let asked = &report.settings;
    let held = report.rounds.iter().filter(|round| round.held).count();
    put_rows(
        page,
        &[
            ("Rounds", format!("{} of {} held", held, report.rounds.len())),
            ("Took", format!("{:.1} s", report.duration_ms.0 / 1e3)),
            ("Run by", imprint.by.clone()),
            ("understudy", env!("CARGO_PKG_VERSION").to_owned()),
            ("Linux", imprint.kernel.clone()),
            ("Asked for", imprint.command.clone()),
        ],
    );
    page.push_str("<h2>Configuration</h2>\n");
    put_rows(
        page,
        &[
            (
                "Guests",
                format!("{} of {}, load {}", asked.guests, show_bytes(asked.memory_bytes), asked.load),
            ),
            ("Disk of each", asked.disk_bytes.map_or("none".into(), show_bytes)),
            ("Clients of each", asked.clients.to_string()),
            ("Checkpoints", asked.pacing.clone()),
            ("Mode", asked.mode.to_owned()),
            ("Hosts differ in", asked.diverge.clone().unwrap_or_else(|| "nothing".into())),
            ("Suspending takes", format!("{:.1} ms more", asked.suspend_takes_ms.0)),
            ("Seed", asked.seed.to_string()),
        ],
    );
}

fn put_checks(page: &mut String) {
    page.push_str(
        "<h2>What was checked</h2>\n<p>By a checker that knows nothing of the engine. It has what the clients asked and were \
         answered, with times, and what the switch saw of each host.</p>\n<ul>\n",
    );
    for (name, words) in CHECKS {
        let _ = writeln!(page, "<li><b>{}</b>: {}.</li>", text_of(name), text_of(words));
    }
    page.push_str("</ul>\n");
}

fn shown(time: Option<Millis>) -> String {
    time.map_or_else(|| "–".into(), |time| format!("{:.0}", time.0))
}

fn put_summary(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>By failure</h2>\n<table><tr><th>failure</th><th class=\"n\">held</th><th class=\"n\">first reply, ms (median, \
         longest)</th><th class=\"n\">gap, ms (median, longest)</th></tr>\n",
    );
    for (failure, sums) in &report.by_failure {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=\"n\">{} of {}</td><td class=\"n\">{} / {}</td><td class=\"n\">{} / {}</td></tr>",
            text_of(failure),
            sums.held,
            sums.rounds,
            shown(sums.first_reply_ms_p50),
            shown(sums.first_reply_ms_max),
            shown(sums.gap_ms_p50),
            shown(sums.gap_ms_max),
        );
    }
    page.push_str("</table>\n");
}

/// Rounds that are drawn one by one; a drill of a day has more than anybody looks at, and those that failed are always drawn.
const ROUNDS_DRAWN_MAX: usize = 200;

fn put_rounds(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Round by round</h2>\n<p>Milliseconds after the failure; of several guests, the last.</p>\n",
    );
    let drawn = report.rounds.iter().enumerate().filter(|(at, round)| *at < ROUNDS_DRAWN_MAX || !round.held);
    for (_, round) in drawn {
        put_round(page, round);
    }
    let passed_over = report.rounds.iter().skip(ROUNDS_DRAWN_MAX).filter(|round| round.held).count();
    if passed_over > 0 {
        let _ = writeln!(page, "<p>{passed_over} further rounds held and are not drawn.</p>");
    }
}

fn put_round(page: &mut String, round: &Round) {
    let (class, word) = if round.held { ("held", "held") } else { ("failed", "FAILED") };
    let _ = write!(
        page,
        "<div class=\"round\"><h3>Round {}: {} <span class=\"{class}\">{word}</span></h3>\n{}<p>{}. {} requests, {} answers{}.</p>\n",
        round.round,
        text_of(&round.failure),
        time_line(&round.times),
        text_of(&round.ending),
        round.traffic.requests,
        round.traffic.replies,
        if round.traffic.unknown > 0 {
            format!(", {} without an answer", round.traffic.unknown)
        } else {
            String::new()
        },
    );
    if !round.violations.is_empty() {
        page.push_str("<ul class=\"failed\">\n");
        for violation in &round.violations {
            let _ = writeln!(page, "<li>{}</li>", text_of(violation));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</div>\n");
}

fn put_histograms(page: &mut String, report: &Report) {
    let mut all = Spreads::default();
    report.rounds.iter().for_each(|round| all.add(&round.spreads));
    page.push_str("<h2>How long</h2>\n");
    for (name, words, spread) in [
        (
            "Pause",
            "how long guests stood still for each checkpoint, before the failure, as the engine says",
            &all.pause,
        ),
        (
            "Commit",
            "from the end of the pause to the ack, before the failure, as the engine says",
            &all.commit,
        ),
        ("Gap", "between two answers that one client had, in whole rounds, as the clients saw it", &all.gap),
    ] {
        let _ = write!(
            page,
            "<div class=\"round\"><h3>{}</h3><p>{} times: {}.</p>\n{}</div>\n",
            text_of(name),
            spread.total(),
            text_of(words),
            histogram(spread)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{round, settings};
    use super::super::spread::Spread;
    use super::*;
    use std::time::Duration;

    fn imprint() -> Imprint {
        Imprint {
            began_ms: 0,
            by: "eve <b> on h".into(),
            kernel: "6.1".into(),
            command: "understudy drill".into(),
        }
    }

    #[test]
    fn a_page_says_all_of_it_and_loads_nothing() {
        let mut broken = round(2, false, 7.0);
        broken.violations = vec!["Lost write: <script>alert(1)</script>".into()];
        broken.spreads.gap = Spread::of_gaps([3, 3, 400].map(Duration::from_millis));
        let report = Report::new(settings(), vec![round(1, true, 25.0), broken], Duration::from_secs(9));
        let page = page(&report, &imprint());
        for said in [
            "Failed: at least one check",
            "1 of 2 held",
            "eve &lt;b&gt; on h",
            "Round 1: kill",
            "Round 2: kill <span class=\"failed\">FAILED</span>",
            "Lost write: &lt;script&gt;",
            "interval=25ms",
            "3 times: between two answers",
            "1970-01-01T00:00:00.000Z",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
        for loaded in ["<script", "http://", "https://", "src=", "url(", "@import", "<link", "onload"] {
            assert!(!page.contains(loaded), "{loaded}");
        }
        let count = |what: &str| page.matches(what).count();
        for tag in
            ["div", "table", "tr", "td", "th", "ul", "li", "svg", "p", "h2", "h3", "body", "html", "text"]
        {
            assert_eq!(
                count(&format!("<{tag}>")) + count(&format!("<{tag} ")),
                count(&format!("</{tag}>")),
                "{tag}"
            );
        }
    }

    #[test]
    fn a_drill_of_days_is_a_page_that_can_be_opened_and_shows_each_failure() {
        let mut rounds: Vec<_> = (1..=5_000).map(|number| round(number, true, 5.0)).collect();
        rounds.push(round(5_001, false, 5.0));
        let page = page(&Report::new(settings(), rounds, Duration::from_secs(9)), &imprint());
        assert!(page.contains("4800 further rounds held") && page.contains("Round 5001"));
        assert!(page.len() < 1 << 20, "{}", page.len());
    }
}
