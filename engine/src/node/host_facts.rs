//! Facts of hosts for `preflight`, over links: a peer asks for those of this host, and this node asks a peer for those of its host.
//!
//! ```text
//!   operator here                this node                      the peer
//!   facts_wanted ──────────────► FactsWanted ─────────────────► thread: gather
//!   facts (again and again) ◄─── kept, the last of each peer ◄─ Facts
//! ```
//!
//! Gathering reads, and takes long (Xen's tools, the witness): it is a thread's work, once for all who ask meanwhile. Not here: what the
//! facts are, and what follows from them ([`crate::preflight`]).

use super::Node;
use super::handle::Command;
use super::order_error::OrderError;
use crate::control::Response;
use crate::preflight::gather;
use std::collections::{BTreeMap, BTreeSet};
use std::thread::Builder;
use understudy_link::{FACTS_BYTES_MAX, LinkFrame, SPARES_SINCE};
use understudy_session::NodeName;

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Peers that have asked; while there are any, a thread gathers.
    asking: BTreeSet<NodeName>,
    /// What peers have answered since they were asked; `None` before they have.
    told: BTreeMap<NodeName, Option<Vec<u8>>>,
}

impl Facts {
    /// A peer has answered. What nobody has asked for is dropped.
    pub(super) fn arrived(&mut self, peer: NodeName, facts: Vec<u8>) {
        if let Some(told) = self.told.get_mut(&peer) {
            *told = Some(facts);
        }
    }

    /// What a peer has answered.
    pub(super) fn of(&self, peer: &str) -> Response {
        match self.told.get(&NodeName(peer.to_owned())) {
            Some(Some(facts)) => Response::Facts { facts: String::from_utf8_lossy(facts).into_owned() },
            Some(None) => Response::Accepted,
            None => Response::Refused { reason: format!("{peer} was not asked") },
        }
    }
}

impl Node {
    /// Asks a peer for the facts of its host.
    pub(super) fn ask_facts(&mut self, peer: &str) -> Result<(), OrderError> {
        let name = NodeName(peer.to_owned());
        match self.cx.links.version(&name) {
            None => return Err(OrderError::NoLink(name)),
            Some(version) if version < SPARES_SINCE => return Err(OrderError::TellsNoFacts(name)),
            Some(_) => {}
        }
        self.cx.links.send(&name, &LinkFrame::FactsWanted.into());
        self.facts.told.insert(name, None);
        Ok(())
    }

    /// A peer asks for the facts of this host.
    pub(super) fn begin_facts(&mut self, peer: NodeName) {
        let gathers = !self.facts.asking.is_empty();
        if !self.facts.asking.insert(peer) || gathers {
            return;
        }
        let (to, waker) = (self.to_commands.clone(), self.waker.clone());
        let work = move || {
            let facts = serde_json::to_vec(&gather::host()).unwrap_or_default();
            let facts = if facts.len() > FACTS_BYTES_MAX { Vec::new() } else { facts };
            // A node that has ended needs no answer.
            if to.send(Command::FactsGathered { facts }).is_ok() {
                waker.wake();
            }
        };
        if Builder::new().name("host-facts".into()).spawn(work).is_err() {
            self.tell_facts(&[]);
        }
    }

    /// The thread has gathered them. A peer whose link has ended meanwhile asks again.
    pub(super) fn tell_facts(&mut self, facts: &[u8]) {
        for peer in std::mem::take(&mut self.facts.asking) {
            self.cx.links.send(&peer, &LinkFrame::Facts(facts.to_vec()).into());
        }
    }
}
