//! The program that libxl runs in place of `convert-legacy-stream`, see [`understudy_xen::convert`].

// Printing panics when the reader is gone and blocks when it is slow.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use understudy_checkpoint::legacy::Report;
use understudy_xen::convert::{ABOUT, Order, Refusal};

const NAME: &str = "understudy-convert-legacy-stream";

/// The stream was not converted, or there was none.
const EXIT_NOT_CONVERTED: u8 = 1;
/// Wrong arguments.
const EXIT_USAGE: u8 = 2;

/// The system's log, and the facility and severity of what goes there: daemon, notice.
const LOG: &str = "/dev/log";
const LOG_PRIORITY: u8 = 3 << 3 | 5;

/// Says something to whoever reads. Nobody may be left to do so.
fn say(syslog: bool, what: &dyn Display) {
    let logged = syslog && log(what).is_ok();
    if !logged {
        let _ = writeln!(stderr(), "{NAME}: {what}");
    }
}

fn log(what: &dyn Display) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(LOG)?;
    let line = format!("<{LOG_PRIORITY}>{NAME}[{}]: {what}", std::process::id());
    socket.send(line.as_bytes()).map(|_| ())
}

fn tell(order: &Order, report: &Report) {
    if order.verbose {
        say(order.syslog, &format!("{}; {} checkpoints", report.head, report.checkpoints));
    }
    if report.dropped {
        say(order.syslog, &"the last checkpoint is not complete and was left out");
    }
    if report.not_looked {
        let note = "the stream does not say whether it ends here; if it is one of Remus, say --remus";
        say(order.syslog, &note);
    }
}

fn refuse(refusal: &Refusal) -> ExitCode {
    match refusal {
        Refusal::Help => {
            let _ = writeln!(stdout(), "{ABOUT}");
            ExitCode::SUCCESS
        }
        Refusal::Version => {
            let _ = writeln!(stdout(), "{NAME} {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Refusal::Missing => {
            let _ = writeln!(stderr(), "{ABOUT}");
            ExitCode::from(EXIT_NOT_CONVERTED)
        }
        Refusal::Usage(_) => {
            say(false, refusal);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let order = match Order::parse(&words) {
        Ok(order) => order,
        Err(refusal) => return refuse(&refusal),
    };
    match order.carry_out() {
        Ok(report) => {
            tell(&order, &report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(order.syslog, &error);
            ExitCode::from(EXIT_NOT_CONVERTED)
        }
    }
}
