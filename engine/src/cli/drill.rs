//! `understudy drill`.

use super::{CliError, Exit};

/// Arguments of `drill`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

/// Not built yet.
pub(super) fn run(_args: Args) -> Result<Exit, CliError> {
    Err(CliError::Internal("`drill` is not built yet".into()))
}
