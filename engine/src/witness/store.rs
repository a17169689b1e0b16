//! The directory of records: one file for each guest, always replaced as a whole.
//!
//! ```text
//!   DIR/lock           held by the one witness that uses DIR
//!   DIR/g1.record      the record of guest g1
//!   DIR/a.lease        the lease of host a, if it has one; written as records are
//!   DIR/g1.new         half-written by a witness that died; deleted at the next start
//!   DIR/probe.new      written now and then, to find out early whether records can be written
//!
//!   open: fsync each g1.record ─► fsync DIR ─► fsync of DIR's own directory ─► only then anybody is told
//!   put:  write g1.new ─► fsync g1.new ─► rename to g1.record ─► fsync DIR
//! ```
//!
//! What a dead witness wrote may only be in memory. A record that is reported and then lost in a power cut would let
//! two hosts run a guest. If a flush fails for any reason but a full disk, nobody knows what the disk holds
//! ([`StoreError::is_unreliable`]), and this process must not report anything any more.
//!
//! Dying at any moment leaves either the old record or the new one, on a file system where rename is atomic and fsync
//! of file and directory makes both durable.

mod error;

pub use error::StoreError;

use super::lease_file;
use super::record_file::{self, FILE_BYTES_MAX};
use crate::names::check_name;
use error::{MAKE_STABLE, failed};
use nix::fcntl::OFlag;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use understudy_session::lease::Lease;
use understudy_session::{NodeName, Record};

/// Records by their guests.
pub type Records = Vec<(String, Record)>;

/// Leases by their hosts.
pub type Leases = Vec<(NodeName, Lease)>;

/// The records on stable storage, locked for this process.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    directory: File,
    /// Held as long as the store exists.
    _lock: File,
}

impl Store {
    /// Opens (or creates) the directory, locks it and reads all records. Fails if any of them cannot be read.
    pub fn open(path: &Path) -> Result<(Self, Records, Leases), StoreError> {
        fs::create_dir_all(path).map_err(failed("create", path))?;
        let store = Self::lock(path)?;
        let (records, leases) = store.read_all()?;
        store.directory.sync_all().map_err(failed(MAKE_STABLE, path))?;
        let above = fs::canonicalize(path).map_err(failed("look for", path))?;
        let above = above.parent().unwrap_or(Path::new("/"));
        File::open(above).and_then(|above| above.sync_all()).map_err(failed(MAKE_STABLE, above))?;
        Ok((store, records, leases))
    }

    /// Locks the directory, which must exist, for this process.
    fn lock(path: &Path) -> Result<Self, StoreError> {
        let lock_path = path.join("lock");
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(NOT_THROUGH_A_LINK);
        let lock = options.open(&lock_path).map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path)(error)),
        }
        let directory = File::open(path).map_err(failed("open", path))?;
        Ok(Self { path: path.to_owned(), directory, _lock: lock })
    }

    /// Reads the records of a directory without locking it; each record is replaced as a whole.
    pub fn look(path: &Path) -> Result<Records, StoreError> {
        let mut records = Vec::new();
        for entry in fs::read_dir(path).map_err(failed("list", path))? {
            let path = entry.map_err(failed("list", path))?.path();
            if path.extension().is_some_and(|extension| extension == "record") {
                records.push(read_one(&path)?);
            }
        }
        records.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(records)
    }

    /// Reads the leases of a directory without locking it.
    pub fn look_at_leases(path: &Path) -> Result<Leases, StoreError> {
        let mut leases = Vec::new();
        for entry in fs::read_dir(path).map_err(failed("list", path))? {
            let path = entry.map_err(failed("list", path))?.path();
            if path.extension().is_some_and(|extension| extension == "lease") {
                leases.push(read_lease(&path)?);
            }
        }
        leases.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(leases)
    }

    /// Deletes the records of `guests` from a directory that no witness uses: all of them, or none if one has no
    /// record. Returns the deleted records.
    pub fn forget(path: &Path, guests: &[String]) -> Result<Vec<(String, Record)>, StoreError> {
        let unknown = |guest: &String| StoreError::Unknown { path: path.to_owned(), guest: guest.clone() };
        let file_of = |guest: &String| path.join(format!("{guest}.record"));
        if let Some(guest) = guests.iter().find(|guest| check_name(guest).is_err() || !path.is_dir()) {
            return Err(unknown(guest));
        }
        let store = Self::lock(path)?;
        let mut records = Vec::with_capacity(guests.len());
        for guest in guests {
            if records.iter().any(|(named, _)| named == guest) {
                continue;
            }
            if !file_of(guest).try_exists().map_err(failed("look for", &file_of(guest)))? {
                return Err(unknown(guest));
            }
            records.push(read_one(&file_of(guest))?);
        }
        for (guest, _) in &records {
            fs::remove_file(file_of(guest)).map_err(failed("remove", &file_of(guest)))?;
        }
        store.directory.sync_all().map_err(failed(MAKE_STABLE, path))?;
        Ok(records)
    }

    /// Checks whether a record could be written now, by writing a file of that size.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.check_place()?;
        let path = self.path.join("probe.new");
        let written = write_new(&path, &[b'.'; FILE_BYTES_MAX as usize]);
        // After an error there may be no such file.
        let removed = fs::remove_file(&path).map_err(failed("remove", &path));
        written.and(removed)
    }

    /// Makes a guest's record durable. After an error either the old or the new record may be there.
    pub fn put(&self, guest: &str, record: &Record) -> Result<(), StoreError> {
        self.replace(&format!("{guest}.record"), &record_file::write(guest, record))
    }

    /// Makes a host's lease durable, as [`put`](Self::put) does a record.
    pub fn put_lease(&self, host: &NodeName, lease: &Lease) -> Result<(), StoreError> {
        self.replace(&format!("{host}.lease"), &lease_file::write(host, lease))
    }

    fn replace(&self, name: &str, content: &str) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let new_path = path.with_extension("new");
        self.check_place()?;
        write_new(&new_path, content.as_bytes())?;
        fs::rename(&new_path, &path).map_err(failed("replace", &path))?;
        self.directory.sync_all().map_err(failed(MAKE_STABLE, &self.path))
    }

    /// Whether the locked directory is still the one at the path: another may have been moved or mounted there.
    fn check_place(&self) -> Result<(), StoreError> {
        let ours = self.directory.metadata().map_err(failed("look at", &self.path))?;
        let there = fs::metadata(&self.path).map_err(failed("look at", &self.path))?;
        if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
            return Ok(());
        }
        let source =
            io::Error::other("another directory is there now; restart this witness if that is right");
        Err(failed("write to", &self.path)(source))
    }

    fn read_all(&self) -> Result<(Records, Leases), StoreError> {
        let (mut records, mut leases) = (Vec::new(), Vec::new());
        let make_stable = |path: &Path| {
            let file = File::open(path).map_err(failed("open", path))?;
            file.sync_all().map_err(failed(MAKE_STABLE, path))
        };
        for entry in fs::read_dir(&self.path).map_err(failed("list", &self.path))? {
            let path = entry.map_err(failed("list", &self.path))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("record") => {
                    records.push(read_one(&path)?);
                    make_stable(&path)?;
                }
                Some("lease") => {
                    leases.push(read_lease(&path)?);
                    make_stable(&path)?;
                }
                Some("new") => fs::remove_file(&path).map_err(failed("remove", &path))?,
                _ => {}
            }
        }
        Ok((records, leases))
    }
}

/// Opening must not follow a link, or it would write to somebody else's file.
const NOT_THROUGH_A_LINK: i32 = OFlag::O_NOFOLLOW.bits();

/// Writes one of our files, replacing what a failed write may have left.
fn write_new(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", path)(error)),
        _ => {}
    }
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(failed("create", path))?;
    file.write_all(content).map_err(failed("write", path))?;
    file.sync_all().map_err(failed(MAKE_STABLE, path))
}

fn read_one(path: &Path) -> Result<(String, Record), StoreError> {
    let content = read_text(path)?;
    let named = path.file_stem().and_then(|stem| stem.to_str());
    match record_file::read(&content) {
        Some((guest, record)) if named == Some(guest.as_str()) => Ok((guest, record)),
        _ => Err(StoreError::Damaged(path.to_owned())),
    }
}

fn read_lease(path: &Path) -> Result<(NodeName, Lease), StoreError> {
    let content = read_text(path)?;
    let named = path.file_stem().and_then(|stem| stem.to_str());
    match lease_file::read(&content) {
        Some((host, lease)) if named == Some(host.0.as_str()) => Ok((host, lease)),
        _ => Err(StoreError::DamagedLease(path.to_owned())),
    }
}

fn read_text(path: &Path) -> Result<String, StoreError> {
    let mut content = String::new();
    let file = File::open(path).map_err(failed("open", path))?;
    match file.take(FILE_BYTES_MAX + 1).read_to_string(&mut content) {
        // What is no text is not what either of them has.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(String::new()),
        Err(error) => Err(failed("read", path)(error)),
        Ok(_) => Ok(content),
    }
}

#[cfg(test)]
mod tests;
