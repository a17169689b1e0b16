//! A node's end of the connection to the witness. When to connect again is the event loop's
//! ([`Backoff`](crate::link::Backoff)).

use crate::link::{Connection, ConnectionError, Event, Fill, Frame, Identity, Service, encode};
use crate::session::{Time, WitnessReply, WitnessRequest};
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io;
use std::net::SocketAddr;

/// What the witness has to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// The hello is done: requests are answered from here on.
    Up,
    /// An answer.
    Reply {
        /// Name of the guest.
        guest: String,
        /// The answer.
        reply: WitnessReply,
    },
    /// The witness ended the connection.
    Ended,
}

/// A connection to the witness.
#[derive(Debug)]
pub struct WitnessLink(Connection);

impl WitnessLink {
    /// Begins to connect.
    pub fn dial(witness: SocketAddr, this: Identity, now: Time) -> io::Result<Self> {
        Connection::dial(witness, Service::Witness, this, now).map(Self)
    }

    /// Whether requests may be asked.
    pub fn is_up(&self) -> bool {
        self.0.is_open()
    }

    /// Asks about a guest. Only when [`is_up`](Self::is_up).
    pub fn ask(&mut self, guest: &str, request: WitnessRequest) -> Result<(), ConnectionError> {
        self.0.push(encode(&Frame::WitnessRequest { guest, request }))?;
        self.0.flush()
    }

    /// After an event: what the witness has to say, until there is nothing (`None`). An error ends the connection.
    pub fn next_news(&mut self) -> Result<Option<News>, ConnectionError> {
        self.0.flush()?;
        loop {
            match self.0.next_event()? {
                Some(Event::Up(_)) => return Ok(Some(News::Up)),
                Some(Event::Frame(Frame::WitnessReply { guest, reply })) => {
                    return Ok(Some(News::Reply { guest: guest.to_owned(), reply }));
                }
                Some(Event::Bye) => return Ok(Some(News::Ended)),
                Some(Event::Hello(_) | Event::Frame(_)) => return Ok(Some(News::Ended)),
                None => {}
            }
            match self.0.fill()? {
                Fill::Some => {}
                Fill::Drained => return Ok(None),
                Fill::Ended => return Ok(Some(News::Ended)),
            }
        }
    }

    /// When [`check_timeout`](Self::check_timeout) is due.
    pub fn deadline(&self) -> Option<Time> {
        self.0.deadline()
    }

    /// An error if the witness did not answer the hello in time.
    pub fn check_timeout(&self, now: Time) -> Result<(), ConnectionError> {
        self.0.check_timeout(now)
    }
}

impl Source for WitnessLink {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.0.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.0.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.0.deregister(registry)
    }
}
