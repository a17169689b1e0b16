//! A link on a nonblocking socket of the event loop. What may come and leave is [`Link`]'s; what frames mean, when to
//! connect again, and who is told of an end, is the loop's.
//!
//! ```text
//!   readable:   loop { while next_event() { … }   fill() ─► Some: again, Drained: wait, Ended: close }
//!   writable:   flush()          also after pushing frames
//!   timer:      check_timeout(now) at deadline()
//! ```

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use understudy_link::{Backlog, EncodeError, Encoded, Event, Identity, Lane, Link, LinkEnd, LinkError};
use understudy_link::{Outbox, RefuseReason, Service};
use understudy_session::Time;

pub mod transport;

pub use transport::{Transport, TransportError};

/// Why a connection is over.
#[derive(thiserror::Error, Debug)]
pub enum ConnectionError {
    /// The peer's bytes are not taken.
    #[error(transparent)]
    Protocol(#[from] LinkError),
    /// The peer takes in too little.
    #[error(transparent)]
    Backlog(#[from] Backlog),
    /// A frame does not fit.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The socket failed.
    #[error("The connection failed: {0}")]
    Io(#[from] io::Error),
}

impl From<LinkEnd> for ConnectionError {
    fn from(end: LinkEnd) -> Self {
        match end {
            LinkEnd::Protocol(error) => Self::Protocol(error),
            LinkEnd::Backlog(error) => Self::Backlog(error),
            LinkEnd::Encode(error) => Self::Encode(error),
        }
    }
}

/// What became of reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// Bytes arrived, and there may be more.
    Some,
    /// Nothing more for now.
    Drained,
    /// The peer closed its end.
    Ended,
}

/// One connection, from either end.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    /// Connected, and told not to wait for fuller packets: an ack is small and urgent.
    ready: bool,
    link: Link,
}

impl Connection {
    /// Begins to connect to `remote`, which the transport admitted, and to say hello there.
    pub fn dial(remote: SocketAddr, service: Service, this: Identity, now: Time) -> io::Result<Self> {
        let link = Link::dialed(service, this, now).map_err(io::Error::other)?;
        let stream = TcpStream::connect(remote)?;
        Ok(Self { stream, remote, ready: false, link })
    }

    /// Takes an accepted connection of a peer that is to say hello to `service`.
    pub fn accepted(stream: TcpStream, remote: SocketAddr, service: Service, now: Time) -> Self {
        Self { stream, remote, ready: false, link: Link::accepted(service, now) }
    }

    /// Whether the socket was found connected.
    pub fn is_connected(&self) -> bool {
        self.ready
    }

    /// The version that both ends of an open link speak.
    pub fn version(&self) -> u16 {
        self.link.version()
    }

    /// Address of the other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether both ends know each other.
    pub fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// Agrees to the hello that [`Event::Hello`] brought: the link is up.
    pub fn agree(&mut self, this: Identity) -> Result<(), ConnectionError> {
        self.link.agree(this)?;
        self.flush()
    }

    /// Refuses the peer. The connection is over once [`is_finished`](Self::is_finished).
    pub fn refuse(&mut self, reason: RefuseReason, detail: &str) -> Result<(), ConnectionError> {
        self.link.refuse(reason, detail)?;
        self.flush()
    }

    /// Ends in order. The connection is over once [`is_finished`](Self::is_finished).
    pub fn say_goodbye(&mut self) -> Result<(), ConnectionError> {
        self.link.say_goodbye()?;
        self.flush()
    }

    /// Whether this end has refused or said goodbye, and the socket has taken all of it.
    pub fn is_finished(&self) -> bool {
        self.link.is_finished()
    }

    /// When [`check_timeout`](Self::check_timeout) is due; `None` while nothing is awaited.
    pub fn deadline(&self) -> Option<Time> {
        self.link.deadline()
    }

    /// An error if the hello, or the connection's end, takes too long.
    pub fn check_timeout(&self, now: Time) -> Result<(), ConnectionError> {
        Ok(self.link.check_timeout(now)?)
    }

    /// Puts a frame in its lane; [`flush`](Self::flush) sends it. A frame that is newer than the link's version is
    /// left out: the peer does not know it.
    pub fn push(&mut self, frame: Encoded) -> Result<(), ConnectionError> {
        Ok(self.link.push(frame)?)
    }

    /// Whether a lane takes another long frame; ask before pushing one.
    pub fn has_room(&self, lane: Lane) -> bool {
        self.link.outbox().has_room(lane)
    }

    /// What waits and what was sent.
    pub fn outbox(&self) -> &Outbox {
        self.link.outbox()
    }

    /// Writes until the socket takes no more.
    pub fn flush(&mut self) -> Result<(), ConnectionError> {
        if !self.is_ready()? {
            return Ok(());
        }
        loop {
            let pieces: Vec<IoSlice<'_>> = self.link.pieces().map(IoSlice::new).collect();
            if pieces.is_empty() {
                return Ok(());
            }
            match self.stream.write_vectored(&pieces) {
                Ok(count) => self.link.written(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads once.
    pub fn fill(&mut self) -> Result<Fill, ConnectionError> {
        if !self.is_ready()? {
            return Ok(Fill::Drained);
        }
        // A peer that wants another service was refused while its hello was read: nobody else sends that.
        if self.link.has_ended() {
            self.flush()?;
        }
        let mut skipped = [0; 4096];
        loop {
            let space = self.link.space().map_err(io::Error::from)?;
            let skipping = space.is_none();
            match self.stream.read(space.unwrap_or(&mut skipped)) {
                Ok(0) => return Ok(Fill::Ended),
                Ok(_) if skipping => return Ok(Fill::Some),
                Ok(count) => {
                    self.link.filled(count);
                    return Ok(Fill::Some);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Fill::Drained),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What has arrived. `None`: call [`fill`](Self::fill).
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ConnectionError> {
        Ok(self.link.next_event()?)
    }

    /// Whether the socket is connected; an error if connecting failed.
    fn is_ready(&mut self) -> Result<bool, ConnectionError> {
        if self.ready {
            return Ok(true);
        }
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                self.stream.set_nodelay(true)?;
                self.ready = true;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Source for Connection {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.stream.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.stream.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.stream.deregister(registry)
    }
}
