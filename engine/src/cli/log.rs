//! Logs: to standard error, filtered by `--log`.

use super::CliError;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// What is logged, and how.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub(super) struct Args {
    /// What to log, such as `debug` or `warn,understudy::link=trace` [default: info for the processes that
    /// stay, warn for the others]
    #[arg(long, global = true, value_name = "FILTER", env = "UNDERSTUDY_LOG")]
    log: Option<String>,
    /// Write each log line as a JSON object
    #[arg(long, global = true)]
    log_json: bool,
}

impl Args {
    /// Starts logging. Called once.
    pub(super) fn init(&self, daemon: bool) -> Result<(), CliError> {
        let filter = self.log.as_deref().unwrap_or(if daemon { "info" } else { "warn" });
        let filter = EnvFilter::try_new(filter)
            .map_err(|error| CliError::Usage(format!("{filter:?} is not a log filter: {error}")))?;
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        if self.log_json {
            builder.json().init()
        } else {
            builder.init()
        }
        Ok(())
    }
}
