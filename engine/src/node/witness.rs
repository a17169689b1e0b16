//! The node's connection to the witness: kept up, and shared by all sessions.

use super::peer::needs_a_person;
use crate::connection::ConnectionError;
use crate::witness::{News, WitnessLink};
use mio::{Interest, Registry, Token};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use understudy_link::{Backoff, Identity, LinkError};
use understudy_session::{RequestId, Span, Time, WitnessOutcome, WitnessReply, WitnessRequest};

/// A change that the witness has not answered for this long is more than a slow disk.
const CONFIRM_MAX: Span = Span::from_ms(2_000);

/// What the witness's connection has to say.
#[derive(Debug)]
pub(super) enum WitnessEvent {
    Up,
    Down,
    Reply { guest: String, reply: WitnessReply },
}

#[derive(Debug)]
enum State {
    Down {
        retry_at: Time,
    },
    /// Dialled, and perhaps up.
    There(Box<WitnessLink>),
}

/// The connection. Of a node without a witness it does nothing.
#[derive(Debug)]
pub(super) struct Witness {
    address: Option<SocketAddr>,
    this: Identity,
    registry: Registry,
    token: Token,
    state: State,
    backoff: Backoff,
    /// Why there is no connection, if there is none.
    trouble: Option<String>,
    /// Since when each guest's newest change waits for an answer.
    unconfirmed: BTreeMap<String, (RequestId, Time)>,
    /// The socket may hold more.
    unread: bool,
    events: Vec<WitnessEvent>,
}

impl Witness {
    pub(super) fn new(address: Option<SocketAddr>, this: Identity, registry: Registry, token: Token) -> Self {
        let (state, backoff) = (State::Down { retry_at: Time(0) }, Backoff::default());
        Self {
            address,
            this,
            registry,
            token,
            state,
            backoff,
            trouble: None,
            unconfirmed: BTreeMap::new(),
            unread: false,
            events: Vec::new(),
        }
    }

    pub(super) fn is_configured(&self) -> bool {
        self.address.is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&self.state, State::There(link) if link.is_up())
    }

    /// Why the witness cannot be relied on; empty if it can.
    pub(super) fn trouble(&self, now: Time) -> String {
        match &self.trouble {
            Some(trouble) => trouble.clone(),
            None if self.confirms(now) => String::new(),
            None => "it is there and records no change: its disk may be full, or it has no room for another guest; its log says why".into(),
        }
    }

    /// Whether it answers what it is asked to record. One whose disk is full is connected, and of no use.
    pub(super) fn confirms(&self, now: Time) -> bool {
        self.unconfirmed.values().all(|(_, since)| now - *since < CONFIRM_MAX)
    }

    pub(super) fn ready(&mut self, token: Token) {
        self.unread |= token == self.token;
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        match &self.state {
            State::Down { retry_at } => self.address.map(|_| *retry_at),
            State::There(link) => Some(link.next_timeout()),
        }
    }

    pub(super) fn run_timers(&mut self, now: Time) {
        match &mut self.state {
            State::Down { retry_at } if *retry_at <= now => self.dial(now),
            State::Down { .. } => {}
            State::There(link) => {
                if let Err(error) = link.tick(now) {
                    self.end(&error, now);
                }
            }
        }
    }

    pub(super) fn read(&mut self, now: Time) {
        if std::mem::take(&mut self.unread)
            && let Err(error) = self.try_read(now)
        {
            self.end(&error, now);
        }
    }

    pub(super) fn take_events(&mut self) -> Vec<WitnessEvent> {
        std::mem::take(&mut self.events)
    }

    /// Asks; without a connection the question goes nowhere, and the session repeats it when there is one.
    pub(super) fn ask(&mut self, guest: &str, request: WitnessRequest, now: Time) {
        let State::There(link) = &mut self.state else { return };
        if !link.is_up() {
            return;
        }
        if let WitnessRequest::Swap { id, .. } = &request {
            // A repeated question goes on waiting since it was asked first.
            self.unconfirmed.entry(guest.to_owned()).or_insert((*id, now)).0 = *id;
        }
        if let Err(error) = link.ask(guest, request) {
            self.end(&error, now);
        }
    }

    fn dial(&mut self, now: Time) {
        let Some(address) = self.address else { return };
        match self.try_dial(address, now) {
            Ok(link) => {
                self.state = State::There(Box::new(link));
                self.unread = true;
            }
            Err(error) => self.end(&error.into(), now),
        }
    }

    fn try_dial(&self, address: SocketAddr, now: Time) -> io::Result<WitnessLink> {
        let mut link = WitnessLink::dial(address, self.this.clone(), now)?;
        self.registry.register(&mut link, self.token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(link)
    }

    fn try_read(&mut self, now: Time) -> Result<(), ConnectionError> {
        let State::There(link) = &mut self.state else { return Ok(()) };
        while let Some(news) = link.next_news(now)? {
            match news {
                News::Up => {
                    tracing::info!("Witness connected");
                    self.backoff.succeeded();
                    self.trouble = None;
                    self.events.push(WitnessEvent::Up);
                }
                News::Reply { guest, reply } => {
                    if reply.outcome != WitnessOutcome::Told {
                        self.unconfirmed.remove(&guest);
                    }
                    self.events.push(WitnessEvent::Reply { guest, reply });
                }
                News::Ended => {
                    self.end(&LinkError::Ended.into(), now);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, error: &ConnectionError, now: Time) {
        let wait = if needs_a_person(error) { now + Backoff::REFUSED } else { self.backoff.failed(now) };
        let was = std::mem::replace(&mut self.state, State::Down { retry_at: wait });
        let mut was_up = false;
        if let State::There(mut link) = was {
            // Dropping the socket deregisters as well.
            let _ = self.registry.deregister(&mut *link);
            was_up = link.is_up();
        }
        self.unconfirmed.clear();
        let why = error.to_string();
        if was_up {
            tracing::warn!(why, "The witness is gone; nothing changes hands until it is back");
            self.events.push(WitnessEvent::Down);
        } else if self.trouble.as_ref() != Some(&why) {
            let address = self.address.map(|address| address.to_string()).unwrap_or_default();
            tracing::warn!(address, why, "The witness cannot be reached; nothing changes hands until it can");
        }
        self.trouble = Some(why);
    }
}
