//! Logging: to standard error, filtered by `--log`, limited for each cause, without ever waiting.

use super::CliError;
use crate::console::{LogWriter, limit::Limit};
use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// The heading of options that every command has, in the help.
const HEADING: &str = "Logging";

/// The options of logging.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub(super) struct Args {
    /// What to log, such as `debug` or `warn,understudy_link=trace` [default: info for the processes that
    /// stay, warn for the others]
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
        let lines = fmt::layer()
            .with_writer(|| LogWriter)
            .with_ansi(is_coloured())
            // An event that cannot be formatted would be told by a print that panics.
            .log_internal_errors(false);
        let lines = if self.log_json { lines.json().boxed() } else { lines.boxed() };
        tracing_subscriber::registry().with(filter).with(lines).with(Limit::default()).init();
        Ok(())
    }
}

/// Whether to use colours: only on terminals, unless the user has switched them off (<https://no-color.org>).
fn is_coloured() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !is_unwanted
}
