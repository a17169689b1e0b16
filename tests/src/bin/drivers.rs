//! Runs the simulator of the drivers: one seed with a trace, or many.

use clap::Parser;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;
use understudy_tests::drivers::mutant::Mutant;
use understudy_tests::drivers::{Options, Outcome, run_all, run_seed, run_seeds};

/// Seeds of which the outcomes are in memory together.
const PART: u64 = 500;
/// Seeds between two lines of progress.
const PROGRESS_EVERY: u64 = 10_000;

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
    seeds: Option<Range<u64>>,
    /// Print one line for each event (with --seed).
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Do not end at the first seed that fails; one line for each that does, for each 10,000 seeds, and for each state
    /// that was entered.
    #[arg(long, requires = "seeds")]
    all: bool,
    /// Be wrong in this way, for example ReleaseBeforeAck; "all" runs every mutant before each of its judges alone, and
    /// says where it was caught first.
    #[arg(long)]
    mutant: Option<String>,
    /// Hear every judge also after the witness has forgotten something, to see what follows from that.
    #[arg(long)]
    hear_all: bool,
    /// Guests may run twice in all seeds or in none; otherwise they may in one of four.
    #[arg(long)]
    copies: Option<bool>,
    /// Guests have disks in all seeds in which they run once, or in none; otherwise in one of five.
    #[arg(long)]
    disks: Option<bool>,
    /// The guest needs fencing in all seeds or in none; otherwise it does in one of fifty, which are long.
    #[arg(long)]
    fences: Option<bool>,
    /// Hear this judge alone.
    #[arg(long)]
    judge: Option<String>,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.ok_or_else(|| format!("{text:?} is not a range, such as 0..10000"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.mutant.as_deref() == Some("all") {
        return catch_all(arguments.seeds.unwrap_or(0..3_000));
    }
    let mutants = Mutant::ALL.into_iter().map(|(mutant, _)| mutant);
    let mutant = arguments.mutant.map(|name| find(mutants, &name));
    let judges = Mutant::ALL.into_iter().flat_map(|(_, invariants)| invariants.iter().copied());
    let alone = arguments.judge.map(|name| find(judges, &name));
    let (hears_all, copies, traced) = (arguments.hear_all, arguments.copies, arguments.trace);
    let (disks, fences) = (arguments.disks, arguments.fences);
    let options = Options { mutant, alone, hears_all, copies, disks, fences, traced, ..Options::default() };
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

/// The one of this name.
fn find<T: std::fmt::Debug>(mut all: impl Iterator<Item = T>, name: &str) -> T {
    all.find(|it| format!("{it:?}") == name).unwrap_or_else(|| {
        eprintln!("there is no {name}");
        std::process::exit(2)
    })
}

fn catch_all(seeds: Range<u64>) -> ExitCode {
    let mut escaped = 0;
    for (mutant, invariants) in Mutant::ALL {
        for invariant in invariants {
            let options = Options { mutant: Some(mutant), alone: Some(*invariant), ..Options::default() };
            match run_seeds(seeds.clone(), options) {
                Ok(_) => {
                    escaped += 1;
                    say(&format!("{mutant:?} was not caught by {invariant:?}"));
                }
                Err(outcome) => {
                    let violation = outcome.violation.expect("it failed");
                    say(&format!("{mutant:?}, seed {}: {violation}", outcome.seed));
                }
            }
        }
    }
    if escaped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Goes on after a seed that fails. A run that was broken off is taken up again where its last line of progress ends.
fn tell_all(seeds: Range<u64>, options: Options) -> ExitCode {
    let began = Instant::now();
    let (mut failed, mut events, mut frames) = (0, 0, 0);
    let mut led_through = BTreeMap::new();
    for part in parts_of(&seeds) {
        for outcome in run_all(part.clone(), options) {
            events += outcome.events;
            frames += outcome.frames;
            for moment in outcome.moments {
                *led_through.entry(format!("{moment:?}")).or_insert(0_u64) += 1;
            }
            if let Some(violation) = outcome.violation {
                failed += 1;
                say(&format!("seed {}: {violation}", outcome.seed));
            }
        }
        if part.end % PROGRESS_EVERY == 0 || part.end == seeds.end {
            let (first, end, s) = (seeds.start, part.end, began.elapsed().as_secs());
            say(&format!("{first}..{end}: {failed} failed, {events} events, {frames} frames, {s} s"));
        }
    }
    for (moment, count) in led_through {
        say(&format!("{count} seeds led through {moment}"));
    }
    say(&format!("{failed} seeds failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Pieces of a range, each ending at a multiple of its length.
fn parts_of(seeds: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let (mut start, end) = (seeds.start, seeds.end);
    std::iter::from_fn(move || {
        let part = start..end.min((start / PART + 1) * PART);
        start = part.end;
        Some(part).filter(|part| !part.is_empty())
    })
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
