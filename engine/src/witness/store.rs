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

use super::lease_file;
use super::record_file::{self, FILE_BYTES_MAX};
use crate::names::check_name;
use nix::fcntl::OFlag;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use understudy_session::lease::Lease;
use understudy_session::{NodeName, Record};

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
        "{0} is damaged. Without it a guest with shared disks could be started while its former host still runs it, so this          witness does not start. Remove the file once that host has been reset or its engine ended; its engine takes a new lease"
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
const MAKE_STABLE: &str = "make stable";

impl StoreError {
    /// Whether it is now unknown what the disk holds. A write that a full disk refused does not cause that.
    pub fn is_unreliable(&self) -> bool {
        let Self::Io { attempt, source, .. } = self else { return false };
        let is_full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let is_damaged = source.raw_os_error() == Some(nix::errno::Errno::EIO as i32);
        is_damaged || (*attempt == MAKE_STABLE && !is_full)
    }
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { attempt, path: path.to_owned(), source }
}

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
mod tests {
    use super::*;
    use understudy_checkpoint::Generation;
    use understudy_session::Copy;
    use understudy_session::lease::Standing;

    fn record(revision: u64) -> Record {
        let owner = NodeName("a".into());
        Record { revision, generation: Generation(1), owner, copy: Copy::Stale }
    }

    #[test]
    fn records_are_there_after_a_restart_and_half_written_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let (store, records, _) = Store::open(directory.path()).unwrap();
        assert_eq!(records, []);
        store.put("g1", &record(1)).unwrap();
        store.put("g2", &record(1)).unwrap();
        store.put("g1", &record(2)).unwrap();
        fs::write(directory.path().join("g2.new"), "underst").unwrap();
        drop(store);
        let (_, mut records, _) = Store::open(directory.path()).unwrap();
        records.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(records, [("g1".to_owned(), record(2)), ("g2".to_owned(), record(1))]);
        assert!(!directory.path().join("g2.new").exists());
    }

    #[test]
    fn a_link_in_the_directory_leads_to_no_file_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let theirs = directory.path().join("theirs");
        fs::write(&theirs, "theirs").unwrap();
        let state = directory.path().join("state");
        let (store, ..) = Store::open(&state).unwrap();
        for name in ["g1.new", "g1.record", "probe.new"] {
            std::os::unix::fs::symlink(&theirs, state.join(name)).unwrap();
        }
        store.put("g1", &record(1)).unwrap();
        store.probe().unwrap();
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        drop(store);
        fs::remove_file(state.join("lock")).unwrap();
        std::os::unix::fs::symlink(&theirs, state.join("lock")).unwrap();
        assert!(matches!(Store::open(&state), Err(StoreError::Io { .. })));
    }

    #[test]
    fn records_are_looked_at_beside_a_witness_and_forgotten_without_one() {
        let directory = tempfile::tempdir().unwrap();
        let (store, ..) = Store::open(directory.path()).unwrap();
        store.put("g2", &record(1)).unwrap();
        store.put("g1", &record(3)).unwrap();
        let names: Vec<_> = Store::look(directory.path()).unwrap().into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["g1", "g2"]);
        let forget = |guests: &[&str]| {
            let guests: Vec<String> = guests.iter().map(ToString::to_string).collect();
            Store::forget(directory.path(), &guests)
        };
        assert!(matches!(forget(&["g1"]), Err(StoreError::InUse(_))));
        store.put("g4", &record(1)).unwrap();
        drop(store);
        assert!(matches!(forget(&["g1", "g3"]), Err(StoreError::Unknown { guest, .. }) if guest == "g3"));
        assert!(matches!(forget(&["../g1"]), Err(StoreError::Unknown { .. })));
        let forgotten = [("g1".to_owned(), record(3)), ("g4".to_owned(), record(1))];
        assert_eq!(forget(&["g1", "g4", "g1"]).unwrap(), forgotten);
        assert_eq!(Store::open(directory.path()).unwrap().1.len(), 1);
    }

    #[test]
    fn a_full_disk_is_told_from_one_that_cannot_be_trusted() {
        let error = |attempt, kind: io::Error| StoreError::Io { attempt, path: "x".into(), source: kind };
        let eio = || io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32);
        assert!(error(MAKE_STABLE, eio()).is_unreliable() && error("write", eio()).is_unreliable());
        assert!(error(MAKE_STABLE, io::ErrorKind::Other.into()).is_unreliable());
        for attempt in [MAKE_STABLE, "write", "create"] {
            assert!(!error(attempt, io::ErrorKind::StorageFull.into()).is_unreliable());
        }
        assert!(!error("create", io::ErrorKind::ReadOnlyFilesystem.into()).is_unreliable());
    }

    #[test]
    fn one_directory_serves_one_witness() {
        let directory = tempfile::tempdir().unwrap();
        let first = Store::open(directory.path()).unwrap();
        assert!(matches!(Store::open(directory.path()), Err(StoreError::InUse(_))));
        drop(first);
        assert!(Store::open(directory.path()).is_ok());
    }

    #[test]
    fn a_record_that_is_damaged_or_misnamed_keeps_the_witness_from_starting() {
        let directory = tempfile::tempdir().unwrap();
        let (store, ..) = Store::open(directory.path()).unwrap();
        store.put("g1", &record(5)).unwrap();
        drop(store);
        let path = directory.path().join("g1.record");
        let whole = fs::read(&path).unwrap();
        let damaged = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            matches!(Store::open(directory.path()), Err(StoreError::Damaged(_)))
        };
        assert!(damaged(b""));
        assert!(damaged(&whole[..whole.len() - 1]));
        assert!(damaged(&[0xFF; 50]));
        assert!(damaged(&whole.repeat(50)));
        assert!(!damaged(&whole));
        fs::rename(&path, directory.path().join("g2.record")).unwrap();
        assert!(matches!(Store::open(directory.path()), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn leases_are_there_after_a_restart_and_a_damaged_one_keeps_the_witness_from_starting() {
        let directory = tempfile::tempdir().unwrap();
        let (store, ..) = Store::open(directory.path()).unwrap();
        let host = NodeName("g1".into());
        let lease = |number| Lease::of_numbers(number, Standing::Held, 5_000).unwrap();
        // A guest may be called as a host is.
        store.put("g1", &record(1)).unwrap();
        store.put_lease(&host, &lease(1)).unwrap();
        store.put_lease(&host, &lease(2)).unwrap();
        drop(store);
        let (store, records, leases) = Store::open(directory.path()).unwrap();
        assert_eq!((records, leases), (vec![("g1".to_owned(), record(1))], vec![(host.clone(), lease(2))]));
        assert_eq!(Store::look_at_leases(directory.path()).unwrap(), [(host, lease(2))]);
        drop(store);
        let path = directory.path().join("g1.lease");
        fs::copy(&path, directory.path().join("b.lease")).unwrap();
        assert!(matches!(Store::open(directory.path()), Err(StoreError::DamagedLease(_))), "it is misnamed");
        fs::remove_file(directory.path().join("b.lease")).unwrap();
        fs::write(&path, [0xFF; 50]).unwrap();
        assert!(matches!(Store::open(directory.path()), Err(StoreError::DamagedLease(_))));
    }
}
