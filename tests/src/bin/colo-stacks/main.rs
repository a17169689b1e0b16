//! COLO's comparison under real TCP stacks: a client's, a guest's and its copy's, in network namespaces of this machine.
//!
//! ```text
//!   namespace client ─ tap ─┐                        ┌─ tap ─ namespace primary     10.7.0.2, MAC x, a service
//!                           ├─ one process: mirror, ─┤
//!                           └─ comparer, queue       └─ rewriter ─ tap ─ namespace secondary    the same
//! ```
//!
//! There are no checkpoints here: a guest and its copy begin with the same state because nothing has happened, and services
//! that are deterministic stay the same. What differs is counted. In each round the primary ends at a random moment, with all
//! input that was under way to its copy, and clients must see no more of that than a pause.
//!
//! ```text
//!   colo-stacks kills                           30 rounds, as CI plays them: half a minute
//!   colo-stacks kills --kills 1000 --seed 5000  the long run: a quarter of an hour
//!   colo-stacks kills --kills 1 --seed 17       a round again, as far as kernels do the same again; flags set its knobs
//!   colo-stacks mutants                         each wrongness must be noticed
//!   colo-stacks services                        redis, nginx, iperf3, sshd, PostgreSQL, as Debian has them
//! ```
//!
//! Namespaces have no names, and processes in them are killed with this one: nothing is left behind, however it ends.

#![forbid(unsafe_code)]

#[cfg(test)]
mod built;
mod client;
mod counters;
mod guest;
mod hub;
mod knobs;
mod mutant;
mod pair;
mod place;
mod round;
mod service;
mod skew;
mod stage;
mod table;
mod unmodified;
mod visits;
mod wire;
mod world;

use clap::{Parser, Subcommand, ValueEnum};
use knobs::{Given, Knobs, Mutant};
use std::process::ExitCode;
use table::Table;
use understudy::drill::workdir::Workdir;

/// A mutant has so many rounds to be noticed in.
const MUTANT_ROUNDS: u64 = 60;

/// Real TCP stacks in network namespaces, one the copy of the other; needs root.
///
/// Exit code: 0 if nobody saw anything wrong, 1 if somebody did, 2 if it could not be tried, 77 if a part was skipped.
#[derive(Parser)]
#[command(name = "colo-stacks")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The primary ends under load, again and again.
    Kills {
        /// How often.
        #[arg(long, default_value_t = 30)]
        kills: u64,
        /// The first round's seed; each round has the next one.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        given: Given,
    },
    /// Services as Debian has them; those that are not installed are skipped, and told.
    Services {
        /// The first round's seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Each wrongness must be noticed.
    Mutants {
        /// The first round's seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// The deterministic service, until it is killed.
    #[command(hide = true)]
    Serve,
}

/// How it ended.
enum Ending {
    Right,
    Wrong,
    /// What was tried was right.
    Skipped,
}

fn main() -> ExitCode {
    let of = |is_right| if is_right { Ending::Right } else { Ending::Wrong };
    let done = match Arguments::parse().what {
        What::Kills { kills, seed, given } => kill(kills, seed, &given).map(of),
        What::Services { seed } => workdir().and_then(|work| visits::all(seed, work.path())),
        What::Mutants { seed } => notice_all(seed).map(of),
        What::Serve => service::serve().map(|()| Ending::Right).map_err(|error| error.to_string()),
    };
    match done {
        Ok(Ending::Right) => ExitCode::SUCCESS,
        Ok(Ending::Wrong) => ExitCode::FAILURE,
        Ok(Ending::Skipped) => ExitCode::from(77),
        Err(error) => {
            eprintln!("colo-stacks: {error}");
            ExitCode::from(2)
        }
    }
}

fn workdir() -> Result<Workdir, String> {
    Workdir::create("stacks").map_err(|error| format!("a directory in /tmp: {error}"))
}

/// Whether all was right.
fn kill(kills: u64, seed: u64, given: &Given) -> Result<bool, String> {
    let work = workdir()?;
    let mut table = Table::default();
    for seed in seed..seed + kills {
        let knobs = Knobs::draw(seed, given);
        let report = round::play(&knobs, &work.path().join(seed.to_string()));
        table.add(&knobs, report.map_err(|error| format!("{knobs}: {error}"))?);
    }
    table.print();
    Ok(table.is_right())
}

/// Whether each mutant was noticed.
fn notice_all(seed: u64) -> Result<bool, String> {
    let work = workdir()?;
    let mut is_right = true;
    for mutant in Mutant::value_variants() {
        let mut noticed = None;
        for seed in seed..seed + MUTANT_ROUNDS {
            let knobs = Knobs::of_mutant(seed, *mutant);
            let directory = work.path().join(format!("{mutant:?}-{seed}"));
            let report = round::play(&knobs, &directory).map_err(|error| format!("{knobs}: {error}"))?;
            if let Some(wrong) = report.wrong.first() {
                noticed = Some(format!("noticed with seed {seed}: {wrong}"));
                break;
            }
        }
        is_right &= noticed.is_some();
        let told = noticed.unwrap_or_else(|| format!("NOT noticed in {MUTANT_ROUNDS} rounds"));
        println!("{:<20} {told}", format!("{mutant:?}"));
    }
    Ok(is_right)
}
