//! One end of a link: the hello, the frames that may come, and what leaves next. Bytes in, bytes out.
//! Not here: the socket, and what frames mean.
//!
//! ```text
//!            space() · filled(n) ─► Decoder ─► next_event() ─► Hello │ Up │ Guest │ Witness │ Bye …
//!   socket                            ▲ hello: version, peer
//!            pieces() · written(n) ◄─ Outbox ◄─ push() · agree() · refuse() · say_goodbye()
//!
//!   Greeting ─hello─► Deciding ─agree──► Open ─say_goodbye─► Ending ─all written─► finished
//!                         └─────refuse───────────────────────► │
//!   Answering ─answer───────────────────► Open                 │   (not Open within HELLO_MAX: an error)
//! ```

use crate::handshake::{self, HELLO_MAX, Handshake};
use crate::kind::Kind;
use crate::lane::Lane;
use crate::outbox::Backlog;
use crate::{
    Decoder, EncodeError, Encoded, Frame, GUEST_REFUSALS_SINCE, GuestFrame, GuestId, Hello, HelloAnswer,
    Identity, LinkError, LinkFrame, Outbox, RefuseReason, Service, VERSIONS, WitnessFrame, encode,
};
use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use understudy_checkpoint::OutOfMemory;
use understudy_session::{NodeName, Time};

/// Why a link ended.
#[derive(thiserror::Error, Debug)]
pub enum LinkEnd {
    /// The peer sent something invalid, or refused.
    #[error(transparent)]
    Protocol(#[from] LinkError),
    /// The peer reads too slowly.
    #[error(transparent)]
    Backlog(#[from] Backlog),
    /// This end wanted to send something that does not fit a frame.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// What a link reports to its driver.
#[derive(Debug)]
pub enum Event<'a> {
    /// A peer connected and says hello: call [`Link::agree`] or [`Link::refuse`] before anything else.
    Hello(Hello),
    /// Our hello was answered by this peer: the link is up.
    Up(Identity),
    /// A frame about a guest, on a link between nodes.
    Guest(GuestId, GuestFrame<'a>),
    /// A request or a reply, on a link to the witness.
    Witness(WitnessFrame<'a>),
    /// The peer asks whether this end is alive: answer with a pong.
    Ping,
    /// The peer's answer to a ping.
    Pong,
    /// How the peer and its guests stand.
    Bulletin(Vec<u8>),
    /// The peer asks for facts about this host.
    FactsWanted,
    /// Facts about the peer's host; empty if it cannot tell them.
    Facts(Vec<u8>),
    /// The peer said goodbye.
    Bye,
}

impl Event<'_> {
    /// The frame in words, for a person.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Hello(_) => Kind::Hello.words(),
            Self::Up(_) => Kind::HelloAnswer.words(),
            Self::Guest(_, frame) => frame.kind_name(),
            Self::Witness(frame) => frame.kind_name(),
            Self::Ping => Kind::Ping.words(),
            Self::Pong => Kind::Pong.words(),
            Self::Bulletin(_) => Kind::Bulletin.words(),
            Self::FactsWanted => Kind::FactsWanted.words(),
            Self::Facts(_) => Kind::Facts.words(),
            Self::Bye => Kind::Bye.words(),
        }
    }
}

/// One end of a link.
#[derive(Debug)]
pub struct Link {
    /// What it is for: what this end serves, and from a peer's hello on what the peer asked for.
    service: Service,
    handshake: Handshake,
    /// The version that both ends speak, once the link is open.
    version: u16,
    begun: Time,
    /// Who the peer is, if something below this link proves it.
    proven: Option<NodeName>,
    decoder: Decoder,
    outbox: Outbox,
}

impl Link {
    /// The end that connects: it sends a hello to `service`.
    pub fn dialed(service: Service, this: Identity, now: Time) -> Result<Self, LinkEnd> {
        let hello = handshake::hello(this, service)?;
        let mut link = Self::new(service, Handshake::Answering, now);
        link.outbox.push(hello)?;
        Ok(link)
    }

    /// The end that a peer connected to: it expects a hello to `service`.
    pub fn accepted(service: Service, now: Time) -> Self {
        Self::new(service, Handshake::Greeting, now)
    }

    fn new(service: Service, handshake: Handshake, begun: Time) -> Self {
        let (decoder, outbox) = (Decoder::new(), Outbox::default());
        Self { service, handshake, version: *VERSIONS.start(), begun, proven: None, decoder, outbox }
    }

    /// The peer has proven to be `node`: a hello or answer with another name ends the link. Call it before
    /// [`next_event`](Self::next_event) reads what the peer has sent.
    pub fn peer_is(&mut self, node: NodeName) {
        self.proven = Some(node);
    }

    /// The node that the peer has proven to be.
    pub fn proven(&self) -> Option<&NodeName> {
        self.proven.as_ref()
    }

    /// The version that both ends of an open link speak.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Whether both ends have agreed.
    pub fn is_open(&self) -> bool {
        self.handshake == Handshake::Open
    }

    /// Agrees to the hello that [`Event::Hello`] brought: the link is up.
    pub fn agree(&mut self, this: Identity) -> Result<(), LinkEnd> {
        let Handshake::Deciding { version } = self.handshake else {
            panic!("there is no hello to agree to");
        };
        let answer = encode(&LinkFrame::HelloAnswer(HelloAnswer { version, from: this }).into())?;
        self.outbox.push(answer)?;
        self.open(version);
        Ok(())
    }

    /// Refuses the peer. The connection is over once [`is_finished`](Self::is_finished).
    pub fn refuse(&mut self, reason: RefuseReason, detail: &str) -> Result<(), LinkEnd> {
        self.end_with(LinkFrame::Refuse { reason, detail: detail.to_owned() })
    }

    /// Ends in order. The connection is over once [`is_finished`](Self::is_finished).
    pub fn say_goodbye(&mut self) -> Result<(), LinkEnd> {
        self.end_with(LinkFrame::Bye)
    }

    fn end_with(&mut self, frame: LinkFrame) -> Result<(), LinkEnd> {
        self.handshake = Handshake::Ending;
        self.outbox.push(encode(&frame.into())?)?;
        Ok(())
    }

    /// Whether this end has refused or said goodbye; its last frame may not be written yet.
    pub fn has_ended(&self) -> bool {
        self.handshake == Handshake::Ending
    }

    /// Whether this end has refused or said goodbye, and all of it was written.
    pub fn is_finished(&self) -> bool {
        self.handshake == Handshake::Ending && self.outbox.is_empty()
    }

    /// When [`check_timeout`](Self::check_timeout) is due; `None` while nothing is awaited.
    pub fn deadline(&self) -> Option<Time> {
        (self.handshake != Handshake::Open).then(|| self.begun + HELLO_MAX)
    }

    /// An error if the hello, or the end of the link, takes too long.
    pub fn check_timeout(&self, now: Time) -> Result<(), LinkEnd> {
        match self.deadline() {
            Some(deadline) if deadline <= now => Err(LinkError::HelloTimeout.into()),
            _ => Ok(()),
        }
    }

    /// Puts a frame in its lane; [`pieces`](Self::pieces) hands it out. A frame that the link's version does not have
    /// is dropped.
    pub fn push(&mut self, frame: Encoded) -> Result<(), Backlog> {
        if self.is_open() && frame.since() > self.version {
            return Ok(());
        }
        self.outbox.push(frame)
    }

    /// Whether a lane takes another long frame; ask before pushing one.
    pub fn has_room(&self, lane: Lane) -> bool {
        self.outbox.has_room(lane)
    }

    /// The outbox, to look at what waits and what was sent.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// What to write next, in pieces for one vectored write; none if there is nothing to write.
    pub fn pieces(&mut self) -> impl Iterator<Item = &[u8]> {
        self.outbox.pieces()
    }

    /// `count` bytes of the pieces were written.
    pub fn written(&mut self, count: usize) {
        self.outbox.written(count);
    }

    /// Where to read the peer's next bytes; call [`filled`](Self::filled) with how many came. `None` once this end has
    /// refused or said goodbye: the rest is read only to see the peer close.
    pub fn space(&mut self) -> Result<Option<&mut [u8]>, OutOfMemory> {
        match self.handshake {
            Handshake::Ending => Ok(None),
            _ => self.decoder.space().map(Some),
        }
    }

    /// `count` bytes came into [`space`](Self::space).
    pub fn filled(&mut self, count: usize) {
        self.decoder.filled(count);
    }

    /// The next event. `None`: no whole frame has arrived; read more.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, LinkEnd> {
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

    fn next_answer(&mut self) -> Result<Option<Event<'static>>, LinkEnd> {
        let (peer, version) = match self.decoder.next_frame()? {
            None => return Ok(None),
            Some(Frame::Link(LinkFrame::Refuse { reason, detail })) => {
                return Err(LinkError::Refused { reason, detail }.into());
            }
            Some(frame) => handshake::read_answer(frame)?,
        };
        if let Some(proven) = &self.proven
            && *proven != peer.node
        {
            return Err(LinkError::NotItsName { proven: proven.0.clone(), said: peer.node.0 }.into());
        }
        self.open(version);
        Ok(Some(Event::Up(peer)))
    }

    fn next_hello(&mut self) -> Result<Option<Event<'static>>, LinkEnd> {
        let Some(frame) = self.decoder.next_frame()? else {
            return Ok(None);
        };
        let (hello, answer) = handshake::read_hello(frame, self.service)?;
        let answer = answer.and_then(|version| match &self.proven {
            Some(proven) => handshake::check_name(proven, &hello.from.node, self.service).map(|()| version),
            None => Ok(version),
        });
        match answer {
            Ok(version) => {
                self.service = hello.service;
                self.handshake = Handshake::Deciding { version };
                Ok(Some(Event::Hello(hello)))
            }
            Err((reason, detail)) => {
                self.refuse(reason, &detail)?;
                Ok(None)
            }
        }
    }

    fn event_of(frame: Frame<'_>, service: Service, version: u16) -> Result<Event<'_>, LinkEnd> {
        if frame.since() > version {
            return Err(handshake::unexpected("a frame of the link's version", &frame).into());
        }
        let has_pings = service == Service::Witness || version >= GUEST_REFUSALS_SINCE;
        match (frame, service) {
            (Frame::Link(LinkFrame::Bye), _) => Ok(Event::Bye),
            (Frame::Link(LinkFrame::Refuse { reason, detail }), _) => {
                Err(LinkError::Refused { reason, detail }.into())
            }
            (Frame::Link(LinkFrame::Ping), _) if has_pings => Ok(Event::Ping),
            (Frame::Link(LinkFrame::Pong), _) if has_pings => Ok(Event::Pong),
            (Frame::Link(LinkFrame::Bulletin(said)), Service::Node) => Ok(Event::Bulletin(said)),
            (Frame::Link(LinkFrame::FactsWanted), Service::Node) => Ok(Event::FactsWanted),
            (Frame::Link(LinkFrame::Facts(facts)), Service::Node) => Ok(Event::Facts(facts)),
            (Frame::Guest(guest, frame), Service::Node) => Ok(Event::Guest(guest, frame)),
            (Frame::Witness(frame), Service::Witness) => Ok(Event::Witness(frame)),
            (frame, Service::Node) => Err(handshake::unexpected("a frame about a guest", &frame).into()),
            (frame, Service::Witness) => {
                Err(handshake::unexpected("a witness request or reply", &frame).into())
            }
            (frame, Service::Spare) => Err(handshake::unexpected("a sign of life", &frame).into()),
        }
    }

    fn open(&mut self, version: u16) {
        self.handshake = Handshake::Open;
        self.version = version;
        if self.service == Service::Node {
            self.decoder.allow_long_frames();
        }
    }
}
