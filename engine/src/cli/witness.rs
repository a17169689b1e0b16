//! `understudy witness`: the third party that decides who may run a guest.

use super::{CliError, Exit};
use crate::link::Transport;
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

/// Runs the witness until it is told to end.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let listen =
        Transport::PlainLoopback.admit(args.listen).map_err(|error| CliError::Usage(error.to_string()))?;
    Err(CliError::Internal(format!("{listen} {:?} {:?}: not built yet", args.state, args.metrics)))
}
