//! What a node has to do with the witness, whatever serves as one: questions of all sessions, answers, and whether it can
//! be relied on.
//!
//! ```text
//!   sessions ── ask ──► Witness ──► WitnessClient ──► the witness      own: our server, over a link
//!            ◄─events──    └ what is not confirmed yet                 etcd: a cluster, asked by threads
//! ```
//!
//! The rules of who may change a record are the session crate's. A client whose server does not know them, as etcd does not,
//! holds them itself.

mod etcd;
mod own;

pub(super) use etcd::EtcdWitness;
pub(super) use own::OwnWitness;

use crate::connection::Security;
use mio::Token;
use std::collections::BTreeMap;
use std::fmt::Debug;
use understudy_session::{RequestId, Span, Time, WitnessOutcome, WitnessReply, WitnessRequest};

/// A change that the witness has not answered for this long is more than a slow disk.
const CONFIRM_MAX: Span = Span::from_ms(2_000);

/// What a client of the witness has to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum WitnessEvent {
    /// It can be asked.
    Up,
    /// It cannot be asked any more. What was asked and not answered may have been done.
    Down,
    /// It answers.
    Reply { guest: String, reply: WitnessReply },
}

/// A node's way to a witness. Nothing in here blocks.
pub(super) trait WitnessClient: Send + Debug {
    /// Whether it can be asked.
    fn is_up(&self) -> bool;

    /// Asks; where it cannot be asked the question goes nowhere, and the session repeats it once it can.
    fn ask(&mut self, guest: &str, request: WitnessRequest, now: Time);

    /// Something happened to the socket of this token.
    fn ready(&mut self, token: Token);

    /// Reads what came.
    fn read(&mut self, now: Time);

    /// Keeps the connection up.
    fn run_timers(&mut self, now: Time);

    /// When [`run_timers`](Self::run_timers) has something to do.
    fn next_timeout(&self) -> Option<Time>;

    /// What happened since this was asked last, in its order.
    fn take_events(&mut self) -> Vec<WitnessEvent>;

    /// Goes by these certificates of the links from now on. A client that has others of its own goes on with those.
    fn use_security(&mut self, _: &Security, _: Time) {}

    /// Why it cannot be asked, if it cannot; for the operator.
    fn trouble(&self) -> Option<&str>;
}

/// The node's witness; nothing, of a node without one.
#[derive(Debug)]
pub(super) struct Witness {
    client: Option<Box<dyn WitnessClient>>,
    /// Since when each guest's newest change waits for an answer.
    unconfirmed: BTreeMap<String, (RequestId, Time)>,
}

impl Witness {
    pub(super) fn new(client: Option<Box<dyn WitnessClient>>) -> Self {
        Self { client, unconfirmed: BTreeMap::new() }
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

    /// Whether it answers what it is asked to record. One whose disk is full is connected, and of no use.
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

    /// Goes by these certificates from now on.
    pub(super) fn use_security(&mut self, security: &Security, now: Time) {
        self.client.iter_mut().for_each(|client| client.use_security(security, now));
    }

    /// What happened, in its order.
    pub(super) fn take_events(&mut self) -> Vec<WitnessEvent> {
        let events = self.client.as_mut().map(|client| client.take_events()).unwrap_or_default();
        for event in &events {
            match event {
                WitnessEvent::Up => {}
                WitnessEvent::Down => self.unconfirmed.clear(),
                WitnessEvent::Reply { reply, .. } if reply.outcome == WitnessOutcome::Told => {}
                WitnessEvent::Reply { guest, .. } => drop(self.unconfirmed.remove(guest)),
            }
        }
        events
    }

    /// Asks; without a connection the question goes nowhere, and the session repeats it when there is one.
    pub(super) fn ask(&mut self, guest: &str, request: WitnessRequest, now: Time) {
        let Some(client) = self.client.as_mut().filter(|client| client.is_up()) else { return };
        if let WitnessRequest::Swap { id, .. } = &request {
            // A repeated question goes on waiting since it was asked first.
            self.unconfirmed.entry(guest.to_owned()).or_insert((*id, now)).0 = *id;
        }
        client.ask(guest, request, now);
    }
}
