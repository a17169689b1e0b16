//! A link on a nonblocking socket: bytes between the socket and [`Decoder`] and [`Outbox`], and the hello.
//! What frames mean, when to connect again, and who is told of an end, is the event loop's.
//!
//! ```text
//!   readable:   loop { while next_event() { … }   fill() ─► Some: again, Drained: wait, Ended: close }
//!   writable:   flush()          also after pushing frames
//!   timer:      check_timeout(now) at deadline()
//! ```

use super::handshake::{self, HELLO_MAX, Handshake};
use super::outbox::{Backlog, Lane};
use super::{
    Decoder, EncodeError, Encoded, Frame, Hello, Identity, LinkError, Outbox, RefuseReason, Service, encode,
};
use crate::session::Time;
use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

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
    /// The system's word.
    #[error("The connection failed: {0}")]
    Io(#[from] io::Error),
}

/// What a connection has to say.
#[derive(Debug)]
pub enum Event<'a> {
    /// A peer connected and says hello: call [`Connection::agree`] or [`Connection::refuse`] before anything else.
    Hello(Hello),
    /// Our hello was answered by this peer: the link is up.
    Up(Identity),
    /// A frame of an open link; only kinds that belong to its service.
    Frame(Frame<'a>),
    /// The peer ends in order.
    Bye,
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
    service: Service,
    /// Connected, and told not to wait for fuller packets: an ack is small and urgent.
    ready: bool,
    handshake: Handshake,
    /// That both ends speak, once the link is open.
    version: u16,
    begun: Time,
    decoder: Decoder,
    outbox: Outbox,
}

impl Connection {
    /// Begins to connect to `remote`, which the transport admitted, and to say hello there.
    pub fn dial(remote: SocketAddr, service: Service, this: Identity, now: Time) -> io::Result<Self> {
        let hello = handshake::hello(this, service).map_err(io::Error::other)?;
        let stream = TcpStream::connect(remote)?;
        let mut connection = Self::over(stream, remote, service, Handshake::Answering, now);
        connection.outbox.push(hello).map_err(io::Error::other)?;
        Ok(connection)
    }

    /// Takes an accepted connection of a peer that is to say hello to `service`.
    pub fn accepted(stream: TcpStream, remote: SocketAddr, service: Service, now: Time) -> Self {
        Self::over(stream, remote, service, Handshake::Greeting, now)
    }

    fn over(
        stream: TcpStream,
        remote: SocketAddr,
        service: Service,
        handshake: Handshake,
        begun: Time,
    ) -> Self {
        let (decoder, outbox) = (Decoder::new(), Outbox::default());
        let version = *super::VERSIONS.start();
        Self { stream, remote, service, ready: false, handshake, version, begun, decoder, outbox }
    }

    /// Whether the socket was found connected.
    pub fn is_connected(&self) -> bool {
        self.ready
    }

    /// The version that both ends of an open link speak.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Address of the other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether both ends know each other.
    pub fn is_open(&self) -> bool {
        self.handshake == Handshake::Open
    }

    /// Agrees to the hello that [`Event::Hello`] brought: the link is up.
    pub fn agree(&mut self, this: Identity) -> Result<(), ConnectionError> {
        let Handshake::Deciding { version } = self.handshake else {
            panic!("there is no hello to agree to");
        };
        let answer = encode(&Frame::HelloAnswer(super::HelloAnswer { version, from: this }))?;
        self.outbox.push(answer)?;
        self.open(version);
        self.flush()
    }

    /// Refuses the peer. The connection is over once [`is_finished`](Self::is_finished).
    pub fn refuse(&mut self, reason: RefuseReason, detail: &str) -> Result<(), ConnectionError> {
        self.end_with(&Frame::Refuse { reason, detail: detail.to_owned() })
    }

    /// Ends in order. The connection is over once [`is_finished`](Self::is_finished).
    pub fn say_goodbye(&mut self) -> Result<(), ConnectionError> {
        self.end_with(&Frame::Bye)
    }

    fn end_with(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        self.handshake = Handshake::Ending;
        self.outbox.push(encode(frame)?)?;
        self.flush()
    }

    /// Whether this end has refused or said goodbye, and the socket has taken all of it.
    pub fn is_finished(&self) -> bool {
        self.handshake == Handshake::Ending && self.outbox.is_empty()
    }

    /// When [`check_timeout`](Self::check_timeout) is due; `None` while nothing is awaited.
    pub fn deadline(&self) -> Option<Time> {
        (self.handshake != Handshake::Open).then(|| self.begun + HELLO_MAX)
    }

    /// Ends a connection whose hello, or whose end, takes too long.
    pub fn check_timeout(&self, now: Time) -> Result<(), ConnectionError> {
        match self.deadline() {
            Some(deadline) if deadline <= now => Err(LinkError::HelloTimeout.into()),
            _ => Ok(()),
        }
    }

    /// Puts a frame in its lane; [`flush`](Self::flush) sends it. A frame that is newer than the link's version is
    /// left out: the peer does not know it.
    pub fn push(&mut self, frame: Encoded) -> Result<(), ConnectionError> {
        if self.is_open() && frame.since() > self.version {
            return Ok(());
        }
        Ok(self.outbox.push(frame)?)
    }

    /// Whether a lane takes another long frame; ask before pushing one.
    pub fn has_room(&self, lane: Lane) -> bool {
        self.outbox.has_room(lane)
    }

    /// What waits and what was sent.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Writes until the socket takes no more.
    pub fn flush(&mut self) -> Result<(), ConnectionError> {
        if !self.is_ready()? {
            return Ok(());
        }
        loop {
            let pieces: Vec<IoSlice<'_>> = self.outbox.pieces().collect();
            if pieces.is_empty() {
                return Ok(());
            }
            match self.stream.write_vectored(&pieces) {
                Ok(count) => self.outbox.written(count),
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
        // After our last word, what still comes is read only to learn of the end.
        let skipping = self.handshake == Handshake::Ending;
        let mut skipped = [0; 4096];
        loop {
            let space =
                if skipping { &mut skipped[..] } else { self.decoder.space().map_err(io::Error::from)? };
            match self.stream.read(space) {
                Ok(0) => return Ok(Fill::Ended),
                Ok(count) => {
                    if !skipping {
                        self.decoder.filled(count);
                    }
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
        match self.handshake {
            Handshake::Open => match self.decoder.next_frame()? {
                Some(frame) => Self::event_of(frame, self.service, self.version).map(Some),
                None => Ok(None),
            },
            Handshake::Answering => self.next_answer(),
            Handshake::Greeting => self.next_hello(),
            Handshake::Deciding { .. } | Handshake::Ending => Ok(None),
        }
    }

    fn next_answer(&mut self) -> Result<Option<Event<'static>>, ConnectionError> {
        let (peer, version) = match self.decoder.next_frame()? {
            None => return Ok(None),
            Some(Frame::Refuse { reason, detail }) => {
                return Err(LinkError::Refused { reason, detail }.into());
            }
            Some(frame) => handshake::read_answer(frame)?,
        };
        self.open(version);
        Ok(Some(Event::Up(peer)))
    }

    fn next_hello(&mut self) -> Result<Option<Event<'static>>, ConnectionError> {
        let Some(frame) = self.decoder.next_frame()? else {
            return Ok(None);
        };
        let (hello, answer) = handshake::read_hello(frame, self.service)?;
        match answer {
            Ok(version) => {
                self.handshake = Handshake::Deciding { version };
                Ok(Some(Event::Hello(hello)))
            }
            Err((reason, detail)) => {
                self.refuse(reason, &detail)?;
                Ok(None)
            }
        }
    }

    fn event_of(frame: Frame<'_>, service: Service, version: u16) -> Result<Event<'_>, ConnectionError> {
        if frame.since() > version {
            return Err(handshake::unexpected("a frame of the link's version", &frame).into());
        }
        let belongs = match (&frame, service) {
            (Frame::Bye, _) => return Ok(Event::Bye),
            (Frame::Refuse { reason, detail }, _) => {
                return Err(LinkError::Refused { reason: *reason, detail: detail.clone() }.into());
            }
            (Frame::Ping | Frame::Pong, service) => {
                service == Service::Witness || version >= super::GUEST_REFUSALS_SINCE
            }
            (Frame::WitnessRequest { .. } | Frame::WitnessReply { .. }, service) => {
                service == Service::Witness
            }
            (frame, service) => frame.guest().is_some() && service == Service::Node,
        };
        if belongs {
            return Ok(Event::Frame(frame));
        }
        let expected = match service {
            Service::Node => "a frame about a guest",
            Service::Witness => "a witness request or reply",
        };
        Err(handshake::unexpected(expected, &frame).into())
    }

    fn open(&mut self, version: u16) {
        self.handshake = Handshake::Open;
        self.version = version;
        if self.service == Service::Node {
            self.decoder.allow_long_frames();
        }
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
