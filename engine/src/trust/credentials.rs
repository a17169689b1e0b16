//! Everything an end needs to make connections: what it shows, and whom it trusts. Read whole or not at all.

use super::authority::Authority;
use super::files::{self, CredentialsError};
use super::fingerprint::Fingerprint;
use super::shown::{Shown, Side};
use super::trusted::Trusted;
use super::verifier::{Rule, Verifier};
use super::{ALPN, JOIN_ALPN, invitation};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, Error, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use understudy_session::NodeName;

/// TLS requires a server name. Ours is never checked, since certificates are compared whole.
const ANY_NAME: &str = "node.understudy";

/// This end's certificate and key, and the certificates that it trusts.
#[derive(Debug)]
pub struct Credentials {
    directory: PathBuf,
    this: NodeName,
    provider: Arc<CryptoProvider>,
    own: Arc<CertifiedKey>,
    trusted: Arc<Trusted>,
    expires_at: Option<UnixTime>,
    server: Arc<ServerConfig>,
    /// Settings for connections that join by an invitation.
    joined: Arc<ServerConfig>,
}

impl Credentials {
    /// Reads the directory for the end that is called `this`.
    pub fn load(directory: &Path, this: &NodeName) -> Result<Self, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = files::certificates(&directory.join(files::OWN_CERTIFICATE))?;
        let key = files::private_key(&directory.join(files::OWN_KEY))?;
        let pair = |why: Error| CredentialsError::Pair { directory: directory.into(), why: why.to_string() };
        let own = Arc::new(CertifiedKey::from_der(chain, key, &provider).map_err(pair)?);
        let trusted = Arc::new(read_trusted(directory, &provider)?);
        let fingerprint = Fingerprint::of(&own.cert[0]);
        if let Some((other, _)) =
            trusted.pins.iter().find(|(name, pins)| *name != this && pins.contains(&own.cert[0]))
        {
            let why = format!("it is this end's own certificate ({fingerprint}), and this end is {this}");
            let path = directory.join(files::TRUST).join(format!("{other}.crt"));
            return Err(files::not_usable(&path, why));
        }
        let server = server_config(&provider, &own, Rule::Trusted(trusted.clone()), ALPN).map_err(pair)?;
        let joined = server_config(&provider, &own, Rule::Anybody, JOIN_ALPN).map_err(pair)?;
        let expires_at = own
            .cert
            .split_first()
            .and_then(|(leaf, rest)| trusted.authority.as_ref()?.until(leaf, rest, UnixTime::now()));
        let (directory, this) = (directory.into(), this.clone());
        Ok(Self { directory, this, provider, own, trusted, expires_at, server, joined })
    }

    /// How to continue with a client that begins with this hello.
    pub(crate) fn accept(&self, hello: &ClientHello<'_>) -> (Purpose, Arc<ServerConfig>) {
        let joins = hello.alpn().is_some_and(|mut protocols| protocols.any(|it| it == JOIN_ALPN));
        match joins && invitation::is_anybody(&self.directory) {
            true => (Purpose::Join, self.joined.clone()),
            false => (Purpose::Link, self.server.clone()),
        }
    }

    /// Begins a connection to `peer`; any other node's certificate is refused.
    pub(crate) fn dial(&self, peer: &NodeName) -> Result<ClientConnection, Error> {
        self.dial_by(Rule::Only(self.trusted.clone(), peer.clone()), ALPN)
    }

    /// Begins a connection to the inviter whose certificate has this fingerprint.
    pub(super) fn dial_inviter(&self, inviter: Fingerprint) -> Result<ClientConnection, Error> {
        self.dial_by(Rule::Shown(inviter), JOIN_ALPN)
    }

    fn dial_by(&self, rule: Rule, alpn: &[u8]) -> Result<ClientConnection, Error> {
        let algorithms = self.provider.signature_verification_algorithms;
        let mut client = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { rule, algorithms }))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.own.clone())));
        client.alpn_protocols = vec![alpn.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        let name = ServerName::try_from(ANY_NAME).expect("a constant name");
        ClientConnection::new(Arc::new(client), name)
    }

    /// Fails if another certificate is pinned for `name`.
    pub(super) fn may_pin(
        &self,
        name: &NodeName,
        certificate: &CertificateDer<'_>,
    ) -> Result<(), CredentialsError> {
        files::may_pin(&self.directory, name, certificate).map(drop)
    }

    /// The directory that everything was read from.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// This end's name.
    pub fn this(&self) -> &NodeName {
        &self.this
    }

    /// The owner of what a peer has shown; an error if that owner is no longer trusted.
    pub(crate) fn name_of(&self, shown: &Shown) -> Result<NodeName, Error> {
        self.trusted.vouch_again(shown)
    }

    /// The certificates that the peer has shown in a finished handshake.
    pub(crate) fn shown(&self, session: &rustls::Connection) -> Shown {
        let chain = session.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        let side = match session {
            rustls::Connection::Client(_) => Side::Server,
            rustls::Connection::Server(_) => Side::Client,
        };
        Shown { side, chain, at: UnixTime::now() }
    }

    /// Fingerprint of this end's certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.own.cert[0])
    }

    /// Expiry of this end's certificate; `None` for a pinned one, which does not expire.
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }

    /// Whether an authority certifies names without pins.
    pub fn has_authority(&self) -> bool {
        self.trusted.authority.is_some()
    }

    /// The pinned names, with the fingerprints of their certificates.
    pub fn pins(&self) -> impl Iterator<Item = (&NodeName, impl Iterator<Item = Fingerprint>)> {
        self.trusted.pins.iter().map(|(name, pins)| (name, pins.iter().map(|pin| Fingerprint::of(pin))))
    }
}

/// The purpose of a connection, according to its ALPN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A link between nodes or to the witness.
    Link,
    /// A node that joins.
    Join,
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    own: &Arc<CertifiedKey>,
    rule: Rule,
    alpn: &[u8],
) -> Result<Arc<ServerConfig>, Error> {
    let algorithms = provider.signature_verification_algorithms;
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Verifier { rule, algorithms }))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(own.clone())));
    server.alpn_protocols = vec![alpn.to_vec()];
    // Each connection shows its certificate anew: what is resumed has been looked at before a revocation.
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(server))
}

fn read_trusted(directory: &Path, provider: &Arc<CryptoProvider>) -> Result<Trusted, CredentialsError> {
    let pins = files::pins(&directory.join(files::TRUST))?;
    let path = directory.join(files::AUTHORITY);
    let authority = match files::is_there(&path)? {
        false => None,
        true => {
            let roots = files::certificates(&path)?;
            let revoked = files::revocations(&directory.join(files::REVOKED))?;
            Some(
                Authority::new(roots, revoked, provider)
                    .map_err(|why| files::not_usable(&path, why.to_string()))?,
            )
        }
    };
    Ok(Trusted { pins, authority })
}
