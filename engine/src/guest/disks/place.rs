//! [`DiskPlace`]: the files of a guest's disk on a host.
//!
//! ```text
//!   DIRECTORY/GUEST/   disk0   disk0.label   disk0.map   journal
//! ```
//!
//! All four are there, or none. While a disk is blank or a copy overwrites it, map and journal say nothing: a start makes them anew.
//! What is in use by this process still (the guest that ran on it is on its way out) is waited
//! for. Not here: what is in the files (`understudy_disk`).

use ring::rand::{SecureRandom, SystemRandom};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::apply::{Applier, ApplyError, Mode, Trust, Volume};
use understudy_disk::bits::Bits;
use understudy_disk::intent::{IntentError, IntentFile, Opened as Map, REGION_BYTES};
use understudy_disk::journal::{Journal, JournalError, Recovered};
use understudy_disk::label::{LABEL_BYTES, Label, LabelError, LabelFile, Standing};
use understudy_disk::storage::file::{Caching, FileStorage, OpenError};
use understudy_disk::storage::{Storage, StorageError};
use understudy_disk::words::{DiskNumber, Point};

/// The number of a guest's only disk.
pub(super) const NUMBER: DiskNumber = DiskNumber(0);
/// Bytes of the journal: some epochs of a guest that writes at a gigabit link's rate.
const JOURNAL_BYTES: u64 = 64 << 20;

/// How long the previous guest's threads may still use the files.
const LET_GO_MAX: Duration = Duration::from_secs(2);

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
    pub applier: Applier<FileStorage>,
    /// Whether the content is valid.
    pub trust: Trust,
    /// The standing in its label.
    pub standing: Standing,
    /// Its intent map.
    pub map: Result<Map<FileStorage>, IntentError>,
}

/// The place of a guest's disk on this host.
#[derive(Clone, Debug)]
pub struct DiskPlace {
    directory: PathBuf,
    guest: String,
    size_bytes: u64,
}

impl DiskPlace {
    /// The disk of `guest` in the node's directory.
    pub fn new(directory: &Path, guest: &str, size_bytes: u64) -> Self {
        Self { directory: directory.join(guest), guest: guest.into(), size_bytes }
    }

    /// Its size.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Opens the disk with its label and journal and recovers them, or creates all three.
    pub fn open(&self) -> Result<Opened, PlaceError> {
        let directory = |source| PlaceError::Directory { path: self.directory.clone(), source };
        let is_there = |name| self.file(name).try_exists().map_err(directory);
        let files = ["disk0", "disk0.label", "disk0.map", "journal"];
        let found = files.iter().map(|name| is_there(name)).collect::<Result<Vec<_>, _>>()?;
        match found.iter().position(|is_there| !is_there) {
            Some(0) if found == [false; 4] => self.make(),
            Some(at) => Err(PlaceError::Missing { path: self.file(files[at]) }),
            None => self.recover(),
        }
    }

    fn make(&self) -> Result<Opened, PlaceError> {
        let directory = |source| PlaceError::Directory { path: self.directory.clone(), source };
        std::fs::create_dir_all(&self.directory).map_err(directory)?;
        let create = |name, bytes| FileStorage::create(&self.file(name), bytes, Caching::PageCache);
        let history = random()?;
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
        let journal = Journal::create(create("journal", JOURNAL_BYTES)?, history, random()?, zero)?;
        let map = create("disk0.map", IntentFile::<FileStorage>::bytes(self.size_bytes))?;
        let map = new_map(map, history, self.size_bytes);
        let label = LabelFile::create(create("disk0.label", LABEL_BYTES)?, history, label)?;
        // The label comes last: without a label there is no disk.
        let disk = create("disk0", self.size_bytes)?;
        let applier = Applier::create(vec![Volume::new(disk, label)], journal, Mode::Ordered)?;
        Ok(Opened { applier, trust: Trust::Nothing, standing: Standing::Blank, map })
    }

    fn recover(&self) -> Result<Opened, PlaceError> {
        let path = self.file("disk0.label");
        let label = LabelFile::open(open(&path)?)?;
        let disk = open(&self.file("disk0"))?;
        let (guest, size_bytes) = (label.label().guest.clone(), label.label().size_bytes);
        let standing = label.label().standing;
        if guest != self.guest || size_bytes != self.size_bytes || disk.size_bytes() != size_bytes {
            return Err(PlaceError::Other { path, guest, size_bytes });
        }
        let (history, map, journal) =
            (label.history(), open(&self.file("disk0.map"))?, open(&self.file("journal"))?);
        let volumes = vec![Volume::new(disk, label)];
        if matches!(standing, Standing::Blank | Standing::Partial) {
            let zero = Point { generation: Generation(0), epoch: Epoch(0) };
            let journal = Journal::create(journal, history, random()?, zero)?;
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
        IntentFile::create(open(&self.file("disk0.map"))?, history, self.size_bytes)?;
        Ok(())
    }
}

fn new_map(
    storage: FileStorage,
    history: [u8; 16],
    size_bytes: u64,
) -> Result<Map<FileStorage>, IntentError> {
    let file = IntentFile::create(storage, history, size_bytes)?;
    let marked = Bits::try_new(size_bytes.div_ceil(REGION_BYTES))?;
    Ok(Map { file, marked, damaged_sectors: 0 })
}

/// What cannot be foreseen.
pub(super) fn random() -> Result<[u8; 16], PlaceError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| PlaceError::NoRandom)?;
    Ok(bytes)
}

/// Opens a file, and waits until this process's former handle is closed.
fn open(path: &Path) -> Result<FileStorage, OpenError> {
    let begun = Instant::now();
    loop {
        match FileStorage::open(path, Caching::PageCache) {
            Err(OpenError::InUse(_)) if begun.elapsed() < LET_GO_MAX => sleep(Duration::from_millis(20)),
            opened => return opened,
        }
    }
}
