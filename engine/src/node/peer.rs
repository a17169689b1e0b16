//! What a node knows about one peer: whether there is a link, why not, and when to try again.
//!
//! ```text
//!   Down ── dialled on its ways (`ways`) ── agreed ──► open ── end ──► Down
//!     │                    │ refused for a reason that a person has to remove: retried seldom
//!     └── trouble: said once for each reason, shown until a link has lasted
//! ```
//!
//! Not here: sockets and frames (`links`, `peer_connection`).

use super::spares::Spares;
use super::ways::Ways;
use crate::connection::{ConnectionError, PeerAddress};
use crate::control::Bulletin;
use mio::Token;
use std::net::SocketAddr;
use understudy_link::{Identity, LinkError, RefuseReason};
use understudy_session::{NodeName, Span, Time};

/// A link that ends sooner than this counts as short-lived.
const LASTING: Span = Span::from_ms(2_000);

/// After this many short-lived links in a row that is logged once, and single ones are not logged any more.
const SHORT_LINKS_MAX: u32 = 3;

/// How long another process of the peer's name is shown in `status` after it was last refused.
const TWIN_SHOWN: Span = Span::from_ms(30_000);

/// The open link to a peer.
#[derive(Clone, Debug)]
pub(super) struct OpenLink {
    pub(super) token: Token,
    pub(super) identity: Identity,
    /// Whether this node dialled it.
    pub(super) dialed: bool,
    since: Time,
}

#[derive(Debug)]
pub(super) struct Peer {
    name: NodeName,
    /// Where it listens, and what became of dialling it there.
    pub(super) ways: Ways,
    /// Connections beside the link.
    pub(super) spares: Spares,
    pub(super) open: Option<OpenLink>,
    /// Why there is no link, or why links do not last.
    trouble: Option<String>,
    twin_until: Time,
    short_links: u32,
    /// Whether the last link was ended by the other end, and not yet told that the peer is gone.
    may_be_gone: bool,
    /// The last measured round trip, on this link or an earlier one.
    round_trip: Option<Span>,
    /// What it said last of itself, on this link or an earlier one, and when.
    pub(super) said: Option<(Time, Bulletin)>,
}

/// The state of a peer's link, for `status`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct PeerHealth {
    pub(super) connected: bool,
    /// Why there is no link, or what is wrong with it; empty if all is well.
    pub(super) reason: String,
    pub(super) round_trip: Option<Span>,
}

impl Peer {
    pub(super) fn new(name: NodeName, addresses: Vec<PeerAddress>) -> Self {
        Self {
            name,
            spares: Spares::new(&addresses),
            ways: Ways::new(addresses),
            open: None,
            trouble: None,
            twin_until: Time(0),
            short_links: 0,
            may_be_gone: false,
            round_trip: None,
            said: None,
        }
    }

    pub(super) fn dial_at(&self) -> Option<Time> {
        self.ways.dial_at().filter(|_| self.open.is_none())
    }

    /// A link to the peer is up.
    pub(super) fn opened(&mut self, token: Token, identity: Identity, dialed: bool, now: Time) {
        self.may_be_gone = false;
        self.ways.opened();
        self.open = Some(OpenLink { token, identity, dialed, since: now });
        if self.short_links < SHORT_LINKS_MAX {
            tracing::info!(peer = %self.name, dialed, "Link up");
        }
    }

    /// The open link has ended, perhaps by the other end.
    pub(super) fn closed(&mut self, why: &str, is_by_peer: bool, now: Time) {
        let Some(link) = self.open.take() else { return };
        self.may_be_gone = is_by_peer;
        self.ways.lost(now);
        let lasted = now - link.since >= LASTING;
        self.short_links = if lasted { 0 } else { self.short_links.saturating_add(1) };
        if self.short_links <= SHORT_LINKS_MAX {
            tracing::info!(peer = %self.name, why, "Link down");
        }
        if self.short_links >= SHORT_LINKS_MAX {
            self.troubled(format!("links end soon after they are up: {why}"));
        } else {
            // This was just logged and needs no warning; `status` shows it.
            self.trouble = Some(format!("the link ended: {why}"));
        }
    }

    /// A link has lasted: earlier trouble is over.
    pub(super) fn settle(&mut self, now: Time) {
        if self.open.as_ref().is_some_and(|link| now - link.since >= LASTING) {
            self.trouble = None;
            self.short_links = 0;
        }
    }

    /// When [`settle`](Self::settle) has something to do.
    pub(super) fn settle_at(&self) -> Option<Time> {
        let link = self.open.as_ref()?;
        (self.trouble.is_some() || self.short_links > 0).then(|| link.since + LASTING)
    }

    /// An attempt to connect failed.
    pub(super) fn dial_failed(&mut self, token: Token, error: &ConnectionError, now: Time) {
        self.ways.failed(token, error, needs_a_person(error), now);
        // Another connection of the same node is being made.
        if !matches!(
            error,
            ConnectionError::Protocol(LinkError::Refused { reason: RefuseReason::Duplicate, .. })
        ) {
            self.troubled_by_ways();
        }
    }

    /// A way cannot even be dialled.
    pub(super) fn not_dialed(&mut self, way: usize, error: &ConnectionError, now: Time) {
        self.ways.not_dialed(way, error, now);
        self.troubled_by_ways();
    }

    /// Another node, or another process of the peer's name, answers at the peer's address.
    pub(super) fn misdirected(&mut self, token: Token, why: String, now: Time) {
        self.ways.misdirected(token, why, now);
        self.troubled_by_ways();
    }

    /// Whether the peer's process is gone, which is told once after each link: its kernel has ended the link, and has said
    /// on every way since then that nobody listens there; and nothing stands beside the link. Neither alone would do. A link may be cut in between, and a
    /// silence is of no one.
    pub(super) fn take_gone(&mut self) -> bool {
        let is_heard = self.spares.tokens().next().is_some();
        self.may_be_gone && !is_heard && self.ways.all_refused() && std::mem::take(&mut self.may_be_gone)
    }

    fn troubled_by_ways(&mut self) {
        self.ways.trouble().into_iter().for_each(|why| self.troubled(why));
    }

    fn troubled(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            let addresses: Vec<_> = self.ways.addresses().map(|address| address.to_string()).collect();
            tracing::warn!(peer = %self.name, address = addresses.join(","), why, "No link");
            self.trouble = Some(why);
        }
    }

    /// A process of the peer's name was refused because another one is connected and answers.
    pub(super) fn has_twin(&mut self, remote: SocketAddr, now: Time) {
        if self.twin_until <= now {
            tracing::warn!(
                peer = %self.name, %remote,
                "A second process calls itself {}; it is refused while the first one answers. Give each node a name of \
                 its own",
                self.name
            );
        }
        self.twin_until = now + TWIN_SHOWN;
    }

    pub(super) fn measured(&mut self, round_trip: Span) {
        self.round_trip = Some(round_trip);
    }

    /// It has said how it stands. What cannot be read is for people, and no reason to end a link.
    pub(super) fn heard_bulletin(&mut self, said: &[u8], now: Time) {
        match Bulletin::read(said) {
            Ok(bulletin) => self.said = Some((now, bulletin)),
            Err(error) => {
                tracing::debug!(peer = %self.name, %error, "What it says of itself cannot be read");
            }
        }
    }

    pub(super) fn round_trip(&self) -> Option<Span> {
        self.round_trip
    }

    pub(super) fn health(&self, now: Time) -> PeerHealth {
        let connected = self.open.is_some();
        let mut reasons: Vec<String> = Vec::new();
        if !connected || self.short_links >= SHORT_LINKS_MAX {
            reasons.extend(self.trouble.clone());
        }
        if self.twin_until > now {
            reasons.push(format!("a second process calls itself {} and is refused", self.name));
        }
        PeerHealth { connected, reason: reasons.join("; "), round_trip: self.round_trip }
    }
}

/// Whether the refusal will be repeated until somebody changes a configuration.
pub(super) fn needs_a_person(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Protocol(LinkError::Refused { reason, .. }) => match reason {
            RefuseReason::NoCommonVersion
            | RefuseReason::WrongService
            | RefuseReason::UnknownNode
            | RefuseReason::Protocol
            | RefuseReason::NameInUse => true,
            RefuseReason::Duplicate | RefuseReason::Full => false,
        },
        ConnectionError::Protocol(
            LinkError::Ended
            | LinkError::Silent
            | LinkError::HelloTimeout
            | LinkError::Damaged
            | LinkError::OutOfStep { .. }
            | LinkError::OutOfSequence { .. },
        ) => false,
        ConnectionError::Protocol(_) | ConnectionError::Encode(_) => true,
        ConnectionError::Tls(error) => error.needs_a_person(),
        ConnectionError::Backlog(_) | ConnectionError::Io(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use understudy_link::Backoff;

    const MS: u64 = 1_000_000;

    fn peer() -> Peer {
        let address: SocketAddr = "127.0.0.1:7".parse().unwrap();
        Peer::new(NodeName("b".into()), vec![address.into()])
    }

    fn up(peer: &mut Peer, now: Time) {
        peer.opened(Token(9), Identity { node: NodeName("b".into()), instance: 1 }, true, now);
    }

    #[test]
    fn a_refusal_that_a_person_has_to_remove_is_retried_seldom_and_shown() {
        let mut peer = peer();
        let reason = RefuseReason::UnknownNode;
        let refused = LinkError::Refused { reason, detail: "This node has no such peer".into() }.into();
        peer.ways.dialed(0, Token(1));
        peer.dial_failed(Token(1), &refused, Time(0));
        assert_eq!(peer.dial_at(), Some(Time(0) + Backoff::REFUSED));
        assert!(peer.health(Time(0)).reason.contains("no such peer"), "{:?}", peer.health(Time(0)));
        // Nobody is there at all: try again soon, to find a restarted host quickly.
        peer.ways.dialed(0, Token(2));
        peer.dial_failed(Token(2), &io::Error::from(io::ErrorKind::ConnectionRefused).into(), Time(0));
        assert!(peer.dial_at().unwrap() < Time(100 * MS));
        assert!(peer.health(Time(0)).reason.contains("refused"), "{:?}", peer.health(Time(0)));
    }

    #[test]
    fn links_that_do_not_last_are_a_trouble_until_one_does() {
        let mut peer = peer();
        for flap in 0..3 {
            up(&mut peer, Time(flap * 100 * MS));
            peer.closed("the round trip is too long", false, Time((flap * 100 + 50) * MS));
        }
        up(&mut peer, Time(400 * MS));
        let health = peer.health(Time(400 * MS));
        assert!(health.connected && health.reason.contains("round trip"), "{health:?}");
        let settled = peer.settle_at().unwrap();
        peer.settle(settled);
        assert_eq!(peer.health(settled).reason, "");
    }

    fn refuses(peer: &mut Peer, now: Time) {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused).into();
        peer.ways.dialed(0, Token(1));
        peer.dial_failed(Token(1), &refused, now);
    }

    #[test]
    fn a_peer_is_gone_if_its_host_ended_the_link_and_refuses_another_and_that_is_told_once() {
        let mut peer = peer();
        refuses(&mut peer, Time(0));
        assert!(!peer.take_gone(), "it was not there yet");
        up(&mut peer, Time(MS));
        peer.closed("silence", false, Time(2 * MS));
        refuses(&mut peer, Time(12 * MS));
        assert!(!peer.take_gone(), "this end has closed the link");
        up(&mut peer, Time(20 * MS));
        peer.closed("ended", true, Time(21 * MS));
        assert!(!peer.take_gone(), "it may answer yet");
        refuses(&mut peer, Time(31 * MS));
        assert!(peer.take_gone() && !peer.take_gone());
    }

    #[test]
    fn a_second_process_of_the_name_is_shown_for_a_while() {
        let mut peer = peer();
        up(&mut peer, Time(0));
        peer.has_twin("127.0.0.1:9".parse().unwrap(), Time(0));
        assert!(peer.health(Time(MS)).reason.contains("second process"));
        assert_eq!(peer.health(Time(0) + TWIN_SHOWN).reason, "");
    }
}
