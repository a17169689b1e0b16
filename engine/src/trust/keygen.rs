//! Makes what a node or a witness shows: a key, and a certificate that it signs itself.
//!
//! The certificate is no more than a wrapper around the key: what counts is that others have put it among those that they
//! trust. So it has no date to run out at, and its names are for people.

use super::files::{OWN_CERTIFICATE, OWN_KEY, TRUST};
use super::fingerprint::Fingerprint;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use understudy_session::NodeName;

/// Why no key was made.
#[derive(thiserror::Error, Debug)]
pub enum KeygenError {
    /// A key exists already.
    #[error(
        "{path} is there already, and peers trust it; to replace it, make the new pair in another directory, and follow \
         \"To change the key\" in docs/NETWORK.md",
        path = .0.display()
    )]
    IsThere(PathBuf),
    /// The system refuses.
    #[error("{path}: {source}", path = .path.display())]
    System { path: PathBuf, source: io::Error },
    /// The library failed to make a key.
    #[error("No key can be made: {0}")]
    Library(#[from] rcgen::Error),
}

/// A new key pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Made {
    /// The certificate's file, which goes to the other hosts.
    pub certificate: PathBuf,
    pub fingerprint: Fingerprint,
}

/// Makes a key pair for `name` in `directory`, and creates the directory if it is missing. Existing files are never replaced.
pub fn keygen(directory: &Path, name: &NodeName) -> Result<Made, KeygenError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    let mut subject = DistinguishedName::new();
    // No common name: etcd takes no client that has one for a user.
    subject.push(DnType::OrganizationName, "understudy");
    subject.push(DnType::OrganizationalUnitName, name.0.clone());
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let made = params.self_signed(&key)?;
    make_directory(directory, 0o755)?;
    make_directory(&directory.join(TRUST), 0o755)?;
    // The key first: a certificate without its key would look finished.
    write_new(&directory.join(OWN_KEY), 0o600, &key.serialize_pem())?;
    let certificate = directory.join(OWN_CERTIFICATE);
    write_new(&certificate, 0o644, &made.pem()).inspect_err(|_| {
        // Made a moment ago, and of no use to anybody. If it stays, the next attempt names it.
        let _ = fs::remove_file(directory.join(OWN_KEY));
    })?;
    Ok(Made { certificate, fingerprint: Fingerprint::of(made.der()) })
}

fn make_directory(path: &Path, mode: u32) -> Result<(), KeygenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| KeygenError::System { path: path.into(), source })
}

/// Writes a new file and flushes it to stable storage. The file takes its name once it is whole: half a key would stand in the way
/// of a whole one.
fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), KeygenError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeygenError::IsThere(path.into()),
        _ => KeygenError::System { path: path.into(), source },
    };
    if path.symlink_metadata().is_ok() {
        return Err(KeygenError::IsThere(path.into()));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    // Left by a process of this number that died.
    let _ = fs::remove_file(&fresh);
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // A link, because a rename would replace what somebody else has put there since.
    let written = written.and_then(|()| fs::hard_link(&fresh, path));
    let removed = fs::remove_file(&fresh);
    written.and(removed).map_err(failed)
}
