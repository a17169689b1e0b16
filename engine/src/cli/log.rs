//! Logging: to standard error, filtered by `--log`, limited for each cause, without ever waiting.

use super::CliError;
use crate::console::{LogWriter, limit::Limit};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// The heading of options that every command has, in the help.
const HEADING: &str = "Logging";

/// The options of logging.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub(super) struct Args {
    /// What to log, such as `debug` or `warn,understudy_link=trace` [default: info for nodes and witnesses,
    /// warn for other commands]
    #[arg(long, global = true, value_name = "FILTER", env = "UNDERSTUDY_LOG", help_heading = HEADING)]
    log: Option<String>,
    /// Write each log line as a JSON object
    #[arg(long, global = true, help_heading = HEADING)]
    log_json: bool,
}

impl Args {
    /// Starts logging. Called once.
    pub(super) fn init(&self, daemon: bool) -> Result<(), CliError> {
        let filter = self.log.as_deref().unwrap_or(if daemon { "info" } else { "warn" });
        let filter = EnvFilter::try_new(filter)
            .map_err(|error| CliError::Usage(format!("{filter:?} is not a log filter: {error}")))?;
        let to_journal = is_journal();
        let lines = fmt::layer()
            .with_writer(Lines { to_journal })
            .with_ansi(is_coloured())
            // The default would report an event that cannot be formatted with a print that panics.
            .log_internal_errors(false);
        let lines = match (self.log_json, to_journal) {
            (true, _) => lines.json().boxed(),
            (false, true) => lines.without_time().boxed(),
            (false, false) => lines.boxed(),
        };
        tracing_subscriber::registry().with(filter).with(lines).with(Limit::default()).init();
        Ok(())
    }
}

/// Whether to use colours: only on terminals, unless the user has switched them off (<https://no-color.org>).
fn is_coloured() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !is_unwanted
}

/// Whether standard error is systemd's journal, which has its own time for each line: `$JOURNAL_STREAM` names the stream.
fn is_journal() -> bool {
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let (Some(said), Ok(stderr)) = (std::env::var_os("JOURNAL_STREAM"), stderr.and_then(|it| it.metadata()))
    else {
        return false;
    };
    said.to_str() == Some(&format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Makes a writer for each line.
struct Lines {
    to_journal: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { priority: None }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line {
        Line { priority: self.to_journal.then(|| priority(*about.level())) }
    }
}

/// Writes one line, for the journal with its priority in front.
struct Line {
    priority: Option<u8>,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.priority {
            Some(priority) => LogWriter.write_all(&[format!("<{priority}>").as_bytes(), line].concat())?,
            None => LogWriter.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The priority in the numbers of `syslog(3)`.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}
