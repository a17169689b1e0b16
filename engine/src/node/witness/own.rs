//! The client of our own witness: a link that is dialled again whenever it ends.

use super::{WitnessClient, WitnessEvent};
use crate::connection::{ConnectionError, Security};
use crate::node::peer::needs_a_person;
use crate::witness::{News, WitnessLink};
use mio::{Interest, Registry, Token};
use std::net::SocketAddr;
use understudy_link::{Backoff, Identity, LinkError};
use understudy_session::lease::LeaseRequest;
use understudy_session::{NodeName, Time, WitnessRequest};

#[derive(Debug)]
enum State {
    Down {
        retry_at: Time,
    },
    /// A connection that is being dialled or is up.
    There(Box<WitnessLink>),
}

#[derive(Debug)]
pub(in crate::node) struct OwnWitness {
    address: SocketAddr,
    this: Identity,
    security: Security,
    registry: Registry,
    token: Token,
    state: State,
    backoff: Backoff,
    /// Why there is no connection, if there is none.
    trouble: Option<String>,
    /// Whether the socket may have more to read.
    unread: bool,
    events: Vec<WitnessEvent>,
}

impl OwnWitness {
    /// A client of the witness at `address`, which is dialled in the first iteration of the loop.
    pub(in crate::node) fn new(
        address: SocketAddr,
        this: Identity,
        security: Security,
        registry: Registry,
        token: Token,
    ) -> Self {
        let (state, backoff) = (State::Down { retry_at: Time(0) }, Backoff::default());
        let (trouble, unread, events) = (None, false, Vec::new());
        Self { address, this, security, registry, token, state, backoff, trouble, unread, events }
    }

    fn dial(&mut self, now: Time) {
        match self.try_dial(now) {
            Ok(link) => {
                self.state = State::There(Box::new(link));
                self.unread = true;
            }
            Err(error) => self.end(&error, now),
        }
    }

    fn try_dial(&self, now: Time) -> Result<WitnessLink, ConnectionError> {
        let mut link = WitnessLink::dial(self.address, self.this.clone(), &self.security, now)?;
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
                    self.events.push(WitnessEvent::Reply { guest, reply });
                }
                News::LeaseReply { host, reply } => {
                    self.events.push(WitnessEvent::LeaseReply { host, reply });
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
        let why = error.to_string();
        if was_up {
            tracing::warn!(why, "The witness is gone; nothing changes hands until it is back");
            self.events.push(WitnessEvent::Down);
        } else if self.trouble.as_ref() != Some(&why) {
            tracing::warn!(address = %self.address, why, "The witness cannot be reached; nothing changes hands until it can");
        }
        self.trouble = Some(why);
    }
}

impl WitnessClient for OwnWitness {
    fn is_up(&self) -> bool {
        matches!(&self.state, State::There(link) if link.is_up())
    }

    fn ask(&mut self, guest: &str, request: WitnessRequest, now: Time) {
        let State::There(link) = &mut self.state else { return };
        if link.is_up()
            && let Err(error) = link.ask(guest, request)
        {
            self.end(&error, now);
        }
    }

    fn keeps_leases(&self) -> bool {
        matches!(&self.state, State::There(link) if link.keeps_leases())
    }

    fn ask_lease(&mut self, host: &NodeName, request: LeaseRequest, now: Time) {
        let State::There(link) = &mut self.state else { return };
        if link.keeps_leases()
            && let Err(error) = link.ask_lease(host, request)
        {
            self.end(&error, now);
        }
    }

    fn ready(&mut self, token: Token) {
        self.unread |= token == self.token;
    }

    fn read(&mut self, now: Time) {
        if std::mem::take(&mut self.unread)
            && let Err(error) = self.try_read(now)
        {
            self.end(&error, now);
        }
    }

    fn run_timers(&mut self, now: Time) {
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

    fn next_timeout(&self) -> Option<Time> {
        Some(match &self.state {
            State::Down { retry_at } => *retry_at,
            State::There(link) => link.next_timeout(),
        })
    }

    fn take_events(&mut self) -> Vec<WitnessEvent> {
        std::mem::take(&mut self.events)
    }

    fn use_security(&mut self, security: &Security, now: Time) {
        self.security = security.clone();
        if let State::There(link) = &self.state
            && let Err(error) = link.check_trust(security)
        {
            self.end(&error, now);
        }
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}
