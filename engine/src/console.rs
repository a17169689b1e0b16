//! Standard output and standard error, written so that a reader can neither end nor stop this process.
//!
//! ```text
//!   log lines, say, complain, draw ─► bounded queue ─► a thread for each stream ─► write(2)
//!                                        └ full ─► counted, left out      └ error ─► counted, left out
//!   report ─► write(2) on the caller's thread: the result of a command that is then over
//! ```
//!
//! On a full disk, a closed pipe or a stopped terminal, lines are lost and counted ([`lost_lines`]), and nothing else
//! happens. [`limit`] limits how often a line may be repeated.
//!
//! Not here: the content and form of log lines (`cli/log.rs`), and files (`output_file`).

pub mod limit;
mod outlet;
mod paint;

use outlet::Outlet;
pub use paint::{Colour, paint};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

/// How long the end of a process waits for its last lines.
const FINISH_MAX: Duration = Duration::from_millis(500);

/// How long a permanent line waits for a drawn line to be cleared.
const CLEAR_MAX: Duration = Duration::from_millis(100);

static STDERR: OnceLock<Outlet> = OnceLock::new();
static STDOUT: OnceLock<Outlet> = OnceLock::new();

fn stderr() -> &'static Outlet {
    STDERR.get_or_init(|| Outlet::start("stderr", io::stderr().as_fd().try_clone_to_owned()))
}

fn stdout() -> &'static Outlet {
    STDOUT.get_or_init(|| Outlet::start("stdout", io::stdout().as_fd().try_clone_to_owned()))
}

/// Log lines that were lost because standard error could not accept them.
pub fn lost_lines() -> u64 {
    STDERR.get().map_or(0, Outlet::lost)
}

/// Prints a line of a running process to standard output.
pub fn say(line: impl std::fmt::Display) {
    stdout().put(plain(&format!("{line}\n")).into_bytes());
}

/// Prints a line for the operator to standard error, whatever `--log` says.
pub fn complain(line: impl std::fmt::Display) {
    stderr().put(plain(&format!("{line}\n")).into_bytes());
}

/// Draws text on a terminal, on standard error, without a line end.
pub fn draw(text: String) {
    stderr().put(text.into_bytes());
}

/// Clears the drawn line before something else is printed on the terminal.
pub fn clear_line() {
    draw("\r\x1b[2K".into());
    stderr().finish(Some(CLEAR_MAX));
}

/// Prints the result of a command to standard output, after everything printed before. Waits for its reader, as any
/// command does. A reader that has closed its end has seen enough; that is not an error.
pub fn report(text: &str) -> io::Result<()> {
    report_as_it_is(&plain(text))
}

/// As [`report`]; on a terminal that shows colours `colour` puts some in.
pub fn report_in_colour(text: &str, colour: impl Fn(&str) -> String) -> io::Result<()> {
    report_as_it_is(&coloured(text, colour))
}

/// Colours are put in last, so that nothing that came from elsewhere is taken for one.
fn coloured(text: &str, colour: impl Fn(&str) -> String) -> String {
    let text = plain(text);
    if paint::are_colours_shown() { colour(&text) } else { text }
}

fn report_as_it_is(text: &str) -> io::Result<()> {
    if let Some(said) = STDOUT.get() {
        said.finish(None);
    }
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

/// Prints a part of what a command goes on to say, to standard output. `false`: its reader has closed its end.
pub fn stream(text: &str) -> io::Result<bool> {
    write_through(&plain(text))
}

/// As [`stream`], in place of what the terminal shows.
pub fn redraw(text: &str, colour: impl Fn(&str) -> String) -> io::Result<bool> {
    write_through(&format!("\x1b[H\x1b[J{}", coloured(text, colour)))
}

fn write_through(text: &str) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

/// Text without control characters: names and reasons come from other hosts, and a terminal would obey such characters.
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

/// Waits a short time until everything is written.
pub fn finish() {
    [STDOUT.get(), STDERR.get()].into_iter().flatten().for_each(|outlet| outlet.finish(Some(FINISH_MAX)));
}

/// Makes panics use this module; the standard library would wait for the reader of standard error.
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

/// The writer of a subscriber's log lines. Never fails and never waits.
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
