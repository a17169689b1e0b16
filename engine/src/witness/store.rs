//! The directory of the records: one file for each guest, replaced whole.
//!
//! ```text
//!   DIR/lock           held by the one witness that uses DIR
//!   DIR/g1.record      the record of guest g1
//!   DIR/g1.new         half-written, of a witness that died; thrown away at the next start
//!
//!   put:  write g1.new ─► fsync g1.new ─► rename to g1.record ─► fsync DIR
//! ```
//!
//! Dying at any point leaves the old record or the new one. What a file system must do for that: rename is
//! atomic, and fsync of file and directory makes both stable.

use super::record_file::{self, FILE_BYTES_MAX};
use crate::session::Record;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Why the directory cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum StoreError {
    /// Another witness uses it.
    #[error("{0} is in use by another witness; give each witness its own --state")]
    InUse(PathBuf),
    /// A record is not what this witness wrote.
    #[error(
        "{0} is damaged. Without it this witness could hand a guest to two hosts, so it does not start. Restore \
         the file from a backup no older than the guest's last takeover, or remove it once no host runs that \
         guest"
    )]
    Damaged(PathBuf),
    /// The system refused something.
    #[error("Cannot {attempt} {path}: {source}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { attempt, path: path.to_owned(), source }
}

/// The records on stable storage, locked for this process.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    directory: File,
    /// Held as long as the store lives.
    _lock: File,
}

impl Store {
    /// Opens (or creates) the directory, locks it and reads all records. Refuses to go on without any of them.
    pub fn open(path: &Path) -> Result<(Self, Vec<(String, Record)>), StoreError> {
        fs::create_dir_all(path).map_err(failed("create", path))?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path)(error)),
        }
        let directory = File::open(path).map_err(failed("open", path))?;
        let store = Self { path: path.to_owned(), directory, _lock: lock };
        let records = store.read_all()?;
        Ok((store, records))
    }

    /// Makes a guest's record stable. After an error the old or the new record may be there.
    pub fn put(&self, guest: &str, record: &Record) -> Result<(), StoreError> {
        let new_path = self.path.join(format!("{guest}.new"));
        let record_path = self.path.join(format!("{guest}.record"));
        let content = record_file::write(guest, record);
        let mut file = File::create(&new_path).map_err(failed("create", &new_path))?;
        file.write_all(content.as_bytes()).map_err(failed("write", &new_path))?;
        file.sync_all().map_err(failed("make stable", &new_path))?;
        fs::rename(&new_path, &record_path).map_err(failed("replace", &record_path))?;
        self.directory.sync_all().map_err(failed("make stable", &self.path))
    }

    fn read_all(&self) -> Result<Vec<(String, Record)>, StoreError> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed("list", &self.path))? {
            let path = entry.map_err(failed("list", &self.path))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("record") => records.push(read_one(&path)?),
                Some("new") => fs::remove_file(&path).map_err(failed("remove", &path))?,
                _ => {}
            }
        }
        Ok(records)
    }
}

fn read_one(path: &Path) -> Result<(String, Record), StoreError> {
    let mut content = String::new();
    let file = File::open(path).map_err(failed("open", path))?;
    match file.take(FILE_BYTES_MAX + 1).read_to_string(&mut content) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(StoreError::Damaged(path.to_owned()));
        }
        Err(error) => return Err(failed("read", path)(error)),
    }
    let named = path.file_stem().and_then(|stem| stem.to_str());
    match record_file::read(&content) {
        Some((guest, record)) if named == Some(guest.as_str()) => Ok((guest, record)),
        _ => Err(StoreError::Damaged(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Copy, NodeName};
    use understudy_checkpoint::Generation;

    fn record(revision: u64) -> Record {
        let owner = NodeName("a".into());
        Record { revision, generation: Generation(1), owner, copy: Copy::Stale }
    }

    #[test]
    fn records_are_there_after_a_restart_and_half_written_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let (store, records) = Store::open(directory.path()).unwrap();
        assert_eq!(records, []);
        store.put("g1", &record(1)).unwrap();
        store.put("g2", &record(1)).unwrap();
        store.put("g1", &record(2)).unwrap();
        fs::write(directory.path().join("g2.new"), "underst").unwrap();
        drop(store);
        let (_, mut records) = Store::open(directory.path()).unwrap();
        records.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(records, [("g1".to_owned(), record(2)), ("g2".to_owned(), record(1))]);
        assert!(!directory.path().join("g2.new").exists());
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
        let (store, _) = Store::open(directory.path()).unwrap();
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
}
