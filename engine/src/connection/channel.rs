//! What is between a link's bytes and its socket: nothing, or TLS.
//!
//! ```text
//!   Link ── pieces ──► write ─┬──────────────────────────► socket      plain
//!                             └► sealed, at most 64 KiB ──►            TLS: more is taken in once all of it left
//!   Link ◄── space ─── read ◄─┬───────────────────────────             plain
//!                             └─ opened, one record ◄──────            TLS: first what was opened, then the socket
//! ```
//!
//! What is sealed can be overtaken by nothing, so little is sealed ahead of the socket: order is the outbox's affair.
//! A socket that is silent says nothing of bytes that were opened and not read, so reading goes on until both are empty.
//!
//! Pure but for the stream it is handed: tests and the fuzz target hand it memory.

use crate::trust::{Credentials, Inviter, Purpose, Shown, TlsError, Verdict};
use rustls::server::Acceptor;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use understudy_session::NodeName;

/// Bytes of a link that are sealed ahead of the socket, at most: what a small frame waits for beside the outbox's own.
const SEALED_BYTES_MAX: usize = 64 << 10;

/// Why nothing can be read or written any more, or not now ([`io::ErrorKind::WouldBlock`]).
#[derive(thiserror::Error, Debug)]
pub enum ChannelError {
    /// The stream's word.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// TLS's word.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The bytes of one connection.
#[derive(Debug)]
pub enum Channel {
    /// As they are.
    Plain,
    /// Sealed.
    Tls(Box<Tls>),
}

/// TLS on one connection.
///
/// ```text
///   accepted ─► Greeting ── first word ─┬─ for a link ─► Talking ── handshake done: peer ─► the link's bytes
///                                       └─ to join ────► Joining ── request, answer ─────► the end
///   dialed ────────────────────────────────────────────► Talking
/// ```
#[derive(Debug)]
pub struct Tls {
    state: State,
    credentials: Arc<Credentials>,
    /// Whose certificate the peer showed, once its handshake is done.
    peer: Option<(NodeName, Shown)>,
    said_close: bool,
}

enum State {
    Greeting(Acceptor),
    Talking(rustls::Connection),
    Joining(rustls::Connection, Inviter),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Greeting(_) => "Greeting",
            Self::Talking(_) => "Talking",
            Self::Joining(..) => "Joining",
        })
    }
}

impl State {
    fn session(&mut self) -> Option<&mut rustls::Connection> {
        match self {
            Self::Greeting(_) => None,
            Self::Talking(session) | Self::Joining(session, _) => Some(session),
        }
    }
}

impl Channel {
    /// TLS towards `peer`, who is the only one that is taken for it.
    pub fn dial(credentials: Arc<Credentials>, peer: &NodeName) -> Result<Self, TlsError> {
        let mut session = rustls::Connection::from(credentials.dial(peer)?);
        session.set_buffer_limit(Some(SEALED_BYTES_MAX));
        Ok(Self::tls(State::Talking(session), credentials))
    }

    /// TLS for whoever connected, if it is trusted.
    pub fn accept(credentials: Arc<Credentials>) -> Self {
        Self::tls(State::Greeting(Acceptor::default()), credentials)
    }

    fn tls(state: State, credentials: Arc<Credentials>) -> Self {
        Self::Tls(Box::new(Tls { state, credentials, peer: None, said_close: false }))
    }

    /// Whether the link's bytes may go: the handshake is done, if there is one.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Tls(tls) => tls.peer.is_some(),
        }
    }

    /// Who is there by its certificate; nobody while that is not known, and never on a plain channel.
    pub fn peer(&self) -> Option<&NodeName> {
        match self {
            Self::Plain => None,
            Self::Tls(tls) => tls.peer.as_ref().map(|(name, _)| name),
        }
    }

    /// Holds what the peer showed against what is trusted now; an error if the connection is to end.
    pub fn check_trust(&self, now: &Credentials) -> Result<(), TlsError> {
        let Self::Tls(tls) = self else { return Ok(()) };
        let Some((name, shown)) = &tls.peer else { return Err(TlsError::Reloaded) };
        match now.name_of(shown) {
            Ok(found) if found == *name => Ok(()),
            Ok(_) | Err(_) => Err(TlsError::Revoked(name.0.clone())),
        }
    }

    /// Whether all that was taken in has left.
    pub fn is_drained(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Tls(tls) => match &tls.state {
                State::Greeting(_) => true,
                State::Talking(session) | State::Joining(session, _) => !session.wants_write(),
            },
        }
    }

    /// Writes what is sealed already, and says whether the link's bytes may follow now.
    pub fn drain(&mut self, stream: &mut impl Write) -> Result<bool, ChannelError> {
        match self {
            Self::Plain => Ok(true),
            Self::Tls(tls) => Ok(tls.drain(stream)? && tls.peer.is_some()),
        }
    }

    /// Takes bytes of the link, as many as it says. Call it after [`drain`](Self::drain) allowed it.
    pub fn write(&mut self, stream: &mut impl Write, pieces: &[IoSlice<'_>]) -> Result<usize, ChannelError> {
        match self {
            Self::Plain => Ok(stream.write_vectored(pieces)?),
            Self::Tls(tls) => {
                let Some(session) = tls.state.session() else { return Ok(0) };
                let count = session.writer().write_vectored(pieces)?;
                tls.drain(stream)?;
                Ok(count)
            }
        }
    }

    /// Reads bytes of the link; 0 at their end.
    pub fn read(
        &mut self,
        stream: &mut (impl Read + Write),
        space: &mut [u8],
    ) -> Result<usize, ChannelError> {
        match self {
            Self::Plain => Ok(stream.read(space)?),
            Self::Tls(tls) => tls.read(stream, space),
        }
    }

    /// Tells the peer that this was all, once.
    pub fn close(&mut self, stream: &mut impl Write) -> Result<(), ChannelError> {
        let Self::Tls(tls) = self else { return Ok(()) };
        if !std::mem::replace(&mut tls.said_close, true) {
            tls.state.session().into_iter().for_each(|session| session.send_close_notify());
        }
        tls.drain(stream)?;
        Ok(())
    }
}

impl Tls {
    /// Whether all of it left.
    fn drain(&mut self, stream: &mut impl Write) -> io::Result<bool> {
        let Some(session) = self.state.session() else { return Ok(true) };
        while session.wants_write() {
            match session.write_tls(stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn read(&mut self, stream: &mut (impl Read + Write), space: &mut [u8]) -> Result<usize, ChannelError> {
        loop {
            if let State::Greeting(_) = &self.state {
                self.greet(stream)?;
                continue;
            }
            if let Some(result) = self.read_opened(stream, space) {
                return result;
            }
            let session = self.state.session().expect("it is greeted");
            session.read_tls(stream)?;
            self.process(stream)?;
        }
    }

    /// Reads the first word of who connected, and chooses what it is here for.
    fn greet(&mut self, stream: &mut (impl Read + Write)) -> Result<(), ChannelError> {
        let State::Greeting(acceptor) = &mut self.state else { return Ok(()) };
        if acceptor.read_tls(stream)? == 0 {
            return Err(TlsError::EndedEarly.into());
        }
        let begun = match acceptor.accept() {
            Ok(None) => return Ok(()),
            Ok(Some(accepted)) => {
                let (purpose, config) = self.credentials.accept(&accepted.client_hello());
                accepted.into_connection(config).map(|session| (purpose, session))
            }
            Err(failed) => Err(failed),
        };
        let (purpose, session) = begun.map_err(|(error, mut alert)| {
            // It tells the peer why; whether it arrives changes nothing here.
            let _ = alert.write_all(stream);
            TlsError::from(error)
        })?;
        let mut session = rustls::Connection::from(session);
        session.set_buffer_limit(Some(SEALED_BYTES_MAX));
        self.state = match purpose {
            Purpose::Link => State::Talking(session),
            Purpose::Join => State::Joining(session, Inviter::default()),
        };
        // More than the first word may have come at once.
        self.process(stream)
    }

    /// Goes through what was read from the stream.
    fn process(&mut self, stream: &mut impl Write) -> Result<(), ChannelError> {
        let session = self.state.session().expect("it is greeted");
        if let Err(error) = session.process_new_packets() {
            // The alert tells the peer why; whether it arrives changes nothing here.
            let _ = self.drain(stream);
            return Err(TlsError::from(error).into());
        }
        if self.peer.is_none() {
            self.finish_handshake()?;
        }
        self.drain(stream)?;
        Ok(())
    }

    /// Reads what was opened; `None` if more has to come from the stream first.
    fn read_opened(
        &mut self,
        stream: &mut impl Write,
        space: &mut [u8],
    ) -> Option<Result<usize, ChannelError>> {
        let session = self.state.session()?;
        match session.reader().read(space) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            // The peer's process ended without a word of TLS. The link's own frames say whether something is missing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Some(match self.peer {
                Some(_) => Ok(0),
                None => Err(TlsError::EndedEarly.into()),
            }),
            Err(error) => Some(Err(error.into())),
            Ok(count) => match &self.state {
                State::Joining(..) => self.hear(stream, &space[..count]).err().map(Err),
                State::Greeting(_) | State::Talking(_) => Some(Ok(count)),
            },
        }
    }

    /// Hears who wants to join; the answer is the end.
    fn hear(&mut self, stream: &mut impl Write, bytes: &[u8]) -> Result<(), ChannelError> {
        let State::Joining(session, inviter) = &mut self.state else { return Ok(()) };
        if bytes.is_empty() {
            return Err(TlsError::EndedEarly.into());
        }
        let Some((answer, verdict)) = inviter.hear(bytes, session, &self.credentials) else { return Ok(()) };
        session.writer().write_all(&answer)?;
        session.send_close_notify();
        // A short answer to an idle socket. Who does not get it is trusted all the same, and finds out by linking.
        let _ = self.drain(stream);
        Err(match verdict {
            Verdict::Taken { name, fingerprint } => TlsError::Joined { name, fingerprint },
            Verdict::Refused(why) => TlsError::NotJoined(why),
        }
        .into())
    }

    fn finish_handshake(&mut self) -> Result<(), TlsError> {
        let State::Talking(session) = &self.state else { return Ok(()) };
        if session.is_handshaking() {
            return Ok(());
        }
        if session.alpn_protocol() != Some(crate::trust::ALPN) {
            return Err(TlsError::NotALink);
        }
        let shown = self.credentials.shown(session);
        self.peer = Some((self.credentials.name_of(&shown)?, shown));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
