//! What libxl runs instead of its own save helper, see [`understudy_xen::helper`].

use std::process::ExitCode;
use understudy_xen::helper::Order;

/// libxl's pipes broke: nobody is left to tell.
const EXIT_NO_LIBXL: u8 = 1;
/// Not called by libxl.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let order = match Order::parse(&words) {
        Ok(order) => order,
        Err(error) => {
            eprintln!("understudy-save-helper: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match order.carry_out() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("understudy-save-helper: {error}");
            ExitCode::from(EXIT_NO_LIBXL)
        }
    }
}
