//! [`DiskFiles`]: where the files of a guest's disk are. A node keeps them in a directory; the simulator on a machine whose disks
//! lose power.
//!
//! Not here: which files there are ([`place`](super::place)), and what is in them (`understudy_disk`).

use ring::rand::{SecureRandom, SystemRandom};
use std::fmt::{self, Debug};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use understudy_disk::storage::file::{Caching, FileStorage, OpenError};
use understudy_disk::storage::{Storage, StorageError};

/// An open file of a disk.
pub struct DiskStorage(Box<dyn Storage + Send>);

impl DiskStorage {
    /// Of any kind.
    pub fn new(storage: impl Storage + Send + 'static) -> Self {
        Self(Box::new(storage))
    }
}

impl Debug for DiskStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.size_bytes())
    }
}

impl Storage for DiskStorage {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.0.read_at(offset, into)
    }
    fn write_at(&mut self, offset: u64, from: &[u8]) -> Result<(), StorageError> {
        self.0.write_at(offset, from)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        self.0.flush()
    }
}

/// The files of one guest's disk. A file is open once at a time.
pub trait DiskFiles: Send + Sync + Debug {
    /// What an operator calls this file.
    fn path(&self, name: &str) -> PathBuf;

    /// Whether this file is there.
    fn is_there(&self, name: &str) -> io::Result<bool>;

    /// Makes room for files that are to be made.
    fn prepare(&self) -> io::Result<()>;

    /// Makes a file of zeros.
    fn create(&self, name: &str, size_bytes: u64) -> Result<DiskStorage, OpenError>;

    /// Opens a file.
    fn open(&self, name: &str) -> Result<DiskStorage, OpenError>;

    /// How long what used the files before may need to let go of them.
    fn let_go_max(&self) -> Duration;

    /// What nobody can foresee; `None` if the system has none of it.
    fn random(&self) -> Option<[u8; 16]>;
}

/// Files in a directory.
#[derive(Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl DiskFiles for Directory {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn is_there(&self, name: &str) -> io::Result<bool> {
        self.path(name).try_exists()
    }

    fn prepare(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)
    }

    fn create(&self, name: &str, size_bytes: u64) -> Result<DiskStorage, OpenError> {
        FileStorage::create(&self.path(name), size_bytes, Caching::PageCache).map(DiskStorage::new)
    }

    fn open(&self, name: &str) -> Result<DiskStorage, OpenError> {
        FileStorage::open(&self.path(name), Caching::PageCache).map(DiskStorage::new)
    }

    /// The threads of the guest that ran on them are on their way out.
    fn let_go_max(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn random(&self) -> Option<[u8; 16]> {
        random()
    }
}

/// Of the system.
pub(super) fn random() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok().map(|()| bytes)
}
