//! Controls a node in this process from outside its loop.

use super::{AddError, Node, NodeError, OrderError, ReplayStats};
use crate::control::{Status, Wish};
use crate::guest::{Committed, LoopWaker};
use crate::request_server::ClientId;
use crate::supervisor::Supervisor;
use crossbeam::channel::{Sender, bounded};
use std::net::SocketAddr;
use std::thread::{Builder, JoinHandle};
use std::time::SystemTime;
use understudy_checkpoint::domain::Source;
use understudy_session::NodeName;

/// A request of a handle to the loop.
pub(super) enum Command {
    Status(Sender<Status>),
    Wish {
        guest: String,
        wish: Wish,
        to: Sender<Result<(), OrderError>>,
    },
    Add {
        guest: String,
        peer: NodeName,
        source: Box<dyn Source>,
        to: Sender<Result<(), AddError>>,
    },
    ReplayStats {
        guest: String,
        to: Sender<Option<ReplayStats>>,
    },
    Copy {
        guest: String,
        to: Sender<Option<Committed>>,
    },
    CutLink {
        peer: NodeName,
    },
    /// The word of a thread: maintenance was switched, and since when it is on.
    Maintained {
        asker: ClientId,
        kept: Result<Option<SystemTime>, OrderError>,
    },
    /// The word of a thread: what there is to know about this host; empty if it is too long for a link.
    FactsGathered {
        facts: Vec<u8>,
    },
    Stop,
}

/// A handle to a running node. Each call waits for the loop's answer, and returns `None` or an error once the node has
/// ended.
#[derive(Debug)]
pub struct NodeHandle {
    commands: Sender<Command>,
    waker: LoopWaker,
    address: SocketAddr,
    thread: Option<JoinHandle<Result<(), NodeError>>>,
}

impl NodeHandle {
    pub(super) fn new(commands: Sender<Command>, waker: LoopWaker, address: SocketAddr) -> Self {
        Self { commands, waker, address, thread: None }
    }

    /// The first of the addresses that peers connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node's status.
    pub fn status(&self) -> Option<Status> {
        self.ask(Command::Status)
    }

    /// Begins what an operator requests.
    pub fn wish(&self, guest: &str, wish: Wish) -> Result<(), OrderError> {
        let guest = guest.to_owned();
        self.ask(|to| Command::Wish { guest, wish, to }).unwrap_or(Err(OrderError::Ended))
    }

    /// Protects a guest that has no network card here, such as a recording, towards `peer`.
    pub fn add_source_guest(
        &self,
        guest: &str,
        peer: NodeName,
        source: Box<dyn Source>,
    ) -> Option<Result<(), AddError>> {
        let guest = guest.to_owned();
        self.ask(|to| Command::Add { guest, peer, source, to })
    }

    /// What protecting a guest that runs here has cost so far.
    pub fn replay_stats(&self, guest: &str) -> Option<ReplayStats> {
        let guest = guest.to_owned();
        self.ask(|to| Command::ReplayStats { guest, to }).flatten()
    }

    /// A copy of the committed image of a guest that is held here.
    pub fn copy_committed(&self, guest: &str) -> Option<Committed> {
        let guest = guest.to_owned();
        self.ask(|to| Command::Copy { guest, to }).flatten()
    }

    /// Ends the link to a peer, as a network failure does. It is dialled again.
    pub fn cut_link(&self, peer: NodeName) {
        self.tell(Command::CutLink { peer });
    }

    /// Ends the node and waits until it has ended.
    pub fn stop(mut self) -> Result<(), NodeError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), NodeError> {
        self.tell(Command::Stop);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(NodeError::Panicked),
            None => Ok(()),
        }
    }

    fn tell(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Option<T> {
        let (to, answer) = bounded(1);
        self.tell(command(to));
        answer.recv().ok()
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        if self.thread.is_some()
            && let Err(error) = self.end()
        {
            tracing::error!(%error, "A node ended badly");
        }
    }
}

impl Node {
    /// Runs on a thread of its own until the handle ends it or is dropped.
    pub fn spawn(self, mut handle: NodeHandle) -> std::io::Result<NodeHandle> {
        handle.thread =
            Some(Builder::new().name("node".into()).spawn(move || self.run(None, Supervisor::default()))?);
        Ok(handle)
    }
}
