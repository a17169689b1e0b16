//! Certificates for tests that link processes over TLS.

use std::fs;
use std::path::{Path, PathBuf};
use understudy::trust::keygen::keygen;
use understudy_session::NodeName;

/// Certificates of several names below one directory. None trusts another yet.
pub(crate) fn make(root: &Path, names: &[&str]) {
    for name in names {
        keygen(&tls(root, name), &NodeName((*name).into())).unwrap();
    }
}

/// The directory that is `--tls` of a name.
pub(crate) fn tls(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}.tls"))
}

/// `who` takes what `whose` shows for that of `called`.
pub(crate) fn trust(root: &Path, who: &str, whose: &str, called: &str) {
    let to = tls(root, who).join("trust").join(format!("{called}.crt"));
    fs::copy(tls(root, whose).join("own.crt"), to).unwrap();
}

/// a, b and the witness, each of which trusts the others.
pub(crate) fn three(root: &Path) {
    make(root, &["a", "b", "witness"]);
    for who in ["a", "b", "witness"] {
        for whose in ["a", "b", "witness"].into_iter().filter(|whose| *whose != who) {
            trust(root, who, whose, whose);
        }
    }
}
