//! A link on a nonblocking socket of the event loop, in plain or inside of TLS. What may come and leave is [`Link`]'s; what frames mean, when to
//! connect again, and who is told of an end, is the loop's.
//!
//! ```text
//!   readable:   loop { while next_event() { … }   fill() ─► Some: again, Last, Drained: wait, Ended: close }
//!   writable:   flush()          also after pushing frames
//!   timer:      check_timeout(now) at deadline()
//!
//!   Joint { Link ◄──► Channel (plain, TLS) } ◄──► TcpStream
//! ```

pub use crate::trust::TlsError;
use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io;
use std::net::{IpAddr, SocketAddr};
use understudy_link::{Backlog, EncodeError, Encoded, Event, Identity, Lane, Link, LinkEnd, LinkError};
use understudy_link::{Outbox, RefuseReason, Service};
use understudy_session::{NodeName, Time};

mod address;
pub mod channel;
mod joint;
mod strangers;
pub mod transport;

pub use address::PeerAddress;
pub use channel::{Channel, ChannelError};
pub use joint::Joint;
pub use strangers::{Stranger, which_stranger_goes};
pub use transport::{Security, Transport, TransportError};

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
    /// The other end is not who it should be, or this end is not taken for who it is.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The socket failed.
    #[error("The connection failed: {0}")]
    Io(#[from] io::Error),
}

impl From<ChannelError> for ConnectionError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Io(error) => Self::Io(error),
            ChannelError::Tls(error) => Self::Tls(error),
        }
    }
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
    /// Bytes arrived, and they are all that there were: what comes after them makes the socket readable anew, unless the peer has
    /// closed its end.
    Last,
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
    joint: Joint,
}

/// What an end says of itself, and by which means.
#[derive(Clone, Debug)]
pub struct Dialing {
    /// Who is to be there.
    pub peer: NodeName,
    /// Where, and from which address of this host.
    pub to: PeerAddress,
    /// What it is to be.
    pub service: Service,
    /// Who connects.
    pub this: Identity,
}

impl Connection {
    /// Begins to connect. It says hello once it is told to [`proceed`](Self::proceed). The transport admitted the address.
    pub fn dial(dialing: Dialing, security: &Security, now: Time) -> Result<Self, ConnectionError> {
        let Dialing { peer, to, service, this } = dialing;
        let link = Link::dialed(service, this, now)?;
        let channel = match security {
            Security::PlainLoopback => Channel::Plain,
            Security::Tls(credentials) => Channel::dial(credentials.clone(), &peer)?,
        };
        let stream = to.connect()?;
        Ok(Self { stream, remote: to.remote, ready: false, joint: Joint::waiting(link, channel) })
    }

    /// Takes an accepted connection of a peer that is to say hello to `service`.
    pub fn accepted(
        stream: TcpStream,
        remote: SocketAddr,
        service: Service,
        security: &Security,
        now: Time,
    ) -> Self {
        let channel = match security {
            Security::PlainLoopback => Channel::Plain,
            Security::Tls(credentials) => Channel::accept(credentials.clone()),
        };
        let joint = Joint::new(Link::accepted(service, now), channel);
        Self { stream, remote, ready: false, joint }
    }

    /// Whether the other end is there, and is who was asked for as far as the channel proves it; an error if connecting
    /// failed.
    pub fn is_there(&mut self) -> Result<bool, ConnectionError> {
        Ok(self.is_ready()? && self.joint.channel().is_open())
    }

    /// Says hello as soon as it can.
    pub fn proceed(&mut self) -> Result<(), ConnectionError> {
        self.joint.proceed();
        self.flush()
    }

    /// Whether bytes of the link can go: the socket was found connected, and the handshake of TLS is done.
    pub fn is_connected(&self) -> bool {
        self.ready && self.joint.channel().is_open()
    }

    /// Who is there by its certificate; nobody while that is not known, and never on a plain connection.
    pub fn proven(&self) -> Option<&NodeName> {
        self.joint.channel().peer()
    }

    /// Holds who is there against what is trusted now; an error if the connection is to end. One whose handshake is under
    /// way goes by what was trusted before, so it ends as well.
    pub fn check_trust(&self, security: &Security) -> Result<(), TlsError> {
        match security {
            Security::PlainLoopback => Ok(()),
            Security::Tls(credentials) => self.joint.channel().check_trust(credentials),
        }
    }

    /// The version that both ends of an open link speak.
    pub fn version(&self) -> u16 {
        self.joint.link().version()
    }

    /// Address of the other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The own address that it has; `None` before it is connected.
    pub fn local(&self) -> Option<IpAddr> {
        self.stream.local_addr().ok().map(|address| address.ip()).filter(|_| self.ready)
    }

    /// This connection among those that have not said hello.
    pub fn as_stranger<K>(&self, id: K) -> Stranger<K> {
        Stranger { id, address: self.remote.ip(), proven: self.proven().is_some() }
    }

    /// Whether both ends know each other.
    pub fn is_open(&self) -> bool {
        self.joint.link().is_open()
    }

    /// Agrees to the hello that [`Event::Hello`] brought: the link is up.
    pub fn agree(&mut self, this: Identity) -> Result<(), ConnectionError> {
        self.joint.link_mut().agree(this)?;
        self.flush()
    }

    /// Refuses the peer. The connection is over once [`is_finished`](Self::is_finished).
    pub fn refuse(&mut self, reason: RefuseReason, detail: &str) -> Result<(), ConnectionError> {
        self.joint.link_mut().refuse(reason, detail)?;
        self.flush()
    }

    /// Ends in order. The connection is over once [`is_finished`](Self::is_finished).
    pub fn say_goodbye(&mut self) -> Result<(), ConnectionError> {
        self.joint.link_mut().say_goodbye()?;
        self.flush()
    }

    /// Whether this end has refused or said goodbye, and the socket has taken all of it.
    pub fn is_finished(&self) -> bool {
        self.joint.is_finished()
    }

    /// When [`check_timeout`](Self::check_timeout) is due; `None` while nothing is awaited.
    pub fn deadline(&self) -> Option<Time> {
        self.joint.link().deadline()
    }

    /// An error if the hello, or the connection's end, takes too long.
    pub fn check_timeout(&self, now: Time) -> Result<(), ConnectionError> {
        Ok(self.joint.link().check_timeout(now)?)
    }

    /// Puts a frame in its lane; [`flush`](Self::flush) sends it. A frame that is newer than the link's version is
    /// left out: the peer does not know it.
    pub fn push(&mut self, frame: Encoded) -> Result<(), ConnectionError> {
        Ok(self.joint.link_mut().push(frame)?)
    }

    /// Whether a lane takes another long frame; ask before pushing one.
    pub fn has_room(&self, lane: Lane) -> bool {
        self.joint.link().outbox().has_room(lane)
    }

    /// What waits and what was sent.
    pub fn outbox(&self) -> &Outbox {
        self.joint.link().outbox()
    }

    /// Writes until the socket takes no more.
    pub fn flush(&mut self) -> Result<(), ConnectionError> {
        if !self.is_ready()? {
            return Ok(());
        }
        self.joint.flush(&mut self.stream)
    }

    /// Reads once.
    pub fn fill(&mut self) -> Result<Fill, ConnectionError> {
        if !self.is_ready()? {
            return Ok(Fill::Drained);
        }
        self.joint.fill(&mut self.stream)
    }

    /// What has arrived. `None`: call [`fill`](Self::fill).
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ConnectionError> {
        self.joint.next_event()
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
