//! Which connections are accepted, and which stay when there is no room for all.
//!
//! ```text
//!   256 connections │ 64 have not said hello: one more sends the oldest away
//!                   │ 192 are nodes:          one more sends away whom records name last, or not at all
//! ```
//!
//! On a plain port anybody may claim any name, so a stranger can use many. A node named by older records takes
//! precedence over one named only by newer records: the oldest names are the least likely to be made up.
//!
//! Not here: authentication. On a plain port a stranger may still claim a known node's name (see
//! [`twins`](super::twins)).

use super::{Client, Daemon, LISTENER};
use crate::connection::{Connection, ConnectionError, which_stranger_goes};
use crate::descriptors::{is_exhausted, is_scarce};
use crate::names::check_name;
use mio::{Interest, Token};
use std::collections::BTreeMap;
use understudy_link::{Hello, Identity, RefuseReason, Service};
use understudy_session::NodeName;

/// The most connections without a hello. One more closes one of them, so that nodes keep room.
pub(in crate::witness) const STRANGERS_MAX: usize = 64;

/// Connections accepted in one iteration of the loop: so few that each is read from before others could push it out.
const ACCEPTS_MAX: usize = STRANGERS_MAX / 4;

/// The most connections of nodes.
pub(in crate::witness) const NODES_MAX: usize = 192;

/// The rank of a node that no record names.
const UNKNOWN: u64 = u64::MAX;

/// When records first named each node. Computed again when needed after a record has changed.
#[derive(Default, Debug)]
pub(in crate::witness) struct Ranks(Option<BTreeMap<NodeName, u64>>);

impl Ranks {
    /// A record has changed.
    pub(in crate::witness) fn are_old(&mut self) {
        self.0 = None;
    }
}

/// The connection that is closed for a newcomer: among nodes that records named later than it, or never, the one named
/// last; among equals, the one connected first. `connected` is in the order of connecting.
fn who_goes<'a>(
    ranks: &BTreeMap<NodeName, u64>,
    connected: impl Iterator<Item = (usize, &'a NodeName)>,
    newcomer: &NodeName,
) -> Option<usize> {
    let rank = |node: &NodeName| ranks.get(node).copied().unwrap_or(UNKNOWN);
    let (id, last) = connected
        .map(|(id, node)| (id, rank(node)))
        .reduce(|last, next| if next.1 > last.1 { next } else { last })?;
    (last > rank(newcomer) || last == UNKNOWN).then_some(id)
}

impl Daemon {
    /// Accepts connections.
    pub(in crate::witness) fn let_in(&mut self) {
        // An error ends this round: the next connection is an event of its own.
        for _ in 0..ACCEPTS_MAX {
            let (stream, remote) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if is_exhausted(&error) && self.send_a_stranger_away() => continue,
                Err(_) => return,
            };
            if let Err(error) = self.security.admit(remote) {
                tracing::warn!(%error, "Connection not taken");
                continue;
            }
            if self.clients.values().filter(|client| client.node.is_none()).count() >= STRANGERS_MAX {
                self.send_a_stranger_away();
            }
            while is_scarce(&stream) && self.send_a_stranger_away() {}
            let mut connection =
                Connection::accepted(stream, remote, Service::Witness, &self.security, self.now());
            let token = self.next_client;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(&mut connection, Token(token), interest) {
                tracing::warn!(%error, "Connection not taken");
                continue;
            }
            self.next_client += 1;
            self.clients.insert(token, Client { connection, node: None, heard_at: self.now() });
        }
        // There may be more, and no new event would tell.
        let _ = self.poll.registry().reregister(&mut self.listener, LISTENER, Interest::READABLE);
    }

    /// Closes the oldest connection without a hello; one that sends its hello at once is not among them. `false` if
    /// there is none.
    fn send_a_stranger_away(&mut self) -> bool {
        let strangers = self.clients.iter().filter(|(_, client)| client.node.is_none());
        let one = which_stranger_goes(strangers.map(|(id, client)| client.connection.as_stranger(*id)));
        one.into_iter().for_each(|id| self.close(id, None));
        one.is_some()
    }

    /// Answers a hello.
    pub(in crate::witness) fn greet(&mut self, id: usize, hello: Hello) -> Result<(), ConnectionError> {
        let from = &hello.from;
        if let Err(error) = check_name(&from.node.0) {
            return self.connection(id).refuse(RefuseReason::UnknownNode, &error.to_string());
        }
        let is_twin = |known: &Identity| known.node == from.node && known.instance != from.instance;
        if self.clients.values().any(|client| client.node.as_ref().is_some_and(is_twin)) {
            self.twins.wait(id, hello, self.now());
            return Ok(());
        }
        self.agree(id, hello.from)
    }

    /// Agrees to a node's hello. Its earlier connection, if any, ends.
    pub(in crate::witness) fn agree(&mut self, id: usize, from: Identity) -> Result<(), ConnectionError> {
        if let Some(former) = self.client_of(&from.node) {
            tracing::info!(node = %from.node, "Node connects again");
            self.close(former, None);
        }
        if !self.make_room(&from.node) {
            let why = format!(
                "This witness has {NODES_MAX} nodes already, all of them longer known to it than {}; see by its log who they \
                 are",
                from.node
            );
            return self.connection(id).refuse(RefuseReason::Full, &why);
        }
        let this = self.this.clone();
        self.connection(id).agree(this)?;
        tracing::info!(node = %from.node, "Node connected");
        self.clients.get_mut(&id).expect("a client being served").node = Some(from);
        Ok(())
    }

    /// Makes room for a node that has said hello; `false` if all connected nodes take precedence over it.
    fn make_room(&mut self, newcomer: &NodeName) -> bool {
        if self.nodes().count() < NODES_MAX {
            return true;
        }
        let ranks = self.ranks.0.take().unwrap_or_else(|| self.session.known_nodes());
        let goes = who_goes(&ranks, self.nodes(), newcomer);
        self.ranks.0 = Some(ranks);
        let Some(id) = goes else { return false };
        tracing::warn!(
            %newcomer,
            "There are {NODES_MAX} nodes already; one that records name last, or not at all, is sent away"
        );
        self.close(id, None);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_records_name_first_stays() {
        let names = ["a", "b", "x1", "x2", "x3"].map(|name| NodeName(name.into()));
        let [a, b, x1, x2, x3] = &names;
        let ranks = BTreeMap::from([(a.clone(), 0), (b.clone(), 7)]);
        let goes = |connected: &[&NodeName], newcomer| {
            who_goes(&ranks, connected.iter().copied().enumerate(), newcomer)
        };
        assert_eq!(goes(&[a, x1, x2, b], a), Some(1), "the first of those that nobody knows");
        assert_eq!(goes(&[a, x1, x2, b], x3), Some(1));
        assert_eq!(goes(&[b], a), Some(0), "it is known since later");
        assert_eq!(goes(&[a], b), None);
        assert_eq!(goes(&[a, b], x1), None);
        assert_eq!(goes(&[a], a), None);
    }
}
