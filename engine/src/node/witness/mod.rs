//! A node's witness, of whatever kind: all sessions' requests, the answers, and whether the witness can be relied on.
//!
//! ```text
//!   sessions ── ask ──► Witness ──► WitnessClient ──► the witness      own: our server, over a link
//!            ◄─events──    └ what is not confirmed yet                 etcd: a cluster, asked by threads
//! ```
//!
//! The session crate has the rules for changing a record. A client whose server does not know these rules, such as
//! etcd, applies them itself.

mod etcd;
mod own;

pub(super) use etcd::EtcdWitness;
pub(super) use own::OwnWitness;

use crate::connection::Security;
use crate::metrics::Metrics;
use mio::Token;
use std::collections::BTreeMap;
use std::fmt::Debug;
use understudy_session::lease::{LeaseReply, LeaseRequest};
use understudy_session::{NodeName, RequestId, Span, Time, WitnessOutcome, WitnessReply, WitnessRequest};

/// A change without an answer for this long is more than a slow disk.
const CONFIRM_MAX: Span = Span::from_ms(2_000);

/// News from a client of the witness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum WitnessEvent {
    /// The witness can be asked.
    Up,
    /// The witness cannot be asked any more. Unanswered requests may have been carried out.
    Down,
    /// The witness answers.
    Reply { guest: String, reply: WitnessReply },
    /// The witness answers about the lease of a host.
    LeaseReply { host: NodeName, reply: LeaseReply },
}

/// A node's client of a witness. Nothing in here blocks.
pub(super) trait WitnessClient: Send + Debug {
    /// Whether the witness can be asked.
    fn is_up(&self) -> bool;

    /// Sends a request. If the witness cannot be asked, the request is dropped, and the session repeats it later.
    fn ask(&mut self, guest: &str, request: WitnessRequest, now: Time);

    /// Whether leases can be asked for: the witness can be asked, and is no older one.
    fn keeps_leases(&self) -> bool;

    /// Sends a request about the lease of a host, as [`ask`](Self::ask) does one about a guest.
    fn ask_lease(&mut self, host: &NodeName, request: LeaseRequest, now: Time);

    /// The socket with this token has an event.
    fn ready(&mut self, token: Token);

    /// Reads what has arrived.
    fn read(&mut self, now: Time);

    /// Keeps the connection up.
    fn run_timers(&mut self, now: Time);

    /// When [`run_timers`](Self::run_timers) has something to do.
    fn next_timeout(&self) -> Option<Time>;

    /// What happened since the last call, in order.
    fn take_events(&mut self) -> Vec<WitnessEvent>;

    /// Uses these certificates of the links from now on. A client that has certificates of its own keeps those.
    fn use_security(&mut self, _: &Security, _: Time) {}

    /// Why the witness cannot be asked, for the operator; `None` if it can.
    fn trouble(&self) -> Option<&str>;
}

/// The node's witness; it does nothing on a node without one.
#[derive(Debug)]
pub(super) struct Witness {
    client: Option<Box<dyn WitnessClient>>,
    /// When each guest's newest unanswered change was requested.
    unconfirmed: BTreeMap<String, (RequestId, Time)>,
    /// Each guest's newest question, and when it was asked first.
    asked: BTreeMap<String, (RequestId, Time)>,
    metrics: Metrics,
}

impl Witness {
    pub(super) fn new(client: Option<Box<dyn WitnessClient>>, metrics: Metrics) -> Self {
        if client.is_some() {
            metrics.begin_witness_answers();
        }
        Self { client, unconfirmed: BTreeMap::new(), asked: BTreeMap::new(), metrics }
    }

    pub(super) fn is_configured(&self) -> bool {
        self.client.is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.is_up())
    }

    /// Why the witness cannot be relied on; empty if it can.
    pub(super) fn trouble(&self, now: Time) -> String {
        match self.client.as_ref().and_then(|client| client.trouble()) {
            Some(trouble) => trouble.to_owned(),
            None if self.confirms(now) => String::new(),
            None => "it is there and records no change: its disk may be full, or it has no room for another guest; its log says why".into(),
        }
    }

    /// Whether it answers changes. A witness whose disk is full is connected, but useless.
    pub(super) fn confirms(&self, now: Time) -> bool {
        self.unconfirmed.values().all(|(_, since)| now - *since < CONFIRM_MAX)
    }

    pub(super) fn ready(&mut self, token: Token) {
        self.client.iter_mut().for_each(|client| client.ready(token));
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.client.as_ref()?.next_timeout()
    }

    pub(super) fn run_timers(&mut self, now: Time) {
        self.client.iter_mut().for_each(|client| client.run_timers(now));
    }

    pub(super) fn read(&mut self, now: Time) {
        self.client.iter_mut().for_each(|client| client.read(now));
    }

    /// Uses these certificates from now on.
    pub(super) fn use_security(&mut self, security: &Security, now: Time) {
        self.client.iter_mut().for_each(|client| client.use_security(security, now));
    }

    /// What happened, in order.
    pub(super) fn take_events(&mut self, now: Time) -> Vec<WitnessEvent> {
        let events = self.client.as_mut().map(|client| client.take_events()).unwrap_or_default();
        for event in &events {
            self.time(event, now);
            match event {
                WitnessEvent::Up | WitnessEvent::LeaseReply { .. } => {}
                WitnessEvent::Down => self.unconfirmed.clear(),
                WitnessEvent::Reply { reply, .. } if reply.outcome == WitnessOutcome::Told => {}
                WitnessEvent::Reply { guest, .. } => drop(self.unconfirmed.remove(guest)),
            }
        }
        events
    }

    /// Measures how long an answer took.
    fn time(&mut self, event: &WitnessEvent, now: Time) {
        match event {
            WitnessEvent::Up | WitnessEvent::LeaseReply { .. } => {}
            WitnessEvent::Down => self.asked.clear(),
            WitnessEvent::Reply { guest, reply } => {
                if let Some((_, since)) = self.asked.get(guest).filter(|(id, _)| *id == reply.id) {
                    self.metrics.witness_took((now - *since).0 as f64 / 1e9);
                    self.asked.remove(guest);
                }
            }
        }
    }

    /// Sends a request. Without a connection it is dropped, and the session repeats it later.
    pub(super) fn ask(&mut self, guest: &str, request: WitnessRequest, now: Time) {
        let Some(client) = self.client.as_mut().filter(|client| client.is_up()) else { return };
        if let WitnessRequest::Swap { id, .. } = &request {
            // A repeated request counts as waiting since the first time.
            self.unconfirmed.entry(guest.to_owned()).or_insert((*id, now)).0 = *id;
        }
        if self.asked.get(guest).is_none_or(|(id, _)| *id != request.id()) {
            self.asked.insert(guest.to_owned(), (request.id(), now));
        }
        client.ask(guest, request, now);
    }

    /// Whether leases can be asked for.
    pub(super) fn keeps_leases(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.keeps_leases())
    }

    /// Sends a request about the lease of a host. Without a connection it is dropped, and repeated later.
    pub(super) fn ask_lease(&mut self, host: &NodeName, request: LeaseRequest, now: Time) {
        self.client.iter_mut().for_each(|client| client.ask_lease(host, request, now));
    }
}
