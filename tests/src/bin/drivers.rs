//! Runs the simulator of the drivers: one seed with a trace, or many.

use clap::Parser;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use understudy_tests::drivers::{Options, Outcome, run_seed, run_seeds};

/// Runs primary, secondary and witness in virtual time, with faults drawn from a seed, and checks every
/// invariant after every event.
///
/// A failing seed fails again in the same way: run it with --trace to see each event in its order. The columns of
/// a trace are the time in microseconds, the node (A and B are hosts, W is the witness, "world" is what clients
/// see, "fact" is what the judges are told), what the node's session is doing, and what it hears (◄) or
/// does (►).
///
/// Exit code: 0 if every invariant held, 1 if one did not.
#[derive(Parser)]
#[command(name = "drivers")]
struct Arguments {
    /// Run this seed alone.
    #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Run these seeds, for example 0..10000.
    #[arg(long, value_parser = parse_range)]
    seeds: Option<std::ops::Range<u64>>,
    /// Print one line for each event (with --seed).
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Do not end at the first seed that fails; one line for each that does, and for each state that was entered.
    #[arg(long, requires = "seeds")]
    all: bool,
    /// Let faults strike too that today's engine is known not to survive.
    #[arg(long)]
    with_known: bool,
}

fn parse_range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.ok_or_else(|| format!("{text:?} is not a range, such as 0..10000"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options { traced: arguments.trace, with_known: arguments.with_known, ..Options::default() };
    match (arguments.seed, arguments.seeds) {
        (Some(seed), _) => tell(&run_seed(seed, options)),
        (None, Some(seeds)) if arguments.all => tell_all(seeds, options),
        (None, Some(seeds)) => {
            let count = seeds.end.saturating_sub(seeds.start);
            match run_seeds(seeds, options) {
                Ok((events, frames)) => {
                    println!("{count} seeds, {events} events, {frames} frames seen: every invariant held");
                    ExitCode::SUCCESS
                }
                Err(outcome) => tell(&outcome),
            }
        }
        (None, None) => unreachable!("clap asks for one of them"),
    }
}

fn tell_all(seeds: std::ops::Range<u64>, options: Options) -> ExitCode {
    let mut failed = 0;
    let mut led_through = BTreeMap::new();
    for outcome in seeds.map(|seed| run_seed(seed, options)) {
        for moment in outcome.moments {
            *led_through.entry(format!("{moment:?}")).or_insert(0) += 1;
        }
        if let Some(violation) = outcome.violation {
            failed += 1;
            say(&format!("seed {}: {violation}", outcome.seed));
        }
    }
    for (moment, count) in led_through {
        say(&format!("{count} seeds led through {moment}"));
    }
    say(&format!("{failed} seeds failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A pager that was closed is no failure of the seed.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn tell(outcome: &Outcome) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    for line in outcome.trace.iter().flat_map(|trace| &trace.lines) {
        // A pager that was closed is no failure of the seed.
        if writeln!(stdout, "{line}").is_err() {
            break;
        }
    }
    drop(stdout);
    say(&format!("seed {}: {} events, {} frames seen", outcome.seed, outcome.events, outcome.frames));
    for fault in &outcome.faults {
        say(&format!("  {fault}"));
    }
    match &outcome.violation {
        None => {
            say("every invariant held");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            say(&violation.to_string());
            ExitCode::FAILURE
        }
    }
}
