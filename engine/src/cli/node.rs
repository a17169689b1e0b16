//! `understudy node`: the engine of one host. It starts or finds the guests that it is told of and protects them, holds the
//! copies of its peers' guests, and takes over.
//!
//! Until the next version `understudy primary` and `understudy secondary` start it as well, and say what to write instead.

use super::{CliError, Exit, warn_of_former_flags};
use crate::config::bounds::HostMemory;
use crate::config::{GuestConfigs, NodeConfig, Settings};
use crate::descriptors::raise_limit;
use crate::node::{Node, NodeError};
use crate::signals::{Hangup, ShutdownSignal};
use crate::supervisor::Supervisor;
use std::path::PathBuf;

/// Arguments of `node`.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub(super) struct Args {
    /// TOML file with the same keys as the flags; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Args {
    /// Decides the node's configuration from the flags and the file.
    fn decide(self) -> Result<NodeConfig, CliError> {
        warn_of_former_flags();
        let file = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        let config = self.settings.over(file).decide()?;
        if let Some(memory) = HostMemory::of_this_host() {
            config.check_memory(memory)?;
        }
        Ok(config)
    }
}

/// Runs the node until it is told to end.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    run_decided(args.decide()?)
}

fn run_decided(config: NodeConfig) -> Result<Exit, CliError> {
    let attempt = |source| CliError::System { attempt: "Signals cannot be watched".into(), source };
    raise_limit();
    // Before any thread: threads inherit that signals go to the loop.
    let shutdown = ShutdownSignal::install(Hangup::Reloads).map_err(attempt)?;
    let (node, _handle) = Node::open(config)?;
    node.run(Some(shutdown), Supervisor::of_this_process())?;
    Ok(Exit::Ok)
}

/// A command that `node` was called by, and what it refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Former {
    /// A node that has guests of its own from the beginning.
    Primary,
    /// A node that has none.
    Secondary,
}

impl Former {
    fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }

    fn check(self, config: &NodeConfig) -> Result<(), CliError> {
        match (self, config.guests.first_name()) {
            // Xen's guests may be named later, by `protect`.
            (Self::Primary, None) if matches!(config.guests, GuestConfigs::Lab(_)) => Err(CliError::Usage(
                "A primary of the lab needs a guest: give --guest, or run `understudy node`".into(),
            )),
            (Self::Secondary, Some(name)) => Err(CliError::Usage(format!(
                "A secondary protects no guests of its own, and the configuration names {name}; run `understudy node`"
            ))),
            _ => Ok(()),
        }
    }
}

/// Runs the node as it was started before, and says how it is started now.
pub(super) fn run_former(former: Former, args: Args) -> Result<Exit, CliError> {
    let name = former.name();
    tracing::warn!(
        "`understudy {name}` is now `understudy node`, with the same flags; the next version does not know `{name}`"
    );
    let config = args.decide()?;
    former.check(&config)?;
    run_decided(config)
}

impl From<NodeError> for CliError {
    fn from(error: NodeError) -> Self {
        let text = error.to_string();
        match error {
            NodeError::Unusable { .. }
            | NodeError::Etcd(_)
            | NodeError::Credentials(_)
            | NodeError::Control(_)
            | NodeError::Guest { .. } => Self::Usage(text),
            NodeError::Hypervisor(_) => Self::Refused(text),
            NodeError::System { .. } | NodeError::Panicked => Self::Internal(text),
        }
    }
}
