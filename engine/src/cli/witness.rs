//! `understudy witness`: the third party that decides who may run a guest.

use super::{CliError, Exit};
use crate::console;
use crate::link::Transport;
use crate::witness::StoreError;
use crate::witness::daemon::{Config, Daemon, DaemonError};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Arguments of `witness`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Where nodes connect to
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Directory of the records; created if missing, used by one witness at a time
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Where to serve Prometheus metrics (HTTP, /metrics)
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
}

/// Runs the witness until it is told to end. The first line of output says where it listens.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let transport = Transport::PlainLoopback;
    let listen = transport.admit(args.listen).map_err(|error| CliError::Usage(error.to_string()))?;
    let config = Config { listen, state: args.state, metrics: args.metrics, transport };
    let mut daemon = Daemon::open(config).map_err(why)?;
    console::say(format_args!(
        "witness listening on {}",
        daemon.address().map_err(|error| why(error.into()))?
    ));
    daemon.run().map_err(why)?;
    Ok(Exit::Ok)
}

fn why(error: DaemonError) -> CliError {
    match &error {
        DaemonError::Store(StoreError::InUse(_)) => CliError::Refused(error.to_string()),
        DaemonError::Store(StoreError::Damaged(_)) => CliError::BadInput(error.to_string()),
        DaemonError::Listen { .. } => CliError::Usage(error.to_string()),
        DaemonError::Store(StoreError::Io { .. }) | DaemonError::Loop(_) => {
            CliError::Internal(error.to_string())
        }
    }
}
