//! The files of a trust directory: read with bounds, a key only if it is its user's alone.

use super::fingerprint::Fingerprint;
use crate::names::check_name;
use crate::output_file::sync_directory;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use understudy_session::NodeName;

/// Names of the files in a directory.
pub(super) const OWN_CERTIFICATE: &str = "own.crt";
pub(super) const OWN_KEY: &str = "own.key";
pub(super) const TRUST: &str = "trust";
pub(super) const AUTHORITY: &str = "ca.crt";
pub(super) const REVOKED: &str = "revoked.crl";

/// Upper bound of a certificate chain or a revocation list.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most trusted peers: as many as a witness admits.
const PINS_MAX: usize = 1_024;

/// Mode bits that a private key must not have: none for others, no write for the group.
const TOO_OPEN: u32 = 0o027;

/// Why certificates cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum CredentialsError {
    /// A required file is missing or unreadable.
    #[error("{path}: {source}; `understudy keygen NAME --tls DIR` makes what is missing", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file's content does not match its name.
    #[error("{path}: {why}", path = .path.display())]
    NotUsable {
        path: PathBuf,
        /// Why not, and what to do.
        why: String,
    },
    /// Other users may read the key.
    #[error(
        "{path} may be read by others than its user (mode {mode:03o}); whoever has read it can be this node: make a new one \
         with `understudy keygen`, or if nobody has, run `chmod 600 {path}`",
        path = .path.display()
    )]
    KeyTooOpen { path: PathBuf, mode: u32 },
    /// Key and certificate do not match, or are of an unsupported kind.
    #[error("The certificate and the key in {directory} cannot be used together: {why}", directory = .directory.display())]
    Pair { directory: PathBuf, why: String },
}

pub(super) fn not_usable(path: &Path, why: impl Into<String>) -> CredentialsError {
    CredentialsError::NotUsable { path: path.to_owned(), why: why.into() }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let failed = |source| CredentialsError::Read { path: path.to_owned(), source };
    read_file(&mut File::open(path).map_err(failed)?, path)
}

fn read_file(file: &mut File, path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| CredentialsError::Read { path: path.to_owned(), source })?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(not_usable(path, "it has more than 1 MiB; is it the right file?")),
        false => Ok(bytes),
    }
}

/// The certificates of a PEM file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let bytes = read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(not_usable(path, "there is no certificate in it; it should have PEM text")),
        Err(error) => Err(not_usable(path, format!("it is no PEM text of certificates: {error}"))),
    }
}

/// The private key of a PEM file that others cannot read.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    let failed = |source| CredentialsError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & TOO_OPEN != 0 {
        return Err(CredentialsError::KeyTooOpen { path: path.to_owned(), mode });
    }
    let bytes = read_file(&mut file, path)?;
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| not_usable(path, format!("it is no PEM text of a private key: {error}")))
}

/// The authority's revocation lists; empty if there is no such file.
pub(super) fn revocations(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, CredentialsError> {
    if !is_there(path)? {
        return Ok(Vec::new());
    }
    CertificateRevocationListDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| not_usable(path, format!("it is no PEM text of revocations: {error}")))
}

/// Whether the file exists. If that cannot be determined, the result is an error and not `false`.
pub(super) fn is_there(path: &Path) -> Result<bool, CredentialsError> {
    path.try_exists().map_err(|source| CredentialsError::Read { path: path.to_owned(), source })
}

/// The pinned certificates by name, from the files `NAME.crt`. Two names may not share a certificate.
pub(super) fn pins(
    folder: &Path,
) -> Result<BTreeMap<NodeName, Vec<CertificateDer<'static>>>, CredentialsError> {
    let failed = |source| CredentialsError::Read { path: folder.to_owned(), source };
    let mut pins = BTreeMap::new();
    let mut whose = BTreeMap::new();
    if !is_there(folder)? {
        return Ok(pins);
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".crt")) else {
            continue;
        };
        if name.starts_with('.') {
            // Somebody's editor, or a file that is being written.
            continue;
        }
        check_name(name).map_err(|error| not_usable(&path, error.to_string()))?;
        let name = NodeName(name.to_owned());
        let certificates = certificates(&path)?;
        for certificate in &certificates {
            let other = whose.insert(certificate.to_vec(), name.clone());
            if let Some(other) = other.filter(|other| *other != name) {
                let fingerprint = Fingerprint::of(certificate);
                let why = format!("its certificate {fingerprint} is that of {other} too; each has its own");
                return Err(not_usable(&path, why));
            }
        }
        pins.insert(name, certificates);
        if pins.len() > PINS_MAX {
            return Err(not_usable(folder, format!("it has more than {PINS_MAX} certificates")));
        }
    }
    Ok(pins)
}

/// Whether this certificate still has to be written for `name`; an error if `name` is pinned to another one.
pub(super) fn may_pin(
    directory: &Path,
    name: &NodeName,
    certificate: &CertificateDer<'_>,
) -> Result<bool, CredentialsError> {
    let path = directory.join(TRUST).join(format!("{name}.crt"));
    if !is_there(&path)? {
        return Ok(true);
    }
    let is_it = certificates(&path)?.iter().any(|it| it == certificate);
    let why = || {
        format!(
            "{name} has another certificate; `understudy trust remove {name}` there, if that is its no more"
        )
    };
    if is_it { Ok(false) } else { Err(not_usable(&path, why())) }
}

/// Pins this certificate for `name`.
pub(super) fn pin(
    directory: &Path,
    name: &NodeName,
    certificate: &CertificateDer<'_>,
) -> Result<(), CredentialsError> {
    if !may_pin(directory, name, certificate)? {
        return Ok(());
    }
    let folder = directory.join(TRUST);
    let path = folder.join(format!("{name}.crt"));
    let fresh = folder.join(format!(".{name}.new"));
    let failed = |source| CredentialsError::Read { path: fresh.clone(), source };
    let text = pem::encode(&pem::Pem::new("CERTIFICATE", certificate.to_vec()));
    fs::create_dir_all(&folder).map_err(failed)?;
    // Left by a process that died, or somebody's link.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = File::create_new(&fresh).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let pinned = written.and_then(|()| fs::rename(&fresh, &path));
    if pinned.is_err() {
        // The error that led here is the news.
        let _ = fs::remove_file(&fresh);
    }
    pinned.and_then(|()| sync_directory(&folder)).map_err(failed)
}

/// Removes the pin of `name`; `false` if there was none.
pub(super) fn unpin(directory: &Path, name: &NodeName) -> Result<bool, CredentialsError> {
    let path = directory.join(TRUST).join(format!("{name}.crt"));
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(CredentialsError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_pin_is_written_through_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let (folder, theirs) = (directory.path().join(TRUST), directory.path().join("theirs"));
        fs::create_dir(&folder).unwrap();
        fs::write(&theirs, "theirs").unwrap();
        symlink(&theirs, folder.join(".b.new")).unwrap();
        let certificate = CertificateDer::from(vec![0x30, 0]);
        pin(directory.path(), &NodeName("b".into()), &certificate).unwrap();
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        assert_eq!(certificates(&folder.join("b.crt")).unwrap(), [certificate]);
        assert!(!folder.join(".b.new").exists());
    }
}
