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
    let config = args.node.decide(Vec::new(), Vec::new())?;
    let names = config.guests.iter().map(|guest| &guest.name);
    if let Some(name) = names.chain(config.domains.iter().map(|domain| &domain.name)).next() {
        return Err(CliError::Usage(format!(
            "A secondary protects no guests of its own, and the configuration names {name}; run `primary`"
        )));
    }
    node::run(config)
}
