//! Who this node is to etcd, and whom it takes for etcd: files in PEM, and a user's password.
//!
//! Read whenever connections are made anew, so that certificates can be renewed under a running node.

use super::Certificates;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::tls::{ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// A certificate's chain and a bundle of authorities are shorter.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is read from files, for connections.
#[derive(Clone, Debug)]
pub struct Credentials(Option<TlsConfig>);

/// Why credentials cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum CredentialError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// A file is something else.
    #[error("{0} is larger than any certificate, key or password; is it the right file?")]
    TooLong(PathBuf),
    /// A file is not PEM, or not what it should be.
    #[error("{path} has no {what} in PEM")]
    Missing { path: PathBuf, what: &'static str },
    /// Certificate and key do not go together, or are of a kind that is not known here.
    #[error("certificate {certificate} and key {key} cannot be used: {why}")]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        key: PathBuf,
        why: String,
    },
}

impl Credentials {
    /// Reads the files; without any, connections are plain.
    pub fn read(files: Option<&Certificates>) -> Result<Self, CredentialError> {
        let Some(Certificates { ca, certificate, key }) = files else { return Ok(Self(None)) };
        let authorities = certificates(ca)?;
        let chain = certificates(certificate)?;
        let (private, to_check) = private_key(key)?;
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        check(&ring, &chain, to_check).map_err(|why| CredentialError::Unusable {
            certificate: certificate.clone(),
            key: key.clone(),
            why: why.to_string(),
        })?;
        let config = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&authorities))
            .client_cert(Some(ClientCert::new_with_certs(&chain, private)))
            .unversioned_rustls_crypto_provider(ring)
            .build();
        Ok(Self(Some(config)))
    }

    pub(super) fn tls(&self) -> Option<&TlsConfig> {
        self.0.as_ref()
    }
}

/// The password in a file, without the end of its line.
pub(super) fn password(path: &Path) -> Result<String, CredentialError> {
    let text = String::from_utf8(bytes(path)?).map_err(|_| missing(path, "text"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn bytes(path: &Path) -> Result<Vec<u8>, CredentialError> {
    let failed = |source| CredentialError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(failed)?.take(FILE_BYTES_MAX + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    let fits = bytes.len() as u64 <= FILE_BYTES_MAX;
    if fits { Ok(bytes) } else { Err(CredentialError::TooLong(path.to_owned())) }
}

fn missing(path: &Path, what: &'static str) -> CredentialError {
    CredentialError::Missing { path: path.to_owned(), what }
}

fn certificates(path: &Path) -> Result<Vec<ureq::tls::Certificate<'static>>, CredentialError> {
    let bytes = bytes(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| missing(path, "certificate"))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(missing(path, "certificate")) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<(PrivateKey<'static>, PrivateKeyDer<'static>), CredentialError> {
    let bytes = bytes(path)?;
    let of_library = PrivateKey::from_pem(&bytes).map_err(|_| missing(path, "private key"))?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| missing(path, "private key"))?;
    Ok((of_library, key))
}

/// What would only be found at the first connection, which is long after somebody looks.
fn check(
    ring: &rustls::crypto::CryptoProvider,
    chain: &[ureq::tls::Certificate<'static>],
    key: PrivateKeyDer<'static>,
) -> Result<(), rustls::Error> {
    let chain = chain.iter().map(|it| CertificateDer::from(it.der().to_vec())).collect();
    rustls::sign::CertifiedKey::from_der(chain, key, ring).map(drop)
}
