//! Whom this end trusts: a certificate in, a name or a reason out. The one place where that is decided.

use super::authority::Authority;
use super::fingerprint::Fingerprint;
use super::shown::{Shown, Side, TrustError};
use rustls::Error;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::collections::BTreeMap;
use understudy_session::NodeName;

/// The pinned certificates, and the authority if there is one.
#[derive(Debug)]
pub struct Trusted {
    pub(super) pins: BTreeMap<NodeName, Vec<CertificateDer<'static>>>,
    pub(super) authority: Option<Authority>,
}

impl Trusted {
    /// The owner of a certificate. `rest` is the remainder of the peer's chain; dates are checked against `at`.
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

    /// The owner of the certificate that the peer of an open connection has shown, judged by what is trusted now.
    pub(super) fn vouch_again(&self, shown: &Shown) -> Result<NodeName, Error> {
        let (leaf, rest) = shown.chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.vouch(shown.side, leaf, rest, shown.at)
    }
}
