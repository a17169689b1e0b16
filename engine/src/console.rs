//! Standard output and standard error, written so that whoever reads them can neither end nor stop this process.
//!
//! ```text
//!   log lines, say, complain, draw ─► bounded queue ─► a thread for each stream ─► write(2)
//!                                        └ full ─► counted, left out      └ error ─► counted, left out
//!   report ─► write(2) on the caller's thread: the result of a command that is then over
//! ```
//!
//! A disk that is full, a pipe that was closed, a terminal that was stopped: lines are lost and counted
//! ([`lost_lines`]), and nothing else happens. Limits on how often one line may be said are in [`limit`].
//!
//! Not here: what is logged and in which form (`cli/log.rs`), and files (`whole_file`).

pub mod limit;
mod outlet;

use outlet::Outlet;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

/// How long the end of a process waits for its last lines to be written.
const FINISH_MAX: Duration = Duration::from_millis(500);

/// How long a line that stays waits for the one that was drawn to be gone.
const CLEAR_MAX: Duration = Duration::from_millis(100);

static STDERR: OnceLock<Outlet> = OnceLock::new();
static STDOUT: OnceLock<Outlet> = OnceLock::new();

fn stderr() -> &'static Outlet {
    STDERR.get_or_init(|| Outlet::start("stderr", io::stderr().as_fd().try_clone_to_owned()))
}

fn stdout() -> &'static Outlet {
    STDOUT.get_or_init(|| Outlet::start("stdout", io::stdout().as_fd().try_clone_to_owned()))
}

/// Log lines that were lost because standard error could not take them.
pub fn lost_lines() -> u64 {
    STDERR.get().map_or(0, Outlet::lost)
}

/// A line of a process that goes on, on standard output.
pub fn say(line: impl std::fmt::Display) {
    stdout().put(plain(&format!("{line}\n")).into_bytes());
}

/// A line for the operator, on standard error, whatever `--log` says.
pub fn complain(line: impl std::fmt::Display) {
    stderr().put(plain(&format!("{line}\n")).into_bytes());
}

/// Text for a terminal, on standard error, without a line's end.
pub fn draw(text: String) {
    stderr().put(text.into_bytes());
}

/// Empties the line that was drawn, before something else is said on that terminal.
pub fn clear_line() {
    draw("\r\x1b[2K".into());
    stderr().finish(Some(CLEAR_MAX));
}

/// The result of a command, on standard output, behind all that was said before. Waits for its reader as any
/// command does. A reader that has closed its end has seen enough: that is no error.
pub fn report(text: &str) -> io::Result<()> {
    if let Some(said) = STDOUT.get() {
        said.finish(None);
    }
    let text = plain(text);
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| match text.ends_with('\n') {
        true => Ok(()),
        false => stdout.write_all(b"\n"),
    });
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Text as a terminal may be shown it: names and reasons come from other hosts, and may hold what a terminal obeys.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => plain.push(letter),
            _ if letter.is_control() => plain.extend(letter.escape_default()),
            _ => plain.push(letter),
        }
    }
    plain
}

/// Waits until everything was written, but not long.
pub fn finish() {
    [STDOUT.get(), STDERR.get()].into_iter().flatten().for_each(|outlet| outlet.finish(Some(FINISH_MAX)));
}

/// Has panics told by this module: the standard library's way waits for whoever reads standard error.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("(no name)");
        let trace = std::backtrace::Backtrace::capture();
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        complain(format_args!(
            "understudy: thread {name}: {panic}\n  this is a defect of understudy; please report it{trace}"
        ));
    }));
}

/// Where a subscriber writes log lines. Never fails and never waits.
#[derive(Clone, Copy, Default, Debug)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr().put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        assert_eq!(plain("g1: \x1b[2J\u{9b}2J\r\ttwo µs\n"), "g1: \\u{1b}[2J\\u{9b}2J\\r\ttwo µs\n");
    }
}
