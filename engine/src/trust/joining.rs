//! Joining: one node brings its certificate to another, by an invitation, and takes that one's along.
//!
//! ```text
//!   joins                                                     inviter
//!     │ ── TLS, ALPN understudy-join/1, its certificate ───────► │  anybody's is taken for this, and for nothing else
//!     │    fingerprint as in the line? else the end              │
//!     │ ── {"name":"b","proof":"…"} ────────────────────────────►│  the invitation is used up, trust/b.crt is written
//!     │ ◄── {"taken_by":"a"} or {"refused":"why"} ────────────── │
//!   trust/a.crt is written
//! ```
//!
//! The proof holds for this connection alone ([`invitation`](super::invitation)), so whoever is between has nothing.

use super::credentials::Credentials;
use super::files::{self, CredentialsError};
use super::fingerprint::{Fingerprint, from_hex, hex};
use super::invitation::{self, CHANNEL_BYTES, CHANNEL_LABEL, NotInvited, Token};
use super::tls_error::TlsError;
use crate::names::{NameError, check_new_name};
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, ClientConnection, Stream};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};
use understudy_session::NodeName;

/// Upper bound of a request and of an answer.
const LINE_BYTES_MAX: usize = 1_024;

/// Time limit of the whole exchange.
const EXCHANGE_MAX: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Request {
    name: String,
    proof: String,
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
enum Answer {
    TakenBy(String),
    Refused(String),
}

fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("names and digits are plain data");
    line.push(b'\n');
    line
}

/// The inviter's verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The node is trusted from now on.
    Taken { name: NodeName, fingerprint: Fingerprint },
    /// The node was refused and told why.
    Refused(String),
}

/// The inviter's end: bytes in, an answer out.
#[derive(Default, Debug)]
pub(crate) struct Inviter {
    heard: Vec<u8>,
}

impl Inviter {
    /// Takes bytes. After a whole line it returns the answer to send and the verdict.
    pub(crate) fn hear(
        &mut self,
        bytes: &[u8],
        session: &rustls::Connection,
        credentials: &Credentials,
    ) -> Option<(Vec<u8>, Verdict)> {
        self.heard.extend_from_slice(bytes);
        let is_whole = self.heard.ends_with(b"\n");
        if !is_whole && self.heard.len() <= LINE_BYTES_MAX {
            return None;
        }
        Some(match self.decide(session, credentials) {
            Ok((name, fingerprint)) => {
                let answer = Answer::TakenBy(credentials.this().0.clone());
                (line(&answer), Verdict::Taken { name, fingerprint })
            }
            Err(why) => {
                let why = why.to_string();
                (line(&Answer::Refused(why.clone())), Verdict::Refused(why))
            }
        })
    }

    fn decide(
        &self,
        session: &rustls::Connection,
        credentials: &Credentials,
    ) -> Result<(NodeName, Fingerprint), JoinRefusal> {
        if self.heard.len() > LINE_BYTES_MAX {
            return Err(JoinRefusal::TooLong);
        }
        let request: Request = serde_json::from_slice(&self.heard)?;
        check_new_name(&request.name)?;
        let name = NodeName(request.name);
        if name == *credentials.this() {
            return Err(JoinRefusal::OwnName(name));
        }
        let proof: [u8; 32] = from_hex(&request.proof).ok_or(JoinRefusal::Proof)?;
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        let leaf = leaf.ok_or(JoinRefusal::NoCertificate)?;
        let channel = channel_of(session)?;
        let directory = credentials.directory();
        // Whether its certificate has a place comes before the invitation is used up.
        credentials.may_pin(&name, leaf)?;
        invitation::use_up(directory, &name, &channel, &proof, SystemTime::now())?;
        files::pin(directory, &name, leaf)?;
        Ok((name, Fingerprint::of(leaf)))
    }
}

fn channel_of(session: &rustls::Connection) -> Result<[u8; CHANNEL_BYTES], rustls::Error> {
    session.export_keying_material([0; CHANNEL_BYTES], CHANNEL_LABEL, None)
}

/// Why the inviter refuses a node; the node receives the text.
#[derive(thiserror::Error, Debug)]
enum JoinRefusal {
    #[error("the request is too long")]
    TooLong,
    #[error(
        "this is not a request to join in the form of this version ({0}); use the same understudy on both ends"
    )]
    NotARequest(#[from] serde_json::Error),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{0} is the name of this end; choose another one, since each node needs its own")]
    OwnName(NodeName),
    #[error("the proof of the invitation cannot be read")]
    Proof,
    #[error("the joining end shows no certificate")]
    NoCertificate,
    #[error(transparent)]
    Channel(#[from] rustls::Error),
    #[error(transparent)]
    NotInvited(#[from] NotInvited),
    #[error(transparent)]
    Files(#[from] CredentialsError),
}

/// Why a node could not join.
#[derive(thiserror::Error, Debug)]
pub enum JoinError {
    /// This node's own certificate is unusable.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Nothing answers at that address.
    #[error("{address}: {source}; is the inviter running with --tls, and is this its address?")]
    Unreachable { address: SocketAddr, source: io::Error },
    /// The inviter has no open invitation.
    #[error(
        "{0} expects nobody: the line was used, or never made there; make a new one there with `understudy invite`"
    )]
    NobodyInvited(SocketAddr),
    /// Another process answers at that address.
    #[error("{address}: {why}")]
    Tls { address: SocketAddr, why: TlsError },
    /// The inviter refuses.
    #[error("{address} refuses: {why}")]
    Refused { address: SocketAddr, why: String },
}

/// The inviter that this node has joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    pub inviter: NodeName,
    pub shows: Fingerprint,
}

/// Delivers the certificate of `own` to the inviter, and pins the inviter's certificate here.
pub fn join(
    own: &Credentials,
    address: SocketAddr,
    inviter: Fingerprint,
    token: &Token,
) -> Result<Joined, JoinError> {
    let unreachable = |source| JoinError::Unreachable { address, source };
    let tls = |error: rustls::Error| match error {
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            JoinError::NobodyInvited(address)
        }
        error => JoinError::Tls { address, why: error.into() },
    };
    let mut session = own.dial_inviter(inviter).map_err(tls)?;
    let mut stream = TcpStream::connect_timeout(&address, EXCHANGE_MAX).map_err(unreachable)?;
    stream.set_read_timeout(Some(EXCHANGE_MAX)).map_err(unreachable)?;
    stream.set_write_timeout(Some(EXCHANGE_MAX)).map_err(unreachable)?;
    // What TLS says comes wrapped as an error of the stream.
    let failed = |error: io::Error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(inner) => tls(rustls::Error::clone(inner)),
        None => unreachable(error),
    };
    while session.is_handshaking() {
        session.complete_io(&mut stream).map_err(failed)?;
    }
    let channel = session.export_keying_material([0; CHANNEL_BYTES], CHANNEL_LABEL, None).map_err(tls)?;
    let proof = hex(token.prove(&channel, own.this()).as_ref());
    let request = line(&Request { name: own.this().0.clone(), proof });
    let answer = exchange(&mut session, &mut stream, &request).map_err(failed)?;
    let refused = |why: String| JoinError::Refused { address, why };
    match serde_json::from_slice(&answer) {
        Ok(Answer::TakenBy(name)) => {
            check_new_name(&name).map_err(|error| refused(error.to_string()))?;
            let inviter = NodeName(name);
            let leaf: &CertificateDer<'_> =
                session.peer_certificates().and_then(|chain| chain.first()).expect("a handshake was done");
            files::pin(own.directory(), &inviter, leaf)?;
            Ok(Joined { inviter, shows: Fingerprint::of(leaf) })
        }
        Ok(Answer::Refused(why)) => Err(refused(why)),
        Err(error) => Err(refused(format!("its answer is none of this version: {error}"))),
    }
}

fn exchange(session: &mut ClientConnection, stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut both = Stream::new(session, stream);
    both.write_all(request)?;
    both.flush()?;
    let mut answer = Vec::new();
    let mut piece = [0; LINE_BYTES_MAX];
    while !answer.ends_with(b"\n") && answer.len() <= 4 * LINE_BYTES_MAX {
        match both.read(&mut piece)? {
            0 => break,
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
    Ok(answer)
}
