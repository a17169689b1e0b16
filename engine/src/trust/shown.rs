//! What a peer showed of itself, and why that is not taken.
//!
//! Not here: who decides ([`Trusted`](super::Trusted)).

use super::fingerprint::Fingerprint;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, OtherError};
use std::sync::Arc;
use understudy_session::NodeName;

/// Which end of a connection showed a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// The end that connected.
    Client,
    /// The end that accepted the connection.
    Server,
}

/// The certificates that a peer showed in its handshake.
#[derive(Clone, Debug)]
pub struct Shown {
    pub(super) side: Side,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) at: UnixTime,
}

/// Why a certificate is not accepted.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum TrustError {
    /// The certificate is unknown.
    #[error(
        "its certificate ({0}) is not among those that are trusted here; if it is a peer's, put its own.crt here as \
         trust/NAME.crt, or invite it"
    )]
    Unknown(Fingerprint),
    /// The certificate belongs to another node than the one that was dialled.
    #[error("its certificate is that of {found}, and {expected} was asked for; check the address")]
    Another { expected: NodeName, found: NodeName },
    /// The name is pinned to another certificate, and a pin takes precedence over the authority.
    #[error(
        "the authority vouches for its certificate ({fingerprint}) as that of {name}, and another one stands in \
         trust/{name}.crt, which goes first; remove that file if the authority is to decide"
    )]
    Pinned { name: NodeName, fingerprint: Fingerprint },
    /// The certificate is not the inviter's.
    #[error(
        "its certificate ({0}) is not the one that the line of the invitation names; somebody is between, or the address is \
         another's"
    )]
    NotInviter(Fingerprint),
    /// The certificate has no single node name for an authority to certify.
    #[error(
        "its certificate ({0}) is not among those that are trusted here, and the authority cannot vouch for it: it needs \
         exactly one DNS name of the form NAME.node.understudy, in small letters"
    )]
    Nameless(Fingerprint),
}

impl From<TrustError> for Error {
    fn from(error: TrustError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}
