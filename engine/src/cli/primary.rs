//! `understudy primary`: a node that protects guests towards a peer: lab guests, which it starts, or Xen's, which run.

use super::{CliError, Exit, node};
use crate::config::{DomainSettings, GuestSettings, Hypervisor};

/// Arguments of `primary`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    node: node::Args,
    /// A lab guest to start and protect; repeatable. Keys: name, memory, mac, ip, load, peer
    #[arg(long = "guest", value_name = "KEY=VALUE,…")]
    guests: Vec<GuestSettings>,
    /// A Xen guest to protect whenever it runs here; repeatable, with --hypervisor xen. Keys: name, peer,
    /// interval, find-changes
    #[arg(long = "domain", value_name = "KEY=VALUE,…")]
    domains: Vec<DomainSettings>,
}

/// Runs the node.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let config = args.node.decide(args.guests, args.domains)?;
    // Xen's guests may be named later, by `protect`.
    if config.hypervisor == Hypervisor::Lab && config.guests.is_empty() {
        return Err(CliError::Usage(
            "A primary of the lab needs a guest: give --guest, or run `secondary`".into(),
        ));
    }
    node::run(config)
}
