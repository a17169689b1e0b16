//! [`Look`]: what a node that starts would find of a guest's disk, found without changing a byte of it.
//!
//! ```text
//!   DIRECTORY/GUEST/  disk0  disk0.label  disk0.map  journal      opened to be read, so no node may have them
//!                       └────────┴────────────┴────────┴─► each below memory that takes what is written
//!                                                           └─► DiskPlace::open: the very recovery of a node
//! ```
//!
//! Not here: disks that a node uses, of which it tells itself (`status`), and what two disks have to do with each other
//! ([`prints`](super::prints)).

use super::files::{DiskFiles, DiskStorage, random};
use super::place::{DiskPlace, NUMBER, Opened, PlaceError};
use super::prints::{Prints, Worth};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use understudy_disk::apply::{ApplyError, Trust};
use understudy_disk::intent::REGION_BYTES;
use understudy_disk::journal::JournalError;
use understudy_disk::label::{Label, LabelFile, Standing};
use understudy_disk::storage::file::{Caching, FileStorage, OpenError};
use understudy_disk::storage::overlay::Overlay;
use understudy_disk::storage::{Storage, StorageError};
use understudy_disk::sync::hashes::hash;

/// What a recovery may write to one file, in memory.
const OVERLAY_BYTES_MAX: usize = 512 << 20;

/// A disk cannot be looked at.
#[derive(thiserror::Error, Debug)]
pub enum LookError {
    /// Nothing is there.
    #[error(
        "{0} is not there, so no disk of this guest is; the directory is what the node has as --lab-disks, and in it is one for each guest"
    )]
    Nothing(PathBuf),
    /// A node has it.
    #[error(
        "{0} is in use by a node, which tells of it by `understudy status`; its files can be looked at when no node uses the disk"
    )]
    InUse(PathBuf),
    /// A recovery would write too much for this memory.
    #[error(
        "the journal of {0} holds more than can be looked at in memory; a node that starts brings it to the disk, and then it can be"
    )]
    Large(PathBuf),
    /// As a node would say it.
    #[error(transparent)]
    Place(PlaceError),
    /// It cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What a guest wrote to it is not known.
    #[error(
        "what the guest wrote to its disk here is not known ({0}), so a difference would say nothing; the next full copy compares the disks"
    )]
    Unmarked(String),
    /// It is at no epoch.
    #[error(
        "the disk is at no epoch of its guest, so there is nothing that it should be; a full copy makes it whole"
    )]
    NoEpoch,
}

/// Files that are only read.
#[derive(Debug)]
struct Beside(PathBuf);

impl DiskFiles for Beside {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn is_there(&self, name: &str) -> io::Result<bool> {
        self.path(name).try_exists()
    }
    fn prepare(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn create(&self, name: &str, _: u64) -> Result<DiskStorage, OpenError> {
        let source = io::ErrorKind::ReadOnlyFilesystem.into();
        Err(OpenError::System { path: self.path(name), wish: "made", source })
    }
    fn open(&self, name: &str) -> Result<DiskStorage, OpenError> {
        let file = FileStorage::open_to_read(&self.path(name), Caching::PageCache)?;
        Ok(DiskStorage::new(Overlay::new(file, OVERLAY_BYTES_MAX)))
    }
    fn let_go_max(&self) -> Duration {
        Duration::ZERO
    }
    fn random(&self) -> Option<[u8; 16]> {
        random()
    }
}

/// A disk that is looked at; no node can have it meanwhile.
#[derive(Debug)]
pub struct Look {
    label: Label,
    opened: Opened,
}

impl Look {
    /// At the disk of `guest` in the node's directory.
    pub fn at(directory: &Path, guest: &str) -> Result<Self, LookError> {
        let path = directory.join(guest);
        let files = Arc::new(Beside(path.clone()));
        let is_there = files.is_there("disk0.label");
        let failed = |error: PlaceError| understood(error, &path);
        match is_there {
            Ok(true) => {}
            Ok(false) => return Err(LookError::Nothing(files.path("disk0.label"))),
            Err(source) => return Err(failed(PlaceError::Directory { path: path.clone(), source })),
        }
        let label = files.open("disk0.label").map_err(PlaceError::from);
        let label = label.and_then(|file| Ok(LabelFile::open(file)?)).map_err(failed)?.label().clone();
        let place = DiskPlace::on(files, guest, label.size_bytes, 0);
        let opened = place.open().map_err(failed)?;
        Ok(Self { label, opened })
    }

    /// Its bytes.
    pub fn size_bytes(&self) -> u64 {
        self.label.size_bytes
    }

    /// Names the content that it has.
    pub fn history(&self) -> String {
        hexadecimal(&self.opened.applier.history())
    }

    /// What it is worth.
    pub fn worth(&self) -> Worth {
        match self.opened.trust {
            Trust::Nothing if self.opened.standing == Standing::Blank => Worth::Blank,
            Trust::Nothing => Worth::Nothing,
            Trust::Epoch(point) => Worth::Epoch { generation: point.generation.0, epoch: point.epoch.0 },
            Trust::Owned { generation, applied } => Worth::Owned {
                generation: generation.0,
                peer_generation: applied.generation.0,
                peer_epoch: applied.epoch.0,
            },
        }
    }

    /// The regions that a guest may have written here and the other host may lack.
    pub fn marked(&self) -> Result<Vec<u64>, LookError> {
        let map = self.opened.map.as_ref().map_err(|error| LookError::Unmarked(error.to_string()))?;
        Ok(map.marked.runs().flatten().collect())
    }

    /// The hashes of all its content; `read` is told how much was read.
    pub fn prints(&mut self, mut read: impl FnMut(u64)) -> Result<Prints, LookError> {
        let worth = self.worth();
        if matches!(worth, Worth::Nothing) {
            return Err(LookError::NoEpoch);
        }
        let (marked, size_bytes, history) = (self.marked()?, self.size_bytes(), self.history());
        let guest = self.label.guest.clone();
        let disk = self.opened.applier.disk(NUMBER).expect("it was opened with one");
        let (mut regions, mut content) = (Vec::new(), vec![0; REGION_BYTES.min(size_bytes) as usize]);
        for (region, offset) in (0..size_bytes).step_by(REGION_BYTES as usize).enumerate() {
            let content = &mut content[..REGION_BYTES.min(size_bytes - offset) as usize];
            disk.read_at(offset, content)?;
            regions.push(hexadecimal(&hash(region as u64, content).to_be_bytes()));
            read(offset + content.len() as u64);
        }
        Ok(Prints { guest, size_bytes, history, worth, marked, regions })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a node would say, in words of one who only looks.
fn understood(error: PlaceError, path: &Path) -> LookError {
    let is_full = |error: &StorageError| matches!(error, StorageError::Full { .. });
    match error {
        PlaceError::Open(OpenError::InUse(path)) => LookError::InUse(path),
        PlaceError::Apply(ApplyError::Storage(ref full))
        | PlaceError::Apply(ApplyError::Journal(JournalError::Storage(ref full)))
        | PlaceError::Journal(JournalError::Storage(ref full))
            if is_full(full) =>
        {
            LookError::Large(path.to_owned())
        }
        other => LookError::Place(other),
    }
}
