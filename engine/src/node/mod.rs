//! A node: one event loop that owns all connections and decisions, and the threads of its guests.
//!
//! ```text
//!   listener ─┐                                      ┌─► capture ─► encode ─┐   guests that run here
//!   links ────┤                                      │                      │
//!   witness ──┼──► loop: events ─► sessions ─► outputs ─► receive           │   guests held here
//!   control ──┤     ▲      (decide)     (performed)                         │
//!   metrics ──┤     └────── reports, wake ◄──────────────────────────────────┘
//!   switch ───┘
//! ```
//!
//! One iteration of the loop is on one screen: `Node::iterate`. The loop never blocks: what could wait runs on another
//! thread behind a bounded channel. When the loop ends, for whatever reason, no output leaves any more, because only
//! the loop sends the guests' frames.

mod ask;
mod beginning;
mod beside;
mod bulletin;
mod clock;
mod context;
mod defect;
mod discovery;
#[cfg(test)]
mod documented;
mod door;
mod driver;
mod epoch_sender;
mod event_loop;
mod export;
mod fence;
mod fencing;
mod glance;
mod greet;
mod guests;
mod handle;
mod headline;
mod host_facts;
mod hosts;
mod inbound;
mod journal;
mod leave;
mod link_event;
mod links;
mod maintenance;
mod new_primary;
mod node_context;
mod numbers;
mod offers;
mod open;
mod order_error;
mod output_log;
mod peer;
mod peer_connection;
mod peer_offer;
mod primary;
mod reload;
mod replay_stats;
mod secondary;
mod spares;
mod stall;
mod status;
#[cfg(test)]
mod stories;
mod sync_rate;
mod uplink;
mod ways;
mod witness;

pub use context::{Context, Silence};
pub use epoch_sender::SendQueue;
pub use export::NOT_EXPORTED;
pub use glance::Glance;
pub use guests::Guests;
pub use handle::NodeHandle;
pub use inbound::{Credit, GuestName, GuestPackets, Inbound, Parcel};
pub use new_primary::{AddError, NewPrimary};
pub use numbers::{Numbers, Ours};
pub use order_error::OrderError;
pub use replay_stats::{ReplayStats, Totals};

use crate::config::NodeConfig;
use crate::control;
use crate::etcd::CredentialError;
use crate::guest::{Host, HostError, LoopWaker, OutputMaker, Report, RuntimeId};
use crate::metrics::Metrics;
use crate::request_server::RequestServer;
use crate::signals::ShutdownSignal;
use crate::supervisor::Supervisor;
use crate::trust::CredentialsError;
use clock::Clock;
use crossbeam::channel::{Receiver, Sender};
use discovery::Discovery;
use export::Exports;
use handle::Command;
use host_facts::Facts;
use journal::Journal;
use maintenance::Maintenance;
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token};
use node_context::NodeContext;
use open::system;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use uplink::SwitchPort;

const TIMER: Token = Token(0);
const WAKER: Token = Token(1);
const SIGNAL: Token = Token(2);
const WITNESS: Token = Token(3);
const SWITCH: Token = Token(4);
const CONTROL_FIRST: usize = 16;
const METRICS_FIRST: usize = CONTROL_FIRST + crate::request_server::SERVER_TOKENS;
const LINKS_FIRST: usize = METRICS_FIRST + crate::request_server::SERVER_TOKENS;

/// The most reports that wait for the loop. A worker waits while there is no room; the loop never waits for workers.
const REPORTS_MAX: usize = 1024;

/// The most commands of a [`NodeHandle`] that wait for the loop.
const COMMANDS_MAX: usize = 16;

/// Why a node cannot start, or ended.
#[derive(thiserror::Error, Debug)]
pub enum NodeError {
    /// The system refused something that the node needs.
    #[error("{what}: {source}")]
    System {
        /// What was attempted: the beginning of the message.
        what: String,
        source: io::Error,
    },
    /// Something that the configuration names is not available; another one may be.
    #[error("{what}: {source}")]
    Unusable {
        /// What was attempted: the beginning of the message.
        what: String,
        source: io::Error,
    },
    /// The configuration of etcd cannot be used.
    #[error("The witness cannot be asked: {0}")]
    Etcd(#[source] CredentialError),
    /// Its certificates cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The control socket cannot be made.
    #[error(transparent)]
    Control(#[from] control::SocketError),
    /// A guest of the configuration cannot be started.
    #[error("Guest {name} cannot be protected: {reason}")]
    Guest { name: String, reason: String },
    /// The hypervisor cannot be used.
    #[error("Xen cannot be used on this host: {0}")]
    Hypervisor(HostError),
    /// The node's thread panicked; no output of its guests leaves any more.
    #[error("The node's loop has ended by a panic; its log says why")]
    Panicked,
}

/// A node that is ready to run.
pub struct Node {
    config: NodeConfig,
    poll: Poll,
    events: Events,
    clock: Clock,
    waker: LoopWaker,
    reports: Receiver<(RuntimeId, Report)>,
    commands: Receiver<Command>,
    to_commands: Sender<Command>,
    maintenance: Maintenance,
    exports: Exports,
    journal: Journal,
    facts: Facts,
    cx: NodeContext,
    guests: Guests,
    discovery: Discovery,
    switch: SwitchPort,
    metrics: Metrics,
    control_server: RequestServer<UnixListener>,
    /// The control socket's file, deleted when the node ends.
    doorplate: door::Doorplate,
    metrics_server: Option<RequestServer<TcpListener>>,
    shutdown: Option<ShutdownSignal>,
    supervisor: Supervisor,
    stalls: stall::Stalls,
    /// Frames from guests to the switch; kept to reuse the memory.
    leaving: Vec<Vec<u8>>,
    stopping: bool,
}

impl Node {
    /// Opens everything that `config` asks for and starts its guests. Nothing moves before
    /// [`run`](Self::run) or [`spawn`](Self::spawn).
    pub fn open(config: NodeConfig) -> Result<(Self, NodeHandle), NodeError> {
        Self::open_with(config, hosts::configured)
    }

    /// As [`open`](Self::open), with the [`Host`] that the caller makes from the waker that it is
    /// given.
    pub fn open_on(
        config: NodeConfig,
        host: impl FnOnce(OutputMaker) -> Arc<dyn Host>,
    ) -> Result<(Self, NodeHandle), NodeError> {
        Self::open_with(config, |_, outputs| Ok((host(outputs), Discovery::none())))
    }

    /// Runs on this thread until its handle or `shutdown` ends it. `supervisor` hears how it goes.
    pub fn run(mut self, shutdown: Option<ShutdownSignal>, supervisor: Supervisor) -> Result<(), NodeError> {
        (self.shutdown, self.supervisor) = (shutdown, supervisor);
        if let Some(signal) = &mut self.shutdown {
            self.poll
                .registry()
                .register(signal, SIGNAL, Interest::READABLE)
                .map_err(system("Signals cannot be watched"))?;
        }
        let listen = self.cx.links.addresses().unwrap_or_else(|_| self.config.listen.clone());
        tracing::info!(node = %self.config.node, ?listen, "Node runs");
        self.supervisor.ready();
        while !self.stopping {
            self.iterate().map_err(system("The event loop failed"))?;
        }
        self.supervisor.stopping();
        Ok(())
    }

    /// The addresses that peers connect to.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.cx.links.addresses()
    }
}

/// However a node ends, no output of its guests leaves after that, and peers are told if possible.
impl Drop for Node {
    fn drop(&mut self) {
        self.guests.leave(&self.reports, leave::START_MAX);
        self.cx.links.say_goodbye();
    }
}
