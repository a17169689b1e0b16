//! An authority (CA): it vouches for names by signing certificates that have dates, and takes them back by a list.

use super::fingerprint::Fingerprint;
use super::shown::{Side, TrustError};
use crate::names::check_name;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, Error, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use understudy_session::NodeName;

/// Suffix of a node's name in its certificate. The suffix is no Internet domain, so no public authority certifies it.
const SUFFIX: &str = ".node.understudy";

/// Why an authority's files cannot be used.
#[derive(thiserror::Error, Debug)]
pub(super) enum AuthorityError {
    /// A certificate of the authority is unusable.
    #[error(transparent)]
    Certificate(#[from] Error),
    /// The certificates and the revocation list do not fit together.
    #[error(transparent)]
    Verifier(#[from] VerifierBuilderError),
}

/// The authority's certificates, ready to judge others.
#[derive(Debug)]
pub(super) struct Authority {
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<dyn ServerCertVerifier>,
}

impl Authority {
    /// An authority with these certificates and revocation lists.
    pub(super) fn new(
        roots: Vec<CertificateDer<'static>>,
        revoked: Vec<CertificateRevocationListDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, AuthorityError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root)?;
        }
        let store = Arc::new(store);
        let is_listed = !revoked.is_empty();
        let mut clients = WebPkiClientVerifier::builder_with_provider(store.clone(), provider.clone())
            .with_crls(revoked.clone());
        let mut servers =
            WebPkiServerVerifier::builder_with_provider(store, provider.clone()).with_crls(revoked);
        if is_listed {
            // A list is of one issuer; certificates of another, such as one between, need none.
            clients = clients.allow_unknown_revocation_status();
            servers = servers.allow_unknown_revocation_status();
        }
        Ok(Self { clients: clients.build()?, servers: servers.build()? })
    }

    /// The node that the authority certifies as the owner of this certificate.
    pub(super) fn vouch(
        &self,
        side: Side,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<NodeName, Error> {
        let nameless = || Error::from(TrustError::Nameless(Fingerprint::of(leaf)));
        let (name, dns) = name_in(leaf).ok_or_else(nameless)?;
        let verified = match side {
            Side::Client => self.clients.verify_client_cert(leaf, rest, at).map(drop),
            Side::Server => {
                let dns = ServerName::try_from(dns).map_err(|_| nameless())?;
                self.servers.verify_server_cert(leaf, rest, &dns, &[], at).map(drop)
            }
        };
        verified.map_err(|error| strangers_word(error, leaf))?;
        Ok(name)
    }

    /// The end of this certificate's validity; `None` if the authority never signed it, or if it never expires.
    pub(super) fn until(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<UnixTime> {
        // The verifier names the date that is in the way, from the node's own certificate on. If none is in the way now, it
        // is asked at the end of time.
        let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799));
        [now, end_of_time].into_iter().find_map(|at| match self.clients.verify_client_cert(leaf, rest, at) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(not_after)
            }
            _ => None,
        })
    }
}

/// An unknown certificate gives the same error with and without an authority.
fn strangers_word(error: Error, leaf: &CertificateDer<'_>) -> Error {
    match error {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::BadEncoding,
        ) => TrustError::Unknown(Fingerprint::of(leaf)).into(),
        error => error,
    }
}

/// The single node that a certificate names, and its full DNS name.
fn name_in(leaf: &CertificateDer<'_>) -> Option<(NodeName, String)> {
    let certificate = webpki::EndEntityCert::try_from(leaf).ok()?;
    let mut names = certificate.valid_dns_names().filter_map(|dns| Some((dns.strip_suffix(SUFFIX)?, dns)));
    let (name, dns) = names.next()?;
    // DNS knows no difference between small and capital letters, and names of nodes do.
    let is_plain = check_name(name).is_ok() && !name.contains(|c: char| c.is_ascii_uppercase() || c == '.');
    (names.next().is_none() && is_plain).then(|| (NodeName(name.to_owned()), dns.to_owned()))
}
