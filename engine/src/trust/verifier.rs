//! [`Trusted`] in the form in which TLS asks: once for the certificate, once for the proof that the peer has its key.

use super::fingerprint::Fingerprint;
use super::shown::{Side, TrustError};
use super::trusted::Trusted;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use std::sync::Arc;
use understudy_session::NodeName;

/// Which certificates are accepted.
#[derive(Debug)]
pub(super) enum Rule {
    /// The certificate of any trusted node.
    Trusted(Arc<Trusted>),
    /// The certificate of this node alone.
    Only(Arc<Trusted>, NodeName),
    /// The certificate with the fingerprint that an invitation names.
    Shown(Fingerprint),
    /// Any certificate: its owner proves an invitation afterwards.
    Anybody,
}

/// Answers the questions of a TLS handshake.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) rule: Rule,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn check(
        &self,
        side: Side,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        match &self.rule {
            Rule::Trusted(trusted) => trusted.vouch(side, leaf, rest, now).map(drop),
            Rule::Only(trusted, expected) => match trusted.vouch(side, leaf, rest, now)? {
                found if found != *expected => {
                    Err(TrustError::Another { expected: expected.clone(), found }.into())
                }
                _ => Ok(()),
            },
            Rule::Shown(expected) => match Fingerprint::of(leaf) {
                found if found != *expected => Err(TrustError::NotInviter(found).into()),
                _ => Ok(()),
            },
            Rule::Anybody => Ok(()),
        }
    }
}

/// The methods that rustls wants of both ends alike: TLS 1.3, and nothing older.
macro_rules! checks_signatures_of_tls13_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, leaf, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(Side::Client, leaf, rest, now).map(|()| ClientCertVerified::assertion())
    }

    checks_signatures_of_tls13_only!();
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(Side::Server, leaf, rest, now).map(|()| ServerCertVerified::assertion())
    }

    checks_signatures_of_tls13_only!();
}
