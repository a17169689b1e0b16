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
    /// It connected.
    Client,
    /// It was connected to.
    Server,
}

/// What a peer showed when its connection was made.
#[derive(Clone, Debug)]
pub struct Shown {
    pub(super) side: Side,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) at: UnixTime,
}

/// Why a certificate is not taken.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum TrustError {
    /// Nobody has said that it is anybody's.
    #[error(
        "its certificate ({0}) is not among those that are trusted here; if it is a peer's, put its own.crt here as \
         trust/NAME.crt, or invite it"
    )]
    Unknown(Fingerprint),
    /// It is another node's than the one that was asked for.
    #[error("its certificate is that of {found}, and {expected} was asked for; check the address")]
    Another {
        /// Who was dialled.
        expected: NodeName,
        /// Who is there.
        found: NodeName,
    },
    /// The name has a pin, which goes before the authority's word.
    #[error(
        "the authority vouches for its certificate ({fingerprint}) as that of {name}, and another one stands in \
         trust/{name}.crt, which goes first; remove that file if the authority is to decide"
    )]
    Pinned {
        /// The name.
        name: NodeName,
        /// What was shown.
        fingerprint: Fingerprint,
    },
    /// Somebody else is where the inviter should be.
    #[error(
        "its certificate ({0}) is not the one that the line of the invitation names; somebody is between, or the address is \
         another's"
    )]
    NotInviter(Fingerprint),
    /// Nobody could be vouched for.
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
