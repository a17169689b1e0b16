//! What libxl runs instead of its own save helper, see [`understudy_xen::helper`].

// They panic where nobody reads, and wait for who reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::fmt::Display;
use std::io::{Write, stderr};
use std::process::ExitCode;
use understudy_xen::helper::Order;

/// libxl's pipes broke: nobody is left to tell.
const EXIT_NO_LIBXL: u8 = 1;
/// Not called by libxl.
const EXIT_USAGE: u8 = 2;

/// What xl prints of its helper. Nobody may be left to read it.
fn complain(error: &dyn Display) {
    let _ = writeln!(stderr(), "understudy-save-helper: {error}");
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
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
