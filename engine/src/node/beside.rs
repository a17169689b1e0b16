//! Looks after the connections beside links ([`spares`](super::spares)): dials them, agrees to those of peers, ends those that are
//! of no use any more, and tells of the signs of life that arrive over them.

use super::link_event::LinkEvent;
use super::links::Links;
use super::peer::{OpenLink, Peer};
use super::peer_connection::{PING_EVERY, Whose};
use crate::connection::{Connection, ConnectionError, Dialing};
use crate::control::status::SpareStatus;
use mio::Token;
use std::net::SocketAddr;
use understudy_link::{Identity, RefuseReason, SPARES_SINCE, Service};
use understudy_session::{NodeName, Time};

impl Links {
    /// Where the link to a peer goes that this node has connected, if the peer knows spare connections.
    fn own_link(&self, peer: &Peer) -> Option<SocketAddr> {
        let open = peer.open.as_ref().filter(|open| open.dialed)?;
        let connection = &self.connections.get(&open.token)?.connection;
        (connection.version() >= SPARES_SINCE).then(|| connection.remote())
    }

    /// When [`look_after_spares`](Self::look_after_spares) has something to do.
    pub(super) fn spares_timeout(&self) -> impl Iterator<Item = Time> {
        let linked = self.peers.values().filter_map(move |peer| Some((peer, self.own_link(peer)?)));
        linked
            .flat_map(move |(peer, link)| {
                [peer.spares.dial_at(link), peer.spares.silent_at(link, self.silence_max)]
            })
            .flatten()
    }

    /// Dials those that are due, and says which networks have fallen silent.
    pub(super) fn look_after_spares(&mut self, now: Time) {
        let linked: Vec<_> =
            self.peers.iter().filter_map(|(name, peer)| Some((name.clone(), self.own_link(peer)?))).collect();
        for (name, link) in linked {
            while let Some((number, to)) = self.peers.get(&name).and_then(|peer| peer.spares.due(link, now)) {
                let (peer, this) = (name.clone(), self.this.clone());
                let dialing = Dialing { peer, to, service: Service::Spare, this };
                let dialed: Result<_, ConnectionError> = Connection::dial(dialing, &self.security, now)
                    .and_then(|mut connection| {
                        connection.proceed()?;
                        Ok(self.add(connection, Whose::Spare(name.clone()), now)?)
                    });
                let spares = &mut self.peers.get_mut(&name).expect("just looked at").spares;
                match dialed {
                    Ok(token) => spares.dialed(number, token),
                    Err(error) => spares.not_dialed(number, error.to_string(), now),
                }
            }
            let spares = &mut self.peers.get_mut(&name).expect("just looked at").spares;
            for (address, why) in spares.newly_silent(link, self.silence_max, now) {
                tracing::warn!(peer = %name, %address, why, "The peer does not answer beside its link; a takeover would not wait for this network");
            }
        }
    }

    /// The peer has agreed to one.
    pub(super) fn spare_agreed(&mut self, token: Token, name: &NodeName, identity: &Identity, now: Time) {
        if !self.is_linked(name, identity) {
            return self.end(token, "It is not of the process that has the link", None, now);
        }
        let ping_every = self.spare_ping_every;
        if let Some(spare) = self.connections.get_mut(&token) {
            spare.opened_as_spare(name.clone(), ping_every, now);
        }
    }

    /// A peer wants one. It has to be of the very process that has the link.
    pub(super) fn spare_hello(&mut self, token: Token, from: &Identity, now: Time) {
        if !self.is_linked(&from.node, from) {
            return self.refuse(
                token,
                RefuseReason::Duplicate,
                "There is no link that this could be beside",
                now,
            );
        }
        let this = self.this.clone();
        let agreed = self.connections.get_mut(&token).map(|spare| spare.connection.agree(this));
        match agreed {
            Some(Ok(())) => {}
            Some(Err(error)) => return self.close(token, error, now),
            None => return,
        }
        if let Some(spare) = self.connections.get_mut(&token) {
            spare.opened_as_spare(from.node.clone(), PING_EVERY, now);
        }
        let spares = self.peers.get_mut(&from.node).map(|peer| &mut peer.spares);
        if let Some(oldest) = spares.and_then(|spares| spares.accepted(token)) {
            self.end(oldest, "The peer has connected too many", None, now);
        }
    }

    /// Whether this very process of the peer has the link.
    fn is_linked(&self, name: &NodeName, identity: &Identity) -> bool {
        let open = self.peers.get(name).and_then(|peer| peer.open.as_ref());
        open.is_some_and(|OpenLink { identity: linked, .. }| linked == identity)
    }

    /// A link is up: ends what is on its way, and what is of another process than the link.
    pub(super) fn end_wrong_spares(&mut self, name: &NodeName, now: Time) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        let instance = peer.open.as_ref().map(|open| open.identity.instance);
        let wrong: Vec<_> = match instance.is_none_or(|instance| peer.spares.are_of(instance)) {
            true => self.peers.get(name).map(|peer| peer.spares.beyond(self.own_link(peer)).collect()),
            false => Some(peer.spares.tokens().collect()),
        }
        .unwrap_or_default();
        wrong.into_iter().for_each(|token| self.end(token, "It is not beside the link", None, now));
    }

    /// If something has arrived beside a link, the peer's process lives.
    pub(super) fn note_sign_of_life(&mut self, token: Token, now: Time) {
        let Some(spare) = self.connections.get_mut(&token) else { return };
        let Whose::Spare(name) = spare.whose.clone() else { return };
        if !spare.take_heard() {
            return;
        }
        let Some(peer) = self.peers.get_mut(&name) else { return };
        if let Some(address) = peer.spares.heard(token, now) {
            tracing::info!(peer = %name, %address, "The peer answers beside its link again");
        }
        self.tell_of_life(&name, now);
    }

    /// Without a link, says that the peer's process lives, if it was heard a moment ago.
    pub(super) fn tell_of_life(&mut self, name: &NodeName, now: Time) {
        let Some(peer) = self.peers.get(name) else { return };
        if peer.open.is_none() && peer.spares.is_heard(self.silence_max, now) {
            self.events.push_back(LinkEvent::Alive { peer: name.clone() });
        }
    }

    /// What stands beside the link to a peer that this node has connected.
    pub(super) fn spares(&self, name: &NodeName, now: Time) -> Vec<SpareStatus> {
        let linked = self.peers.get(name).and_then(|peer| Some((peer, self.own_link(peer)?)));
        linked.map(|(peer, link)| peer.spares.status(link, self.silence_max, now)).unwrap_or_default()
    }
}
