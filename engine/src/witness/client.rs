//! A node's end of the connection to the witness. The event loop decides when to connect again
//! ([`Backoff`](understudy_link::Backoff)).

use crate::connection::{Connection, ConnectionError, Dialing, Fill, Security};
use crate::trust::WITNESS;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io;
use std::net::SocketAddr;
use understudy_link::{Event, Identity, LEASES_SINCE, LinkFrame, Service, WitnessFrame, encode};
use understudy_session::lease::{LeaseReply, LeaseRequest};
use understudy_session::{NodeName, Span, Time, WitnessReply, WitnessRequest};

/// What came from the witness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// The hello is done: requests will be answered.
    Up,
    Reply {
        guest: String,
        reply: WitnessReply,
    },
    LeaseReply {
        host: NodeName,
        reply: LeaseReply,
    },
    /// The witness ended the connection.
    Ended,
}

/// A witness that has been silent for this long is pinged.
const PING_AFTER: Span = Span::from_ms(500);

/// A witness that has been silent for this long counts as unreachable: it hangs, or the network is cut.
const SILENCE_MAX: Span = Span::from_ms(2_000);

/// A connection to the witness.
///
/// ```text
///   heard ── 500 ms ─► pinged ── 1.5 s ─► error: connect anew
///     ▲ anything arrives  │
///     └───────────────────┘
/// ```
#[derive(Debug)]
pub struct WitnessLink {
    connection: Connection,
    heard_at: Time,
    pinged: bool,
}

impl WitnessLink {
    /// Begins to connect.
    pub fn dial(
        witness: SocketAddr,
        this: Identity,
        security: &Security,
        now: Time,
    ) -> Result<Self, ConnectionError> {
        let peer = NodeName(WITNESS.into());
        let dialing = Dialing { peer, to: witness.into(), service: Service::Witness, this };
        let mut connection = Connection::dial(dialing, security, now)?;
        connection.proceed()?;
        Ok(Self { connection, heard_at: now, pinged: false })
    }

    /// Checks the peer against the certificates that are trusted now; an error ends the connection.
    pub fn check_trust(&self, security: &Security) -> Result<(), ConnectionError> {
        Ok(self.connection.check_trust(security)?)
    }

    /// Whether requests may be sent.
    pub fn is_up(&self) -> bool {
        self.connection.is_open()
    }

    /// Sends a request about a guest. Only when [`is_up`](Self::is_up).
    pub fn ask(&mut self, guest: &str, request: WitnessRequest) -> Result<(), ConnectionError> {
        self.connection.push(encode(&WitnessFrame::Request { guest, request }.into())?)?;
        self.connection.flush()
    }

    /// Whether the witness keeps leases: an older one does not.
    pub fn keeps_leases(&self) -> bool {
        self.is_up() && self.connection.version() >= LEASES_SINCE
    }

    /// Sends a request about the lease of a host. Only when [`keeps_leases`](Self::keeps_leases).
    pub fn ask_lease(&mut self, host: &NodeName, request: LeaseRequest) -> Result<(), ConnectionError> {
        self.connection.push(encode(&WitnessFrame::AboutLease { host: &host.0, request }.into())?)?;
        self.connection.flush()
    }

    /// Call it after an event, until it returns `None`: what came from the witness. An error ends the connection.
    pub fn next_news(&mut self, now: Time) -> Result<Option<News>, ConnectionError> {
        self.connection.flush()?;
        loop {
            let event = self.connection.next_event()?;
            if event.is_some() {
                (self.heard_at, self.pinged) = (now, false);
            }
            match event {
                Some(Event::Up(_)) => return Ok(Some(News::Up)),
                Some(Event::Witness(WitnessFrame::Reply { guest, reply })) => {
                    return Ok(Some(News::Reply { guest: guest.to_owned(), reply }));
                }
                Some(Event::Witness(WitnessFrame::LeaseReply { host, reply })) => {
                    return Ok(Some(News::LeaseReply { host: NodeName(host.to_owned()), reply }));
                }
                Some(Event::Bye) => return Ok(Some(News::Ended)),
                Some(Event::Pong) => continue,
                Some(
                    Event::Hello(_)
                    | Event::Witness(_)
                    | Event::Guest(..)
                    | Event::Ping
                    | Event::Bulletin(_)
                    | Event::FactsWanted
                    | Event::Facts(_),
                ) => {
                    return Ok(Some(News::Ended));
                }
                None => {}
            }
            match self.connection.fill()? {
                Fill::Some | Fill::Last => {}
                Fill::Drained => return Ok(None),
                Fill::Ended => return Ok(Some(News::Ended)),
            }
        }
    }

    /// When [`tick`](Self::tick) is due.
    pub fn next_timeout(&self) -> Time {
        match self.connection.deadline() {
            Some(deadline) => deadline,
            None if self.pinged => self.heard_at + SILENCE_MAX,
            None => self.heard_at + PING_AFTER,
        }
    }

    /// Pings a silent witness. An error means that it answers neither hello nor ping.
    pub fn tick(&mut self, now: Time) -> Result<(), ConnectionError> {
        self.connection.check_timeout(now)?;
        if !self.is_up() || now < self.next_timeout() {
            return Ok(());
        }
        if self.pinged {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the witness does not answer").into());
        }
        self.pinged = true;
        self.connection.push(encode(&LinkFrame::Ping.into())?)?;
        self.connection.flush()
    }
}

impl Source for WitnessLink {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.connection.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.connection.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.connection.deregister(registry)
    }
}
