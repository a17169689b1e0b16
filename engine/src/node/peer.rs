//! What a node knows about one peer: whether there is a link, why not, and when to try again.
//!
//! ```text
//!   Down ── retry_at ──► dialing ── agreed ──► open ── end ──► Down
//!     │                    │ refused for a reason that a person has to remove: retried seldom
//!     └── trouble: said once for each reason, shown until a link has lasted
//! ```
//!
//! Not here: sockets and frames (`links`, `peer_connection`).

use crate::connection::ConnectionError;
use crate::control::Bulletin;
use mio::Token;
use std::net::SocketAddr;
use understudy_link::{Backoff, Identity, LinkError, RefuseReason};
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
    /// The address it listens on; `None` for a peer that only connects to us.
    pub(super) address: Option<SocketAddr>,
    pub(super) open: Option<OpenLink>,
    pub(super) dialing: Option<Token>,
    retry_at: Time,
    backoff: Backoff,
    /// Why there is no link, or why links do not last.
    trouble: Option<String>,
    twin_until: Time,
    short_links: u32,
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
    pub(super) fn new(name: NodeName, address: Option<SocketAddr>) -> Self {
        Self {
            name,
            address,
            open: None,
            dialing: None,
            retry_at: Time(0),
            backoff: Backoff::default(),
            trouble: None,
            twin_until: Time(0),
            short_links: 0,
            round_trip: None,
            said: None,
        }
    }

    pub(super) fn dial_at(&self) -> Option<Time> {
        let alone = self.open.is_none() && self.dialing.is_none() && self.address.is_some();
        alone.then_some(self.retry_at)
    }

    /// A link to the peer is up.
    pub(super) fn opened(&mut self, token: Token, identity: Identity, dialed: bool, now: Time) {
        self.backoff.succeeded();
        self.open = Some(OpenLink { token, identity, dialed, since: now });
        if self.short_links < SHORT_LINKS_MAX {
            tracing::info!(peer = %self.name, dialed, "Link up");
        }
    }

    /// The open link has ended.
    pub(super) fn closed(&mut self, why: &str, now: Time) {
        let Some(link) = self.open.take() else { return };
        self.retry_at = self.backoff.failed(now);
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
    pub(super) fn dial_failed(&mut self, error: &ConnectionError, now: Time) {
        self.dialing = None;
        self.retry_at = if needs_a_person(error) { now + Backoff::REFUSED } else { self.backoff.failed(now) };
        // Another connection of the same node is being made.
        if !matches!(
            error,
            ConnectionError::Protocol(LinkError::Refused { reason: RefuseReason::Duplicate, .. })
        ) {
            self.troubled(error.to_string());
        }
    }

    /// Another node, or another process of the peer's name, answers at the peer's address.
    pub(super) fn misdirected(&mut self, why: String, now: Time) {
        self.dialing = None;
        self.retry_at = now + Backoff::REFUSED;
        self.troubled(why);
    }

    fn troubled(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            let address = self.address.map(|address| address.to_string()).unwrap_or_default();
            tracing::warn!(peer = %self.name, address, why, "No link");
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

    const MS: u64 = 1_000_000;

    fn peer() -> Peer {
        Peer::new(NodeName("b".into()), Some("127.0.0.1:7".parse().unwrap()))
    }

    fn up(peer: &mut Peer, now: Time) {
        peer.opened(Token(9), Identity { node: NodeName("b".into()), instance: 1 }, true, now);
    }

    #[test]
    fn a_refusal_that_a_person_has_to_remove_is_retried_seldom_and_shown() {
        let mut peer = peer();
        let reason = RefuseReason::UnknownNode;
        let refused = LinkError::Refused { reason, detail: "This node has no such peer".into() }.into();
        peer.dial_failed(&refused, Time(0));
        assert_eq!(peer.dial_at(), Some(Time(0) + Backoff::REFUSED));
        assert!(peer.health(Time(0)).reason.contains("no such peer"), "{:?}", peer.health(Time(0)));
        // Nobody is there at all: try again soon, to find a restarted host quickly.
        peer.dial_failed(&io::Error::from(io::ErrorKind::ConnectionRefused).into(), Time(0));
        assert!(peer.dial_at().unwrap() < Time(100 * MS));
        assert!(peer.health(Time(0)).reason.contains("refused"), "{:?}", peer.health(Time(0)));
    }

    #[test]
    fn links_that_do_not_last_are_a_trouble_until_one_does() {
        let mut peer = peer();
        for flap in 0..3 {
            up(&mut peer, Time(flap * 100 * MS));
            peer.closed("the round trip is too long", Time((flap * 100 + 50) * MS));
        }
        up(&mut peer, Time(400 * MS));
        let health = peer.health(Time(400 * MS));
        assert!(health.connected && health.reason.contains("round trip"), "{health:?}");
        let settled = peer.settle_at().unwrap();
        peer.settle(settled);
        assert_eq!(peer.health(settled).reason, "");
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
