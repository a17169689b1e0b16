//! Whom this end trusts: a certificate in, a name or a reason out. The one place where that is decided.

use super::authority::Authority;
use super::fingerprint::Fingerprint;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, OtherError};
use std::collections::BTreeMap;
use std::sync::Arc;
use understudy_session::NodeName;

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

/// Pins, and perhaps an authority.
#[derive(Debug)]
pub struct Trusted {
    pub(super) pins: BTreeMap<NodeName, Vec<CertificateDer<'static>>>,
    pub(super) authority: Option<Authority>,
}

impl Trusted {
    /// Whose certificate this is. `rest` is what the peer sent with it; `at` is the time at which dates are looked at.
    pub(super) fn vouch(
        &self,
        side: Side,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<NodeName, Error> {
        let is_it = |certificates: &Vec<CertificateDer<'static>>| certificates.iter().any(|it| it == leaf);
        if let Some((name, _)) = self.pins.iter().find(|(_, certificates)| is_it(certificates)) {
            return Ok(name.clone());
        }
        let fingerprint = Fingerprint::of(leaf);
        let Some(authority) = &self.authority else { return Err(TrustError::Unknown(fingerprint).into()) };
        let name = authority.vouch(side, leaf, rest, at)?;
        if self.pins.contains_key(&name) {
            return Err(TrustError::Pinned { name, fingerprint }.into());
        }
        Ok(name)
    }

    /// Whose certificate it is that a peer of a standing connection had shown, by what is trusted now.
    pub(super) fn vouch_again(&self, shown: &Shown) -> Result<NodeName, Error> {
        let (leaf, rest) = shown.chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.vouch(shown.side, leaf, rest, shown.at)
    }
}
