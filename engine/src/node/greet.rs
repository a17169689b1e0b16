//! Sets up links: accepts connections, dials peers, agrees to hellos or refuses them, and decides between two processes
//! of one name.
//!
//! ```text
//!   accepted ─► Stranger ── hello ─┬─► refused: unknown, our own name, a link there already
//!                                  ├─► taken
//!                                  └─► Contending: the link is of another process of that name, which is asked
//!                                        ├─ it answers ─► refused, said on both sides
//!                                        └─ 1 s of silence ─► taken: the peer was restarted
//!                  └── 64 others are there, or descriptors are scarce ─► one is closed (`which_stranger_goes`)
//! ```

use super::links::{CONNECTIONS_MAX, Links};
use super::peer::Peer;
use super::peer_connection::{PeerConnection, TWIN_WAIT, Whose};
use crate::connection::{Connection, ConnectionError, Dialing, Stranger, which_stranger_goes};
use crate::descriptors::{is_exhausted, is_scarce};
use crate::names::check_name;
use mio::{Interest, Token};
use std::io;
use std::net::SocketAddr;
use understudy_link::handshake::{Choice, Standing, choose};
use understudy_link::{GUEST_REFUSALS_SINCE, Hello, Identity, RefuseReason, Service};
use understudy_session::{NodeName, Span, Time};

/// The most connections without a hello. One more closes one of them, so that peers and dialled connections keep room.
pub(super) const STRANGERS_MAX: usize = 64;

/// Connections accepted in one iteration of the loop: so few that each is read from before others could push it out.
const ACCEPTS_MAX: usize = STRANGERS_MAX / 4;

/// The least time between two log lines about closed strangers: anybody who reaches the port could fill the log
/// otherwise.
const STRANGER_LOG_EVERY: Span = Span::from_ms(60_000);

impl Links {
    pub(super) fn accept(&mut self, listener: usize, now: Time) {
        // An error ends this round; the next connection is an event of its own.
        for _ in 0..ACCEPTS_MAX {
            let (stream, remote) = match self.listeners[listener].1.accept() {
                Ok(accepted) => accepted,
                Err(error) if is_exhausted(&error) && self.send_a_stranger_away() => continue,
                Err(_) => return,
            };
            if let Err(error) = self.security.admit(remote) {
                self.sent_away(&remote, &error, now);
                continue;
            }
            let is_full = self.strangers().count() >= STRANGERS_MAX;
            if is_full {
                self.send_a_stranger_away();
            }
            while is_scarce(&stream) && self.send_a_stranger_away() {}
            let connection = Connection::accepted(stream, remote, Service::Node, &self.security, now);
            if let Err(error) = self.add(connection, Whose::Stranger, now) {
                self.sent_away(&remote, &error, now);
            }
        }
        // There may be more, and no new event would tell.
        let (token, listener) = &mut self.listeners[listener];
        let _ = self.registry.reregister(listener, *token, Interest::READABLE);
    }

    /// Connections without a hello.
    fn strangers(&self) -> impl Iterator<Item = Stranger<Token>> {
        let is_one = |link: &PeerConnection| {
            !matches!(link.whose, Whose::Dialed(_) | Whose::Open(_) | Whose::Spare(_))
        };
        let strangers = self.connections.iter().filter(move |(_, link)| is_one(link));
        strangers.map(|(token, link)| link.connection.as_stranger(*token))
    }

    /// Closes the oldest connection without a hello; one that sends its hello at once is not among them. `false` if
    /// there is none.
    fn send_a_stranger_away(&mut self) -> bool {
        let Some(one) = which_stranger_goes(self.strangers()) else { return false };
        self.unread.remove(&one);
        if let Some(mut link) = self.connections.remove(&one) {
            // Dropping the socket deregisters as well.
            let _ = self.registry.deregister(&mut link.connection);
        }
        true
    }

    /// Logs that a stranger was not let in; seldom, since it may come again at once.
    pub(super) fn sent_away(&mut self, remote: &SocketAddr, why: &dyn std::fmt::Display, now: Time) {
        if self.stranger_logged_at.is_none_or(|at| now - at >= STRANGER_LOG_EVERY) {
            self.stranger_logged_at = Some(now);
            tracing::warn!(%remote, %why, "A connection was sent away (further ones are not logged for a minute)");
        }
    }

    pub(super) fn add(&mut self, mut connection: Connection, whose: Whose, now: Time) -> io::Result<Token> {
        if self.connections.len() >= CONNECTIONS_MAX {
            return Err(io::Error::other("there are too many connections"));
        }
        let token = Token(self.next_token);
        self.next_token += 1;
        self.registry.register(&mut connection, token, Interest::READABLE | Interest::WRITABLE)?;
        self.connections.insert(token, PeerConnection::new(connection, whose, now));
        self.unread.insert(token);
        Ok(token)
    }

    /// Dials a peer on each way that is due.
    pub(super) fn dial(&mut self, name: &NodeName, now: Time) {
        while let Some((way, to)) = self.peers.get(name).and_then(|peer| peer.ways.due(now)) {
            let (peer, this) = (name.clone(), self.this.clone());
            let dialing = Dialing { peer, to, service: Service::Node, this };
            let dialed: Result<_, ConnectionError> = Connection::dial(dialing, &self.security, now)
                .and_then(|connection| Ok(self.add(connection, Whose::Dialed(name.clone()), now)?));
            let peer = self.peers.get_mut(name).expect("just looked at");
            match dialed {
                Ok(token) => peer.ways.dialed(way, token),
                Err(error) => peer.not_dialed(way, &error, now),
            }
        }
    }

    /// Of the connections that are being made to one peer, the first at whose end the peer is goes on.
    pub(super) fn decide_races(&mut self, now: Time) {
        let racing: Vec<_> = self.peers.values().flat_map(|peer| peer.ways.racing()).collect();
        for token in racing {
            let Some(link) = self.connections.get_mut(&token) else { continue };
            let Whose::Dialed(name) = link.whose.clone() else { continue };
            match link.connection.is_there() {
                Ok(false) => {}
                Ok(true) => self.reached(&name, token, now),
                Err(error) => self.close(token, error, now),
            }
        }
    }

    fn reached(&mut self, name: &NodeName, token: Token, now: Time) {
        let Some(peer) = self.peers.get_mut(name).filter(|peer| !peer.ways.has_reached()) else { return };
        peer.ways.reached(token);
        if let Some(Err(error)) = self.connections.get_mut(&token).map(|link| link.connection.proceed()) {
            return self.close(token, error, now);
        }
        let Some(peer) = self.peers.get(name) else { return };
        let others: Vec<_> = peer.ways.tokens().filter(|other| *other != token).collect();
        others
            .into_iter()
            .for_each(|other| self.end(other, "Another address of the peer was there first", None, now));
    }

    /// A stranger has sent its hello.
    pub(super) fn hello(&mut self, token: Token, hello: Hello, now: Time) {
        let name = hello.from.node.clone();
        if let Some(why) = self.objection(&name) {
            return self.refuse(token, RefuseReason::UnknownNode, &why, now);
        }
        if hello.service == Service::Spare {
            return self.spare_hello(token, &hello.from, now);
        }
        let peer = self.peers.entry(name.clone()).or_insert_with(|| Peer::new(name, Vec::new()));
        let standing = match (&peer.open, peer.ways.has_reached()) {
            (Some(open), _) if open.identity.instance != hello.from.instance => {
                let older = open.token;
                return self.contend(token, older, hello, now);
            }
            (Some(open), _) => Standing::Open { instance: open.identity.instance, dialed: open.dialed },
            (None, true) => Standing::Dialing,
            (None, false) => Standing::Alone,
        };
        if choose(standing, &self.this.node, &hello.from) == Choice::Keep {
            return self.refuse(token, RefuseReason::Duplicate, "There is another link", now);
        }
        self.take(token, hello.from, now);
    }

    /// Why a node that sent a hello gets no link here.
    fn objection(&self, name: &NodeName) -> Option<String> {
        let this = &self.this.node;
        if name == this {
            return Some(format!("This node is called {this} itself; give each node a name of its own"));
        }
        if let Err(error) = check_name(&name.0) {
            return Some(error.to_string());
        }
        let is_unknown = self.strict && !self.peers.contains_key(name);
        is_unknown.then(|| format!("Node {this} has no peer {name}; name it there with --peer"))
    }

    /// A second process claims to be the peer: the one that has the link is asked first.
    fn contend(&mut self, token: Token, older: Token, hello: Hello, now: Time) {
        if let Some(link) = self.connections.get_mut(&older) {
            link.ping(now);
        }
        if let Some(link) = self.connections.get_mut(&token) {
            link.whose = Whose::Contending { hello, since: now };
        }
    }

    /// Decides between two processes of one name, once the first has answered or its time is over.
    pub(super) fn decide_contentions(&mut self, now: Time) {
        let contending: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(token, link)| match &link.whose {
                Whose::Contending { hello, since } => Some((*token, hello.clone(), *since)),
                _ => None,
            })
            .collect();
        for (token, hello, since) in contending {
            let name = &hello.from.node;
            let first = self.link(name);
            let answered = first.is_some_and(|link| match link.has_windows() {
                true => link.ponged_at.is_some_and(|at| at > since),
                false => link.heard_at > since,
            });
            if answered {
                self.refuse_twin(token, &hello, now);
            } else if first.is_none() || since + TWIN_WAIT <= now {
                self.take(token, hello.from, now);
            }
        }
    }

    fn refuse_twin(&mut self, token: Token, hello: &Hello, now: Time) {
        let name = &hello.from.node;
        let remote = self.connections.get(&token).map(|link| link.connection.remote());
        if let (Some(peer), Some(remote)) = (self.peers.get_mut(name), remote) {
            peer.has_twin(remote, now);
        }
        let why = format!(
            "Another process called {name} is connected to {} and answers; give each node a name of its own",
            self.this.node
        );
        let knows_reason = hello.versions.1 >= GUEST_REFUSALS_SINCE;
        let reason = if knows_reason { RefuseReason::NameInUse } else { RefuseReason::Duplicate };
        self.refuse(token, reason, &why, now);
    }

    /// Agrees to a hello; any other connection to this peer ends.
    fn take(&mut self, token: Token, identity: Identity, now: Time) {
        let peer = self.peers.get(&identity.node).expect("the caller made sure");
        let others: Vec<_> =
            peer.open.as_ref().map(|open| open.token).into_iter().chain(peer.ways.tokens()).collect();
        others.into_iter().for_each(|other| self.end(other, "The peer connected anew", None, now));
        let agreed = self.connections.get_mut(&token).map(|link| link.connection.agree(self.this.clone()));
        match agreed {
            Some(Ok(())) => self.up(token, identity, false, now),
            Some(Err(error)) => self.close(token, error, now),
            None => {}
        }
    }

    pub(super) fn refuse(&mut self, token: Token, reason: RefuseReason, detail: &str, now: Time) {
        let Some(link) = self.connections.get_mut(&token) else { return };
        let remote = link.connection.remote();
        match link.connection.refuse(reason, detail) {
            Ok(()) => link.whose = Whose::Refused,
            Err(error) => self.close(token, error, now),
        }
        if reason == RefuseReason::UnknownNode {
            self.sent_away(&remote, &detail, now);
        }
    }

    /// A dialled peer has agreed.
    pub(super) fn agreed(&mut self, token: Token, identity: Identity, now: Time) {
        let Some(link) = self.connections.get_mut(&token) else { return };
        let name = match link.whose.clone() {
            Whose::Dialed(name) => name,
            Whose::Spare(name) => return self.spare_agreed(token, &name, &identity, now),
            _ => return,
        };
        let peer = self.peers.get_mut(&name).expect("only peers are dialled");
        let open = peer.open.as_ref();
        let twin = open.is_some_and(|open| open.identity.instance != identity.instance);
        if identity.node != name || twin {
            let why = match twin {
                true => format!("another process called {name} has the link already"),
                false => format!("node {} answers where {name} should be; check the address", identity.node),
            };
            peer.misdirected(token, why.clone(), now);
            return self.refuse(token, RefuseReason::UnknownNode, &why, now);
        }
        let older = peer.open.as_ref().map(|open| open.token);
        older.into_iter().for_each(|older| self.end(older, "The peer took another link", None, now));
        self.up(token, identity, true, now);
    }
}
