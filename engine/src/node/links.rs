//! The links of a node: at most one to each peer, whichever end dialled; and what stands beside each of them.
//!
//! ```text
//!   peer:   Down ── dialled ─► the first way that is there ── Up ──────────► open ── end, error, silence ──► Down
//!             └───── its hello arrives, choose: Take ─────► open
//!                    of another process of that name: the open link is asked first, and stays if it answers
//! ```
//!
//! Each link that goes up or down, and each frame about a guest, becomes a [`LinkEvent`] for the loop, in the order in
//! which it happened. Not here: what frames mean to a guest.

use super::context::Silence;
use super::epoch_sender::SendQueue;
use super::inbound::GuestName;
use super::link_event::LinkEvent;
use super::peer::{Peer, PeerHealth, needs_a_person};
use super::peer_connection::{PeerConnection, Read, TWIN_WAIT, Whose};
use crate::config::NodeConfig;
use crate::connection::{ConnectionError, Security, TlsError};
use crate::control::Bulletin;
use crate::guest::LoopWaker;
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_link::{
    Frame, GUEST_REFUSALS_SINCE, GuestFrame, GuestId, Identity, Lane, LinkError, LinkFrame,
};
use understudy_session::{NodeName, Span, Time};

/// The most connections, of peers and without a hello together.
pub(super) const CONNECTIONS_MAX: usize = 256;

/// All links.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) this: Identity,
    pub(super) security: Security,
    pub(super) registry: Registry,
    /// At least one.
    pub(super) listeners: Vec<(Token, TcpListener)>,
    /// Whether only peers in the configuration may connect.
    pub(super) strict: bool,
    pub(super) peers: BTreeMap<NodeName, Peer>,
    pub(super) connections: BTreeMap<Token, PeerConnection>,
    pub(super) next_token: usize,
    /// Connections whose socket may have more to read.
    pub(super) unread: BTreeSet<Token>,
    pub(super) events: VecDeque<LinkEvent>,
    /// As in the sessions' settings: a peer counts as lost after a silence this long.
    pub(super) silence_max: Span,
    /// How often a peer is pinged beside its link.
    pub(super) spare_ping_every: Span,
    pub(super) stranger_logged_at: Option<Time>,
    /// A node has joined by an invitation, and its certificate is now among the trusted ones.
    joined: bool,
    pub(super) waker: LoopWaker,
}

impl Links {
    /// Listens where `config` says; tokens from `first_token` on belong to the links.
    pub(super) fn open(
        config: &NodeConfig,
        this: Identity,
        security: Security,
        registry: Registry,
        first_token: usize,
        waker: LoopWaker,
    ) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for (number, address) in config.listen.iter().enumerate() {
            let mut listener = TcpListener::bind(*address)?;
            let token = Token(first_token + number);
            registry.register(&mut listener, token, Interest::READABLE)?;
            listeners.push((token, listener));
        }
        let peers: BTreeMap<_, _> = config
            .peers
            .iter()
            .map(|(name, at)| (name.clone(), Peer::new(name.clone(), at.clone())))
            .collect();
        Ok(Self {
            this,
            security,
            registry,
            next_token: first_token + listeners.len(),
            listeners,
            strict: !peers.is_empty(),
            peers,
            connections: BTreeMap::new(),
            unread: BTreeSet::new(),
            events: VecDeque::new(),
            silence_max: config.timing.silence_max,
            spare_ping_every: Span(config.timing.silence_max.min(config.timing.takeover_grace).0 / 3),
            stranger_logged_at: None,
            joined: false,
            waker,
        })
    }

    /// The addresses that this node listens on.
    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(|(_, listener)| listener.local_addr()).collect()
    }

    /// Peers by name, with the state of each link.
    pub(super) fn peers(&self, now: Time) -> impl Iterator<Item = (&NodeName, PeerHealth)> {
        self.peers.iter().map(move |(name, peer)| (name, peer.health(now)))
    }

    /// Whether the link to each peer is up.
    pub(super) fn ups(&self) -> impl Iterator<Item = (&NodeName, bool)> {
        self.peers.iter().map(|(name, peer)| (name, peer.open.is_some()))
    }

    /// The addresses of both ends of the link to `peer`, the own one first.
    pub(super) fn path(&self, peer: &NodeName) -> Option<(IpAddr, IpAddr)> {
        let connection = &self.link(peer)?.connection;
        Some((connection.local()?, connection.remote().ip()))
    }

    pub(super) fn is_up(&self, peer: &NodeName) -> bool {
        self.link(peer).is_some()
    }

    /// The version of the link to `peer`.
    pub(super) fn version(&self, peer: &NodeName) -> Option<u16> {
        self.link(peer).map(|link| link.connection.version())
    }

    /// A readiness event for one of the links.
    pub(super) fn ready(&mut self, token: Token, has_ended: bool, now: Time) {
        if let Some(number) = self.listeners.iter().position(|(listener, _)| *listener == token) {
            self.accept(number, now);
        } else if let Some(link) = self.connections.get_mut(&token) {
            link.is_ending |= has_ended;
            self.unread.insert(token);
        }
    }

    /// Dials peers that are due, pings peers, and closes connections that take too long.
    pub(super) fn run_timers(&mut self, now: Time) {
        self.peers.values_mut().for_each(|peer| peer.settle(now));
        let due: Vec<NodeName> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.dial_at().is_some_and(|at| at <= now))
            .map(|(name, _)| name.clone())
            .collect();
        due.into_iter().for_each(|peer| self.dial(&peer, now));
        self.look_after_spares(now);
        let late: Vec<_> = self
            .connections
            .iter_mut()
            .filter_map(|(token, link)| Some((*token, link.run_timers(now).err()?)))
            .collect();
        late.into_iter().for_each(|(token, why)| self.close(token, why, now));
        self.decide_contentions(now);
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        let peers = self.peers.values().flat_map(|peer| [peer.dial_at(), peer.settle_at()]).flatten();
        let peers = peers.chain(self.spares_timeout());
        let connections = self.connections.values().filter_map(|link| match link.whose {
            Whose::Contending { since, .. } => Some(since + TWIN_WAIT),
            _ => link.next_timeout(),
        });
        peers.chain(connections).min()
    }

    /// Whether there is something to read for which its guest has room.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.iter().any(|token| self.connections.get(token).is_some_and(|link| !link.blocked))
    }

    /// Reads from each link that has something and is not blocked, up to a bound.
    pub(super) fn read(&mut self, now: Time) {
        self.decide_races(now);
        for token in self.unread.iter().copied().collect::<Vec<_>>() {
            let Some(link) = self.connections.get_mut(&token).filter(|link| !link.blocked) else { continue };
            let result = link.read(&mut self.events, now);
            self.note_round_trip(token);
            self.note_sign_of_life(token, now);
            match result {
                Ok(Read::Drained) => {
                    self.unread.remove(&token);
                }
                Ok(Read::More) => {}
                Ok(Read::Hello(hello)) => self.hello(token, hello, now),
                Ok(Read::Agreed(identity)) => self.agreed(token, identity, now),
                Ok(Read::Ended) => self.close(token, LinkError::Ended.into(), now),
                Err(error) => self.close(token, error, now),
            }
        }
        self.decide_contentions(now);
    }

    fn note_round_trip(&mut self, token: Token) {
        let Some(link) = self.connections.get_mut(&token) else { return };
        if let Whose::Open(name) | Whose::Dialed(name) = &link.whose
            && let Some(peer) = self.peers.get_mut(name)
            && let Some(round_trip) = link.take_round_trip()
        {
            peer.measured(round_trip);
        }
    }

    /// Whether a node has joined since the last call.
    pub(super) fn take_joined(&mut self) -> bool {
        std::mem::take(&mut self.joined)
    }

    /// The next event.
    pub(super) fn next_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Stops reading from peers of version 1 for which `is_full` says that one of their guests here has enough to do.
    /// Later versions have windows.
    pub(super) fn hold_back(&mut self, is_full: impl Fn(&NodeName) -> bool) {
        for link in self.connections.values_mut() {
            if let Whose::Open(peer) = &link.whose {
                link.blocked = !link.has_windows() && is_full(peer);
            }
        }
    }

    /// Whether bytes from `peer` wait because a guest here has enough to do.
    pub(super) fn is_held_back(&self, peer: &NodeName) -> bool {
        let open = self.peers.get(peer).and_then(|peer| peer.open.as_ref());
        open.is_some_and(|open| {
            self.unread.contains(&open.token)
                && self.connections.get(&open.token).is_some_and(|link| link.blocked)
        })
    }

    /// Gives a guest its number on the link to `peer`, and a queue for its epochs. `None` without a link. The guest was
    /// checked to fit the link.
    pub(super) fn offer(
        &mut self,
        peer: &NodeName,
        guest: &GuestName,
        generation: Generation,
        description: &Description,
    ) -> Option<(GuestId, SendQueue)> {
        let queue = SendQueue::new(self.waker.clone());
        let link = self.link_mut(peer)?;
        let number = link.numbers.offer(guest.clone(), queue.clone());
        let generation = (link.connection.version() >= GUEST_REFUSALS_SINCE).then_some(generation);
        let description = Box::new(description.clone());
        self.send(peer, &GuestFrame::Offer { name: guest, generation, description }.of(number));
        Some((number, queue))
    }

    /// The number that `peer` gave a guest it runs, on the present link.
    pub(super) fn number_of(&self, peer: &NodeName, guest: &GuestName) -> Option<GuestId> {
        self.link(peer)?.numbers.number_of(guest)
    }

    /// Puts a frame in its lane, to be sent at the end of the iteration. Without a link it is dropped.
    pub(super) fn send(&mut self, peer: &NodeName, frame: &Frame<'_>) {
        if let Some(link) = self.link_mut(peer) {
            link.send(frame);
        }
    }

    /// Whether what is put into a lane leaves before long. Without a link it goes nowhere.
    pub(super) fn has_room(&self, peer: &NodeName, lane: Lane) -> bool {
        self.link(peer).is_none_or(|link| link.connection.has_room(lane))
    }

    /// Ends the link to `peer`; [`LinkEvent::Down`] follows.
    pub(super) fn close_peer(&mut self, peer: &NodeName, why: &str, now: Time) {
        if let Some(open) = self.peers.get(peer).and_then(|peer| peer.open.clone()) {
            self.end(open.token, why, None, now);
        }
    }

    /// The peer was silent for too long for one guest's session. The link ends, unless the peer has spoken on it for
    /// others: then only that guest is affected.
    pub(super) fn silent(&mut self, peer: &NodeName, now: Time) -> Silence {
        let silence_max = self.silence_max;
        let Some(link) = self.link(peer) else { return Silence::Closed };
        if now - link.heard_at < silence_max {
            return Silence::Kept;
        }
        let round_trip = self.peers.get(peer).and_then(Peer::round_trip).filter(|trip| *trip >= silence_max);
        let why = match round_trip {
            Some(trip) => format!(
                "the round trip to {peer} takes {} ms, and a peer that is silent for {} ms counts as lost; set silence-max on both nodes well above the round trip",
                trip.0 / 1_000_000,
                silence_max.0 / 1_000_000,
            ),
            None => format!("{peer} was silent for {} ms", silence_max.0 / 1_000_000),
        };
        self.close_peer(peer, &why, now);
        Silence::Closed
    }

    /// Whether a peer is to be told how this node stands.
    pub(super) fn is_bulletin_owed(&self) -> bool {
        self.connections.values().any(PeerConnection::is_bulletin_owed)
    }

    /// Has every peer be told how this node stands, since that has changed.
    pub(super) fn owe_bulletins(&mut self) {
        self.connections.values_mut().for_each(PeerConnection::owe_bulletin);
    }

    /// Tells those peers that are to be told.
    pub(super) fn send_bulletin(&mut self, said: &[u8]) {
        for link in self.connections.values_mut() {
            if link.take_owed_bulletin() {
                link.send(&LinkFrame::Bulletin(said.to_vec()).into());
            }
        }
    }

    /// A peer has said how it stands.
    pub(super) fn heard_bulletin(&mut self, peer: &NodeName, said: &[u8], now: Time) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.heard_bulletin(said, now);
        }
    }

    /// What a peer said last of itself, and when.
    pub(super) fn said_by(&self, peer: &NodeName) -> Option<&(Time, Bulletin)> {
        self.peers.get(peer)?.said.as_ref()
    }

    /// Says goodbye on every link.
    pub(super) fn say_goodbye(&mut self) {
        for link in self.connections.values_mut() {
            // If this does not arrive, the peer sees the socket close.
            let _ = link.connection.say_goodbye();
        }
    }

    /// Sends what waits, as much as sockets take.
    pub(super) fn flush(&mut self, now: Time) {
        self.decide_races(now);
        let mut failed = Vec::new();
        for (token, link) in &mut self.connections {
            match link.flush(now) {
                Ok(()) if link.connection.is_finished() => failed.push((*token, LinkError::Ended.into())),
                Ok(()) => {}
                Err(error) => failed.push((*token, error)),
            }
        }
        failed.into_iter().for_each(|(token, why)| self.close(token, why, now));
    }

    pub(super) fn link(&self, peer: &NodeName) -> Option<&PeerConnection> {
        let open = self.peers.get(peer)?.open.as_ref()?;
        self.connections.get(&open.token)
    }

    pub(super) fn link_mut(&mut self, peer: &NodeName) -> Option<&mut PeerConnection> {
        let token = self.peers.get(peer)?.open.as_ref()?.token;
        self.connections.get_mut(&token)
    }

    pub(super) fn up(&mut self, token: Token, identity: Identity, dialed: bool, now: Time) {
        let name = identity.node.clone();
        let link = self.connections.get_mut(&token).expect("the caller has it");
        link.opened(name.clone(), now);
        let peer = self.peers.get_mut(&name).expect("the caller made sure");
        peer.opened(token, identity, dialed, now);
        self.events.push_back(LinkEvent::Up { peer: name.clone() });
        self.end_wrong_spares(&name, now);
    }

    pub(super) fn close(&mut self, token: Token, error: ConnectionError, now: Time) {
        let why = error.to_string();
        self.end(token, &why, Some(error), now);
    }

    pub(super) fn end(&mut self, token: Token, why: &str, error: Option<ConnectionError>, now: Time) {
        let Some(mut link) = self.connections.remove(&token) else { return };
        self.unread.remove(&token);
        // Dropping the socket deregisters as well.
        let _ = self.registry.deregister(&mut link.connection);
        match link.whose.clone() {
            Whose::Open(name) => {
                let is_by_peer = error.as_ref().is_some_and(is_by_peer);
                self.peers.get_mut(&name).expect("open links belong to peers").closed(why, is_by_peer, now);
                self.events.push_back(LinkEvent::Down { peer: name.clone() });
                self.tell_of_life(&name, now);
            }
            Whose::Spare(name) => {
                let peer = self.peers.get_mut(&name).expect("spare connections belong to peers");
                peer.spares.ended(token, why, now);
            }
            Whose::Dialed(name) => {
                let peer = self.peers.get_mut(&name).expect("only peers are dialled");
                match error {
                    Some(error) => peer.dial_failed(token, &error, now),
                    None => peer.ways.given_up(token, now),
                }
                // Where there is no TLS, an address may be the end of a tunnel, and what it refuses says nothing of the peer.
                if self.security.credentials().is_some() && peer.take_gone() {
                    self.events.push_back(LinkEvent::Gone { peer: name });
                }
            }
            Whose::Stranger if matches!(error, Some(ConnectionError::Tls(TlsError::Joined { .. }))) => {
                tracing::info!("{why}");
                self.joined = true;
            }
            Whose::Stranger if error.as_ref().is_some_and(needs_a_person) => {
                self.sent_away(&link.connection.remote(), &why, now);
            }
            Whose::Stranger | Whose::Refused | Whose::Contending { .. } => {
                tracing::debug!(why, "A connection ended before its hello");
            }
        }
    }
}

/// Whether the other end has ended the connection, be it in order or because its process ended.
fn is_by_peer(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Protocol(LinkError::Ended) => true,
        ConnectionError::Io(error) => {
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        }
        _ => false,
    }
}
