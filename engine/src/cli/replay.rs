//! `understudy replay`.

use super::{CliError, Exit};

/// Arguments of `replay`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

/// Not built yet.
pub(super) fn run(_args: Args) -> Result<Exit, CliError> {
    Err(CliError::Internal("`replay` is not built yet".into()))
}
