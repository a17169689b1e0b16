//! Runs the simulator: one seed with a trace, or many.

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use understudy_tests::sim::{Options, Outcome, run_seed, run_seeds};

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
#[command(name = "sim")]
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
}

fn parse_range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.ok_or_else(|| format!("{text:?} is not a range, such as 0..10000"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options { traced: arguments.trace, ..Options::default() };
    match (arguments.seed, arguments.seeds) {
        (Some(seed), _) => tell(&run_seed(seed, options)),
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

fn tell(outcome: &Outcome) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    for line in outcome.trace.iter().flat_map(|trace| &trace.lines) {
        // A pager that was closed is no failure of the seed.
        if writeln!(stdout, "{line}").is_err() {
            break;
        }
    }
    drop(stdout);
    println!("seed {}: {} events, {} frames seen", outcome.seed, outcome.events, outcome.frames);
    for fault in &outcome.faults {
        println!("  {fault}");
    }
    match &outcome.violation {
        None => {
            println!("every invariant held");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    }
}
