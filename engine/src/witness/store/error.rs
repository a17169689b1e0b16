//! Why a witness's directory cannot be used, and whether the disk can still be trusted.

use std::io;
use std::path::{Path, PathBuf};

/// Why the directory cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum StoreError {
    /// Another witness uses the directory.
    #[error("{0} is in use by another witness; give each witness its own --state")]
    InUse(PathBuf),
    /// A record is damaged.
    #[error(
        "{0} is damaged. Without it this witness could hand a guest to two hosts, so it does not start. Restore \
         the file from a backup no older than the guest's last takeover, or remove it once no host runs that \
         guest"
    )]
    Damaged(PathBuf),
    /// A lease is damaged.
    #[error(
        "{0} is damaged. Without it a guest with shared disks could be started while its former host still runs it, so this \
         witness does not start. Remove the file once that host has been reset or its engine ended; its engine takes a new lease"
    )]
    DamagedLease(PathBuf),
    /// There is no record of this guest.
    #[error("{path} has no record of {guest}; `understudy witness show` lists them")]
    Unknown { path: PathBuf, guest: String },
    /// An operation of the system failed.
    #[error("Cannot {attempt} {path}: {source}")]
    Io { attempt: &'static str, path: PathBuf, source: io::Error },
}

/// The name of a flush in errors.
pub(super) const MAKE_STABLE: &str = "make stable";

impl StoreError {
    /// Whether it is now unknown what the disk holds. A write that a full disk refused does not cause that.
    pub fn is_unreliable(&self) -> bool {
        let Self::Io { attempt, source, .. } = self else { return false };
        let is_full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let is_damaged = source.raw_os_error() == Some(nix::errno::Errno::EIO as i32);
        is_damaged || (*attempt == MAKE_STABLE && !is_full)
    }
}

pub(super) fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { attempt, path: path.to_owned(), source }
}
