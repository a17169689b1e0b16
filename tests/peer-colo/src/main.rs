//! Our comparer and rewriter beside those of QEMU (`colo-compare`, `filter-rewriter`), which runs without a guest.
//!
//! ```text
//!   peer-colo behaviour    case by case: QEMU's answer, ours, the right one; fails where ours is not the right one
//!   peer-colo figures      processor time of a pair of frames
//!   peer-colo serve DIR    our comparer behind sockets in DIR, as QEMU's is (figures starts it)
//! ```
//!
//! Without QEMU, `behaviour` judges ours alone and ends with 77.

#![forbid(unsafe_code)]

mod behaviour;
mod cases;
mod figures;
mod frames;
mod ours;
mod qemu;
mod rewriting;
mod serve;

use std::io;
use std::path::Path;
use std::process::ExitCode;

/// How a test ends that could not run.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["behaviour"] => behaviour_of_both(),
        ["figures"] => figures_of_both(),
        ["serve", directory] => serve::run(Path::new(directory)).map(|()| ExitCode::SUCCESS),
        _ => {
            eprintln!("peer-colo behaviour | figures | serve DIR");
            return ExitCode::from(2);
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("peer-colo: {error}");
        ExitCode::FAILURE
    })
}

fn behaviour_of_both() -> io::Result<ExitCode> {
    let qemu = qemu::find();
    println!("{}\n", qemu.as_deref().unwrap_or("without QEMU"));
    let wrong = behaviour::compare(qemu.is_ok())? + rewriting::compare(qemu.is_ok())?;
    Ok(match (wrong, qemu) {
        (0, Ok(_)) => ExitCode::SUCCESS,
        (0, Err(why)) => {
            println!("{why}");
            ExitCode::from(SKIPPED)
        }
        (count, _) => {
            println!("{count} cases of ours are WRONG");
            ExitCode::FAILURE
        }
    })
}

fn figures_of_both() -> io::Result<ExitCode> {
    match qemu::find() {
        Ok(version) => figures::run(&version).map(|()| ExitCode::SUCCESS),
        Err(why) => {
            println!("{why}");
            Ok(ExitCode::from(SKIPPED))
        }
    }
}
