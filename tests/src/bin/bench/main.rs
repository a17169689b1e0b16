//! The whole-process bench: what protection costs and sustains between two real processes on this machine.
//!
//! Every figure is printed beside its aim or its peer, measured in the same run. It never fails on a time: a
//! busy machine makes poor figures, not an error.
//!
//! ```text
//!   bench            all parts
//!   bench PART…      rates, slowdown, colo, pause, ahead, memory, tls
//! ```
//!
//! The bench hosts a drill's world (switch, witness, two hosts); the processes are this same program, which
//! then is `understudy`.

#![forbid(unsafe_code)]

mod ahead;
mod colo;
mod measure;
mod memory;
mod pause;
mod rates;
mod slowdown;
mod testbed;
mod tls;

use std::process::ExitCode;
use testbed::Testbeds;
use understudy::drill::DrillError;

type Part = fn(&mut Testbeds) -> Result<(), DrillError>;

const PARTS: [(&str, Part); 7] = [
    ("rates", rates::run),
    ("slowdown", slowdown::run),
    ("colo", colo::run),
    ("pause", pause::run),
    ("ahead", ahead::run),
    ("memory", memory::run),
    ("tls", tls::run),
];

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if matches!(asked.first().map(String::as_str), Some("witness" | "node")) {
        return understudy::cli::main();
    }
    if let Some(unknown) = asked.iter().find(|asked| !PARTS.iter().any(|(name, _)| name == asked)) {
        let names = PARTS.map(|(name, _)| name).join(", ");
        eprintln!("bench: {unknown:?} is no part of the bench; there are {names}");
        return ExitCode::from(2);
    }
    let parts = PARTS.iter().filter(|(name, _)| asked.is_empty() || asked.iter().any(|asked| asked == name));
    match run(parts.map(|(_, part)| *part)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(parts: impl Iterator<Item = Part>) -> Result<(), DrillError> {
    let mut testbeds = Testbeds::build()?;
    testbed::print_machine();
    for part in parts {
        part(&mut testbeds)?;
    }
    Ok(())
}
