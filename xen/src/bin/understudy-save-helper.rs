//! The program that libxl runs in place of its own save helper; see [`understudy_xen::helper`].

// They panic where nobody reads, and wait for who reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use understudy_xen::helper::Order;

/// The pipes to libxl broke, so the result could not be reported.
const EXIT_NO_LIBXL: u8 = 1;
/// Not called by libxl.
const EXIT_USAGE: u8 = 2;

/// Prints an error for xl to show. Somebody may have closed the pipe.
fn complain(error: &dyn Display) {
    let _ = writeln!(stderr(), "understudy-save-helper: {error}");
}

/// Answers `--help` and `--version`, for people who find this program.
fn about(word: &str) -> Option<&'static str> {
    match word {
        "--version" | "-V" => Some(concat!("understudy-save-helper ", env!("CARGO_PKG_VERSION"))),
        "--help" | "-h" => Some(
            "A save helper for libxl: `xl save`, `restore`, `migrate` and `remus` run on understudy's engine with it.\n\
             It is not for the command line: set LIBXL_SAVE_HELPER to its path and use xl.",
        ),
        _ => None,
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word] = &words[..]
        && let Some(text) = about(word)
    {
        let _ = writeln!(stdout(), "{text}");
        return ExitCode::SUCCESS;
    }
    let order = match Order::parse(&words) {
        Ok(order) => order,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match order.carry_out() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(EXIT_NO_LIBXL)
        }
    }
}
