//! [`DiskPlace`]: the files of a guest's disk on a host.
//!
//! ```text
//!   DIRECTORY/GUEST/   disk0   disk0.label   disk0.map   journal
//! ```
//!
//! All four are there, or none. While a disk is blank or a copy overwrites it, map and journal say nothing: a start makes them anew.
//! What is in use by this process still (the guest that ran on it is on its way out) is waited
//! for. Not here: what is in the files (`understudy_disk`).

use super::files::{Directory, DiskFiles, DiskStorage};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::apply::{Applier, ApplyError, Mode, Trust, Volume};
use understudy_disk::bits::Bits;
use understudy_disk::intent::{IntentError, IntentFile, Opened as Map, REGION_BYTES};
use understudy_disk::journal::{Journal, JournalError, Recovered};
use understudy_disk::label::{LABEL_BYTES, Label, LabelError, LabelFile, Standing};
use understudy_disk::storage::file::OpenError;
use understudy_disk::storage::{Storage, StorageError};
use understudy_disk::words::{DiskNumber, Point};

/// The number of a guest's only disk.
pub(super) const NUMBER: DiskNumber = DiskNumber(0);
/// Bytes of the journal: some epochs of a guest that writes at a gigabit link's rate.
const JOURNAL_BYTES: u64 = 64 << 20;

/// Why a disk's files cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum PlaceError {
    /// Some of the files are missing.
    #[error(
        "{path} is missing beside other files of the disk; put it back, or remove the directory to have the disk made anew"
    )]
    Missing { path: PathBuf },
    /// The directory cannot be created or read.
    #[error("{path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    /// It is a disk of another guest, or of another size.
    #[error(
        "{path} is of guest {guest} with a disk of {size_bytes} bytes; another directory is needed for this one"
    )]
    Other {
        /// The guest that the label names.
        path: PathBuf,
        guest: String,
        /// The size that the label names.
        size_bytes: u64,
    },
    /// A file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The label cannot be read.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The journal cannot be created or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The intent map cannot be made or read.
    #[error(transparent)]
    Map(#[from] IntentError),
    /// The system has no random bytes.
    #[error("the system gives no random bytes for a disk's history")]
    NoRandom,
    /// The files do not match, or cannot be recovered.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// An open disk with what its label says.
#[derive(Debug)]
pub struct Opened {
    /// Applies epochs to the disk.
    pub applier: Applier<DiskStorage>,
    /// Whether the content is valid.
    pub trust: Trust,
    /// The standing in its label.
    pub standing: Standing,
    /// Its intent map.
    pub map: Result<Map<DiskStorage>, IntentError>,
}

/// The place of a guest's disk on this host.
#[derive(Clone, Debug)]
pub struct DiskPlace {
    files: Arc<dyn DiskFiles>,
    guest: String,
    size_bytes: u64,
    journal_bytes: u64,
}

impl DiskPlace {
    /// The disk of `guest` in the node's directory.
    pub fn new(directory: &Path, guest: &str, size_bytes: u64) -> Self {
        Self::on(Arc::new(Directory(directory.join(guest))), guest, size_bytes, JOURNAL_BYTES)
    }

    /// The disk of `guest` in files of any kind, with a journal of this size.
    pub fn on(files: Arc<dyn DiskFiles>, guest: &str, size_bytes: u64, journal_bytes: u64) -> Self {
        Self { files, guest: guest.into(), size_bytes, journal_bytes }
    }

    /// Its size.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Opens the disk with its label and journal and recovers them, or creates all three.
    pub fn open(&self) -> Result<Opened, PlaceError> {
        let is_there = |name| self.files.is_there(name).map_err(|source| self.directory_error(source));
        let files = ["disk0", "disk0.label", "disk0.map", "journal"];
        let found = files.iter().map(|name| is_there(name)).collect::<Result<Vec<_>, _>>()?;
        match found.iter().position(|is_there| !is_there) {
            Some(0) if found == [false; 4] => self.make(),
            Some(at) => Err(PlaceError::Missing { path: self.files.path(files[at]) }),
            None => self.recover(),
        }
    }

    fn directory_error(&self, source: io::Error) -> PlaceError {
        PlaceError::Directory { path: self.files.path(""), source }
    }

    fn make(&self) -> Result<Opened, PlaceError> {
        self.files.prepare().map_err(|source| self.directory_error(source))?;
        let create = |name, bytes| self.files.create(name, bytes);
        let history = self.random()?;
        let zero = Point { generation: Generation(0), epoch: Epoch(0) };
        let label = Label {
            guest: self.guest.clone(),
            vdev: "disk0".into(),
            size_bytes: self.size_bytes,
            standing: Standing::Blank,
            generation: zero.generation,
            applied: zero.epoch,
            is_clean: true,
        };
        let journal = Journal::create(create("journal", self.journal_bytes)?, history, self.random()?, zero)?;
        let map = create("disk0.map", IntentFile::<DiskStorage>::bytes(self.size_bytes))?;
        let map = new_map(map, history, self.size_bytes);
        let label = LabelFile::create(create("disk0.label", LABEL_BYTES)?, history, label)?;
        // The label comes last: without a label there is no disk.
        let disk = create("disk0", self.size_bytes)?;
        let applier = Applier::create(vec![Volume::new(disk, label)], journal, Mode::Ordered)?;
        Ok(Opened { applier, trust: Trust::Nothing, standing: Standing::Blank, map })
    }

    fn recover(&self) -> Result<Opened, PlaceError> {
        let label = LabelFile::open(self.open_file("disk0.label")?)?;
        let disk = self.open_file("disk0")?;
        let (guest, size_bytes) = (label.label().guest.clone(), label.label().size_bytes);
        let standing = label.label().standing;
        if guest != self.guest || size_bytes != self.size_bytes || disk.size_bytes() != size_bytes {
            return Err(PlaceError::Other { path: self.files.path("disk0.label"), guest, size_bytes });
        }
        let history = label.history();
        let (map, journal) = (self.open_file("disk0.map")?, self.open_file("journal")?);
        let volumes = vec![Volume::new(disk, label)];
        if matches!(standing, Standing::Blank | Standing::Partial) {
            let zero = Point { generation: Generation(0), epoch: Epoch(0) };
            let journal = Journal::create(journal, history, self.random()?, zero)?;
            let applier = Applier::create(volumes, journal, Mode::Ordered)?;
            let map = new_map(map, history, size_bytes);
            return Ok(Opened { applier, trust: Trust::Nothing, standing, map });
        }
        let (applier, trust) = Applier::recover(volumes, Recovered::open(journal)?, Mode::Ordered)?;
        let map = IntentFile::open(map, history, size_bytes);
        Ok(Opened { applier, trust, standing, map })
    }

    /// A map without a mark, of a disk that is being overwritten with content of this history.
    pub fn renew_map(&self, history: [u8; 16]) -> Result<(), PlaceError> {
        IntentFile::create(self.open_file("disk0.map")?, history, self.size_bytes)?;
        Ok(())
    }

    /// What cannot be foreseen.
    pub(super) fn random(&self) -> Result<[u8; 16], PlaceError> {
        self.files.random().ok_or(PlaceError::NoRandom)
    }

    /// Opens a file, and waits until this process's former handle is closed.
    fn open_file(&self, name: &str) -> Result<DiskStorage, OpenError> {
        let begun = Instant::now();
        loop {
            match self.files.open(name) {
                Err(OpenError::InUse(_)) if begun.elapsed() < self.files.let_go_max() => {
                    sleep(Duration::from_millis(20));
                }
                opened => return opened,
            }
        }
    }
}

fn new_map(
    storage: DiskStorage,
    history: [u8; 16],
    size_bytes: u64,
) -> Result<Map<DiskStorage>, IntentError> {
    let file = IntentFile::create(storage, history, size_bytes)?;
    let marked = Bits::try_new(size_bytes.div_ceil(REGION_BYTES))?;
    Ok(Map { file, marked, damaged_sectors: 0 })
}
