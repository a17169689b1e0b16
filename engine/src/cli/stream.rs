//! `understudy stream`: read, check and cut Xen migration streams.

use super::{CliError, Exit};

/// What to do with a stream.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Show records, epochs and sizes
    Inspect,
    /// Check everything that can be checked without restoring
    Verify,
    /// Turn one committed epoch of a checkpointed stream into a plain stream
    Materialize,
}

/// Not built yet.
pub(super) fn run(command: Command) -> Result<Exit, CliError> {
    Err(CliError::Internal(format!("`stream` {command:?} is not built yet")))
}
