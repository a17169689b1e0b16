//! `understudy primary`: a node that starts lab guests and protects them towards a peer.

use super::{CliError, Exit, node};
use crate::config::GuestSettings;

/// Arguments of `primary`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    node: node::Args,
    /// A lab guest to start and protect; repeatable. Keys: name, memory, mac, ip, load, peer
    #[arg(long = "guest", value_name = "KEY=VALUE,…")]
    guests: Vec<GuestSettings>,
}

/// Runs the node.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let config = args.node.decide(args.guests)?;
    if config.guests.is_empty() {
        return Err(CliError::Usage("A primary needs a guest: give --guest, or run `secondary`".into()));
    }
    node::run(config)
}
