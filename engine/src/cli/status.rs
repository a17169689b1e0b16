//! `understudy status`: how the guests of a running node stand.

use super::{CliError, ControlArgs, Exit};

/// Arguments of `status`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    control: ControlArgs,
}

/// Asks the node and prints its answer.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    Err(CliError::Internal(format!("{:?}: this part is not built yet", args.control)))
}
