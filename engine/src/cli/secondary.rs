//! `understudy secondary`: a node that starts no guest; it holds the copies of its peers' guests.

use super::{CliError, Exit, node};

/// Arguments of `secondary`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    node: node::Args,
}

/// Runs the node.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let config = args.node.decide(Vec::new())?;
    if let Some(guest) = config.guests.first() {
        return Err(CliError::Usage(format!(
            "A secondary starts no guests, and the configuration names {}; run `primary`",
            guest.name
        )));
    }
    node::run(config)
}
