//! The files of guests' disks, on a host whose disks have volatile caches.
//!
//! ```text
//!   SimFiles of a guest: disk0, disk0.label, disk0.map, journal ─► simulated::Machine: loses, keeps or tears what was not flushed
//! ```
//!
//! Not here: what a guest makes of its disk ([`disk`](super::disk)).

use super::disk::{SECTOR_BYTES, SECTORS, offset_of};
use super::mutant::Mutant;
use super::rng::Rng;
use super::wrong_storage::{KeepsMark, ReadsOld};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use understudy::guest::{CopyPace, DiskFiles, DiskPlace, DiskStorage, LocalDisk};
use understudy_checkpoint::time::Time;
use understudy_disk::storage::file::OpenError;
use understudy_disk::storage::simulated::{Machine, SimulatedDisk};
use understudy_disk::storage::{Storage, StorageError};

/// Three chunks and a part of one.
pub const DISK_BYTES: u64 = (3 << 16) + 4096;
/// Small enough to go round in a run.
const JOURNAL_BYTES: u64 = 128 << 10;
/// The disks' clock is so much faster than the sessions': theirs is made for hosts that live for months.
const CLOCK_FACTOR: u64 = 100;

/// The disks of a host, in its power.
#[derive(Clone, Debug)]
pub struct SimMachine {
    machine: Machine,
    files: [Arc<SimFiles>; 2],
    clock: Arc<AtomicU64>,
}

impl SimMachine {
    /// Without a file.
    pub fn new(host: usize, mutant: Option<Mutant>) -> Self {
        let machine = Machine::new();
        let files = [0, 1].map(|guest| {
            let rng = Mutex::new(Rng::new((host as u64) << 8 | guest));
            Arc::new(SimFiles { machine: machine.clone(), files: Mutex::default(), rng, mutant })
        });
        Self { machine, files, clock: Arc::default() }
    }

    /// The place of a guest's disk.
    pub fn place(&self, guest: usize) -> DiskPlace {
        DiskPlace::on(self.files[guest].clone(), super::names::guest_name(guest), DISK_BYTES, JOURNAL_BYTES)
    }

    /// Opens a guest's disk for the guest.
    pub fn open(&self, guest: usize) -> Result<LocalDisk, String> {
        let pace = CopyPace { bytes_per_s: u64::MAX, near_chunks: 1 };
        let clock = self.clock.clone();
        let now = Box::new(move || Time(clock.load(Ordering::Relaxed)));
        LocalDisk::stepped(&self.place(guest), pace, now).map_err(|error| error.to_string())
    }

    /// It is this late.
    pub fn is_now(&self, now: Time) {
        self.clock.store(now.0.saturating_mul(CLOCK_FACTOR), Ordering::Relaxed);
    }

    /// All power is lost: of what was not flushed some is there, sector by sector.
    pub fn loses_power(&self, rng: &mut Rng) {
        self.machine.lose_power(&mut |versions| rng.below(versions as u64) as usize);
    }

    /// A guest's disk, past all that should be asked first.
    pub fn raw(&self, guest: usize) -> Option<SimulatedDisk> {
        Some(self.files[guest].lock().get("disk0")?.disk.clone())
    }

    /// What is on a guest's sectors; `None` if it has no disk here.
    pub fn content(&self, guest: usize) -> Option<[u64; SECTORS]> {
        let mut disk = self.raw(guest)?;
        let mut word = |sector| {
            let mut bytes = [0; SECTOR_BYTES];
            disk.read_at(offset_of(sector), &mut bytes).expect("no read of the simulator fails");
            u64::from_le_bytes(*bytes.first_chunk().expect("a sector is longer"))
        };
        Some(std::array::from_fn(&mut word))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimulatedDisk,
    /// Each that is open has one.
    handles: Arc<()>,
}

/// The files of a guest's disk on a host.
#[derive(Debug)]
pub struct SimFiles {
    machine: Machine,
    files: Mutex<BTreeMap<String, SimFile>>,
    rng: Mutex<Rng>,
    mutant: Option<Mutant>,
}

impl SimFiles {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, SimFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, name: &str, file: &SimFile) -> DiskStorage {
        let handle = Handle { disk: file.disk.clone(), _open: file.handles.clone() };
        match (self.mutant, name) {
            (Some(Mutant::IntentAfterWrite), "disk0.map") => DiskStorage::new(KeepsMark::new(handle)),
            (Some(Mutant::BulkWithoutRange), "disk0") => DiskStorage::new(ReadsOld::new(handle)),
            _ => DiskStorage::new(handle),
        }
    }
}

impl DiskFiles for SimFiles {
    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }

    fn is_there(&self, name: &str) -> io::Result<bool> {
        Ok(self.lock().contains_key(name))
    }

    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, name: &str, size_bytes: u64) -> Result<DiskStorage, OpenError> {
        let file = SimFile { disk: self.machine.disk(size_bytes), handles: Arc::default() };
        let opened = self.opened(name, &file);
        self.lock().insert(name.to_owned(), file);
        Ok(opened)
    }

    fn open(&self, name: &str) -> Result<DiskStorage, OpenError> {
        let files = self.lock();
        let file = files.get(name).ok_or_else(|| OpenError::System {
            path: name.into(),
            wish: "opened",
            source: io::ErrorKind::NotFound.into(),
        })?;
        if Arc::strong_count(&file.handles) > 1 {
            return Err(OpenError::InUse(name.into()));
        }
        Ok(self.opened(name, file))
    }

    /// Nothing else happens while somebody waits here.
    fn let_go_max(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&self) -> Option<[u8; 16]> {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let (high, low) = (rng.bits(), rng.bits());
        Some((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
    }
}

/// An open file.
pub struct Handle {
    disk: SimulatedDisk,
    _open: Arc<()>,
}

impl Storage for Handle {
    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.disk.read_at(offset, into)
    }
    fn write_at(&mut self, offset: u64, from: &[u8]) -> Result<(), StorageError> {
        self.disk.write_at(offset, from)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        self.disk.flush()
    }
}
