//! What `primary` and `secondary` share: they run the same node.

use super::{CliError, Exit};
use crate::config::bounds::HostMemory;
use crate::config::{DomainSettings, GuestSettings, NodeConfig, Settings};
use crate::descriptors::raise_limit;
use crate::node::{Node, NodeError};
use crate::signals::{Hangup, ShutdownSignal};
use std::path::PathBuf;

/// Flags of a node.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub(super) struct Args {
    /// TOML file with the same keys as the flags; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Args {
    /// Decides the node's configuration from flags, `guests`, `domains` and the file.
    pub(super) fn decide(
        self,
        guests: Vec<GuestSettings>,
        domains: Vec<DomainSettings>,
    ) -> Result<NodeConfig, CliError> {
        let file = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        let flags = Settings { guests, domains, ..self.settings };
        let config = flags.over(file).decide()?;
        if let Some(memory) = HostMemory::of_this_host() {
            config.check_memory(memory)?;
        }
        Ok(config)
    }
}

/// Runs the node until it is told to end.
pub(super) fn run(config: NodeConfig) -> Result<Exit, CliError> {
    let attempt = |source| CliError::System { attempt: "Signals cannot be watched".into(), source };
    raise_limit();
    // Before any thread: threads inherit that signals go to the loop.
    let shutdown = ShutdownSignal::install(Hangup::Ignored).map_err(attempt)?;
    let (node, _handle) = Node::open(config)?;
    node.run(Some(shutdown))?;
    Ok(Exit::Ok)
}

impl From<NodeError> for CliError {
    fn from(error: NodeError) -> Self {
        let text = error.to_string();
        match error {
            NodeError::Unusable { .. } | NodeError::Control(_) | NodeError::Guest { .. } => Self::Usage(text),
            NodeError::Hypervisor(_) => Self::Refused(text),
            NodeError::System { .. } | NodeError::Panicked => Self::Internal(text),
        }
    }
}
