//! The links of a node: at most one to each peer, whoever connected it.
//!
//! ```text
//!   peer:   Down ── retry_at ──► dialing ── Up ──────────► open ── end, error, CloseLink ──► Down
//!             └───── its hello arrives, choose: Take ─────► open
//! ```
//!
//! A link that goes up or down, and each frame about a guest, is a [`LinkEvent`] for the loop, in the order in
//! which it happened. What frames mean to a guest is not decided here.

use super::arrived::{Arrived, GuestName};
use super::line::{Line, Read, Whose};
use super::outlet::Feed;
use crate::guest::Bell;
use crate::link::handshake::{Choice, Standing, choose};
use crate::link::{Backoff, Connection, Frame, GuestId, Hello, Identity, RefuseReason, Service, Transport};
use crate::session::{NodeName, Time};
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use understudy_checkpoint::domain::Description;

/// Connections at a time, peers and those that have not said who they are.
const LINES_MAX: usize = 256;

/// What the links have to say.
#[derive(Debug)]
pub(super) enum LinkEvent {
    Up { peer: NodeName },
    Down { peer: NodeName },
    Arrived { peer: NodeName, guest: GuestName, what: Arrived },
}

#[derive(Debug)]
struct Peer {
    /// Where it listens; `None` for one that only ever connects to us.
    address: Option<SocketAddr>,
    open: Option<(Token, Identity, bool)>,
    dialing: Option<Token>,
    retry_at: Time,
    backoff: Backoff,
}

impl Peer {
    fn new(address: Option<SocketAddr>) -> Self {
        Self { address, open: None, dialing: None, retry_at: Time(0), backoff: Backoff::default() }
    }

    fn dial_at(&self) -> Option<Time> {
        let alone = self.open.is_none() && self.dialing.is_none() && self.address.is_some();
        alone.then_some(self.retry_at)
    }
}

/// All links.
#[derive(Debug)]
pub(super) struct Links {
    this: Identity,
    transport: Transport,
    registry: Registry,
    listener: TcpListener,
    listener_token: Token,
    /// Whether only peers of the configuration are let in.
    strict: bool,
    peers: BTreeMap<NodeName, Peer>,
    lines: BTreeMap<Token, Line>,
    next_token: usize,
    /// Lines whose socket may hold more.
    unread: BTreeSet<Token>,
    events: VecDeque<LinkEvent>,
    bell: Bell,
}

impl Links {
    /// Listens at `listen`; tokens from `first_token` on are the links'.
    pub(super) fn open(
        this: Identity,
        transport: Transport,
        listen: SocketAddr,
        peers: &BTreeMap<NodeName, SocketAddr>,
        registry: Registry,
        first_token: usize,
        bell: Bell,
    ) -> io::Result<Self> {
        let mut listener = TcpListener::bind(listen)?;
        let listener_token = Token(first_token);
        registry.register(&mut listener, listener_token, Interest::READABLE)?;
        let peers: BTreeMap<_, _> =
            peers.iter().map(|(name, address)| (name.clone(), Peer::new(Some(*address)))).collect();
        Ok(Self {
            this,
            transport,
            registry,
            listener,
            listener_token,
            strict: !peers.is_empty(),
            peers,
            lines: BTreeMap::new(),
            next_token: first_token + 1,
            unread: BTreeSet::new(),
            events: VecDeque::new(),
            bell,
        })
    }

    /// Where this node listens.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Peers by name, and whether the link to each is up.
    pub(super) fn peers(&self) -> impl Iterator<Item = (&NodeName, bool)> {
        self.peers.iter().map(|(name, peer)| (name, peer.open.is_some()))
    }

    pub(super) fn is_up(&self, peer: &NodeName) -> bool {
        self.line(peer).is_some()
    }

    /// A readiness event for one of the links.
    pub(super) fn ready(&mut self, token: Token, now: Time) {
        if token == self.listener_token {
            self.accept(now);
        } else if self.lines.contains_key(&token) {
            self.unread.insert(token);
        }
    }

    /// Dials who is due and closes what takes too long to say hello or goodbye.
    pub(super) fn run_timers(&mut self, now: Time) {
        let due: Vec<NodeName> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.dial_at().is_some_and(|at| at <= now))
            .map(|(name, _)| name.clone())
            .collect();
        due.into_iter().for_each(|peer| self.dial(&peer, now));
        let late: Vec<_> = self
            .lines
            .iter()
            .filter_map(|(token, line)| Some((*token, line.connection.check_timeout(now).err()?)))
            .collect();
        late.into_iter().for_each(|(token, why)| self.close(token, &why.to_string(), now));
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        let dials = self.peers.values().filter_map(Peer::dial_at);
        dials.chain(self.lines.values().filter_map(|line| line.connection.deadline())).min()
    }

    /// Whether there is something to read that a guest has room for.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.iter().any(|token| self.lines.get(token).is_some_and(|line| !line.blocked))
    }

    /// Reads from each link that has something and is not blocked, a bounded lot.
    pub(super) fn read(&mut self, now: Time) {
        for token in self.unread.iter().copied().collect::<Vec<_>>() {
            let Some(line) = self.lines.get_mut(&token).filter(|line| !line.blocked) else { continue };
            let result = line.read(&mut self.events);
            match result {
                Ok(Read::Drained) => {
                    self.unread.remove(&token);
                }
                Ok(Read::More) => {}
                Ok(Read::Hello(hello)) => self.hello(token, &hello, now),
                Ok(Read::Agreed(identity)) => self.agreed(token, identity, now),
                Ok(Read::Ended) => self.close(token, "The peer closed the link", now),
                Err(error) => self.close(token, &error.to_string(), now),
            }
        }
    }

    /// What happened, in order.
    pub(super) fn next_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Takes in nothing more from peers of which `is_full` says that a guest of theirs has enough to do.
    pub(super) fn hold_back(&mut self, is_full: impl Fn(&NodeName) -> bool) {
        for line in self.lines.values_mut() {
            if let Whose::Open(peer) = &line.whose {
                line.blocked = is_full(peer);
            }
        }
    }

    /// Whether bytes from `peer` wait to be taken in.
    pub(super) fn has_waiting(&self, peer: &NodeName) -> bool {
        let open = self.peers.get(peer).and_then(|peer| peer.open.as_ref());
        open.is_some_and(|(token, ..)| self.unread.contains(token))
    }

    /// Gives a guest its number on the link to `peer`, and a feed for its epochs.
    pub(super) fn offer(
        &mut self,
        peer: &NodeName,
        guest: &GuestName,
        description: &Description,
    ) -> Option<(GuestId, Feed)> {
        let feed = Feed::new(self.bell.clone());
        let line = self.line_mut(peer)?;
        let number = line.numbers.offer(guest.clone(), feed.clone());
        let description = Box::new(description.clone());
        self.send(peer, &Frame::GuestOffer { guest: number, name: guest, description });
        Some((number, feed))
    }

    /// The number that `peer` gave a guest it runs, on the present link.
    pub(super) fn number_of(&self, peer: &NodeName, guest: &GuestName) -> Option<GuestId> {
        self.line(peer)?.numbers.number_of(guest)
    }

    /// Puts a frame in its lane; flushed at the end of the turn. Without a link it goes nowhere.
    pub(super) fn send(&mut self, peer: &NodeName, frame: &Frame<'_>) {
        if let Some(line) = self.line_mut(peer) {
            line.push(crate::link::encode(frame));
        }
    }

    /// Ends the link to `peer`; [`LinkEvent::Down`] follows.
    pub(super) fn close_peer(&mut self, peer: &NodeName, why: &str, now: Time) {
        if let Some((token, ..)) = self.peers.get(peer).and_then(|peer| peer.open.clone()) {
            self.close(token, why, now);
        }
    }

    /// Says goodbye on every link.
    pub(super) fn say_goodbye(&mut self) {
        for line in self.lines.values_mut() {
            // The peer learns of the end by the socket's if not by this.
            let _ = line.connection.say_goodbye();
        }
    }

    /// Sends what waits, as far as sockets take it.
    pub(super) fn flush(&mut self, now: Time) {
        let mut failed = Vec::new();
        for (token, line) in &mut self.lines {
            match line.flush() {
                Ok(()) if line.connection.is_finished() => failed.push((*token, "Said goodbye".to_owned())),
                Ok(()) => {}
                Err(error) => failed.push((*token, error.to_string())),
            }
        }
        failed.into_iter().for_each(|(token, why)| self.close(token, &why, now));
    }

    fn line(&self, peer: &NodeName) -> Option<&Line> {
        let (token, ..) = self.peers.get(peer)?.open.as_ref()?;
        self.lines.get(token)
    }

    fn line_mut(&mut self, peer: &NodeName) -> Option<&mut Line> {
        let (token, ..) = self.peers.get(peer)?.open.as_ref()?;
        self.lines.get_mut(token)
    }

    fn accept(&mut self, now: Time) {
        // An error ends this round; the next connection is an event of its own.
        while let Ok((stream, remote)) = self.listener.accept() {
            if let Err(error) = self.transport.admit(remote) {
                tracing::warn!(%error, "A connection was refused");
                continue;
            }
            let connection = Connection::accepted(stream, remote, Service::Node, now);
            if let Err(error) = self.add(connection, Whose::Stranger) {
                tracing::warn!(%error, "A connection cannot be taken");
            }
        }
    }

    fn add(&mut self, mut connection: Connection, whose: Whose) -> io::Result<Token> {
        if self.lines.len() >= LINES_MAX {
            return Err(io::Error::other("there are too many connections"));
        }
        let token = Token(self.next_token);
        self.next_token += 1;
        self.registry.register(&mut connection, token, Interest::READABLE | Interest::WRITABLE)?;
        self.lines.insert(token, Line::new(connection, whose));
        self.unread.insert(token);
        Ok(token)
    }

    fn dial(&mut self, name: &NodeName, now: Time) {
        let Some(address) = self.peers.get(name).and_then(|peer| peer.address) else { return };
        let dialed = Connection::dial(address, Service::Node, self.this.clone(), now)
            .and_then(|connection| self.add(connection, Whose::Dialed(name.clone())));
        let peer = self.peers.get_mut(name).expect("just looked at");
        match dialed {
            Ok(token) => peer.dialing = Some(token),
            Err(_) => peer.retry_at = peer.backoff.failed(now),
        }
    }

    /// A stranger says who it is.
    fn hello(&mut self, token: Token, hello: &Hello, now: Time) {
        let name = &hello.from.node;
        if (self.strict && !self.peers.contains_key(name)) || *name == self.this.node {
            return self.refuse(token, RefuseReason::UnknownNode, "This node has no such peer", now);
        }
        let peer = self.peers.entry(name.clone()).or_insert_with(|| Peer::new(None));
        let standing = match (&peer.open, peer.dialing) {
            (Some((_, identity, dialed)), _) => {
                Standing::Open { instance: identity.instance, dialed: *dialed }
            }
            (None, Some(_)) => Standing::Dialing,
            (None, None) => Standing::Alone,
        };
        if choose(standing, &self.this.node, &hello.from) == Choice::Keep {
            return self.refuse(token, RefuseReason::Duplicate, "There is another link", now);
        }
        let others = [peer.open.as_ref().map(|(token, ..)| *token), peer.dialing];
        others.into_iter().flatten().for_each(|other| self.close(other, "The peer connected anew", now));
        let agreed = self.lines.get_mut(&token).map(|line| line.connection.agree(self.this.clone()));
        match agreed {
            Some(Ok(())) => self.up(token, hello.from.clone(), false),
            Some(Err(error)) => self.close(token, &error.to_string(), now),
            None => {}
        }
    }

    fn refuse(&mut self, token: Token, reason: RefuseReason, detail: &str, now: Time) {
        let Some(line) = self.lines.get_mut(&token) else { return };
        match line.connection.refuse(reason, detail) {
            Ok(()) => line.whose = Whose::Refused,
            Err(error) => self.close(token, &error.to_string(), now),
        }
    }

    /// A peer that was dialled agrees.
    fn agreed(&mut self, token: Token, identity: Identity, now: Time) {
        let Some(Whose::Dialed(name)) = self.lines.get(&token).map(|line| line.whose.clone()) else { return };
        if identity.node != name {
            let why = format!("{} answers where {name} should be", identity.node);
            return self.close(token, &why, now);
        }
        let peer = self.peers.get_mut(&name).expect("only peers are dialled");
        peer.dialing = None;
        let older = peer.open.as_ref().map(|(token, ..)| *token);
        older.into_iter().for_each(|older| self.close(older, "The peer took another link", now));
        self.up(token, identity, true);
    }

    fn up(&mut self, token: Token, identity: Identity, dialed: bool) {
        let name = identity.node.clone();
        let line = self.lines.get_mut(&token).expect("the caller has it");
        line.whose = Whose::Open(name.clone());
        let peer = self.peers.get_mut(&name).expect("the caller made sure");
        peer.backoff.succeeded();
        peer.open = Some((token, identity, dialed));
        tracing::info!(peer = %name, dialed, "Link up");
        self.events.push_back(LinkEvent::Up { peer: name });
    }

    fn close(&mut self, token: Token, why: &str, now: Time) {
        let Some(mut line) = self.lines.remove(&token) else { return };
        self.unread.remove(&token);
        // Dropping the socket deregisters as well.
        let _ = self.registry.deregister(&mut line.connection);
        match line.whose.clone() {
            Whose::Open(name) => {
                tracing::info!(peer = %name, why, "Link down");
                let peer = self.peers.get_mut(&name).expect("open links belong to peers");
                peer.open = None;
                peer.retry_at = peer.backoff.failed(now);
                self.events.push_back(LinkEvent::Down { peer: name });
            }
            Whose::Dialed(name) => {
                tracing::debug!(peer = %name, why, "Dialling failed");
                let peer = self.peers.get_mut(&name).expect("only peers are dialled");
                peer.dialing = None;
                peer.retry_at = peer.backoff.failed(now);
            }
            Whose::Stranger | Whose::Refused => tracing::debug!(why, "A connection ended before its hello"),
        }
    }
}
