//! A machine whose disks have volatile caches: what crash tests and the simulator run on.
//!
//! ```text
//!              media      versions written since, oldest first
//!   sector 8   AAAA       BBBB  CCCC          read: CCCC   flush: CCCC is media   loss of power: AAAA, BBBB or CCCC
//!   sector 9   DDDD       EEEE (given up)     read: EEEE   flush: stays as it is  loss of power: DDDD or EEEE
//! ```
//!
//! *Given up* is what a failed flush leaves, as kernels do: readable, called clean, and not on the media. Operations of
//! all disks of a machine are counted together, so that a test can end the machine before each of them in turn.
//!
//! Not here: time, and threads.

use super::{Action, Storage, StorageError};
use crate::words::SECTOR_BYTES;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = SECTOR_BYTES as usize;
type Sector = [u8; SECTOR];

/// How an operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A read or a write fails; of a write the first half was done.
    Device,
    /// A write finds no room; its first half was done.
    Full,
    /// A flush fails, and what it was to write out is given up.
    Flush,
    /// The process or the machine is no more: this operation and all later ones fail. A write may have been done.
    End,
}

/// Disks that share one power line and one count of operations.
#[derive(Clone, Debug, Default)]
pub struct Machine(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    has_ended: bool,
    disks: Vec<Platter>,
}

#[derive(Debug)]
struct Platter {
    media: Vec<Sector>,
    cache: BTreeMap<usize, Cached>,
    is_lying: bool,
}

#[derive(Debug, Default)]
struct Cached {
    versions: Vec<Sector>,
    is_given_up: bool,
}

/// One disk of a [`Machine`]. Clones are handles of the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    machine: Machine,
    index: usize,
    size_bytes: u64,
}

impl Machine {
    /// A machine without disks.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test goes on after a panic in here")
    }

    /// Puts in a disk of zeros.
    pub fn disk(&self, size_bytes: u64) -> SimulatedDisk {
        assert!(size_bytes.is_multiple_of(SECTOR_BYTES), "disks are whole sectors");
        let mut state = self.state();
        let media = vec![[0; SECTOR]; (size_bytes / SECTOR_BYTES) as usize];
        state.disks.push(Platter { media, cache: BTreeMap::new(), is_lying: false });
        SimulatedDisk { machine: self.clone(), index: state.disks.len() - 1, size_bytes }
    }

    /// How many reads, writes and flushes there were.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The operation of this number, counted from 0, fails so if it can: a flush fault waits for a flush.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state().faults.insert(operation, fault);
    }

    /// Whether [`Fault::End`] was met.
    pub fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    /// The process ended and another one begins: caches are kept, faults that were planned are forgotten.
    pub fn restart_process(&self) {
        let mut state = self.state();
        state.has_ended = false;
        state.faults.clear();
    }

    /// All power is lost and comes back. Of each sector that was written since it was last flushed, `choose(n)` says which
    /// of its n contents the media has: 0 is the oldest.
    pub fn lose_power(&self, choose: &mut impl FnMut(usize) -> usize) {
        self.restart_process();
        for platter in &mut self.state().disks {
            for (sector, cached) in std::mem::take(&mut platter.cache) {
                if let Some(version) = choose(cached.versions.len() + 1).checked_sub(1) {
                    platter.media[sector] = cached.versions[version];
                }
            }
        }
    }
}

impl State {
    /// Counts an operation, and says how it fails.
    fn next(&mut self, is_flush: bool) -> Option<Fault> {
        let number = self.operations;
        self.operations += 1;
        if self.has_ended {
            return Some(Fault::End);
        }
        let (&planned, &fault) = self.faults.range(..=number).next()?;
        let is_met = match fault {
            Fault::Flush => is_flush,
            Fault::Device | Fault::Full => !is_flush,
            Fault::End => true,
        };
        if is_met {
            self.faults.remove(&planned);
            self.has_ended = fault == Fault::End;
            return Some(fault);
        }
        None
    }
}

impl Platter {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let first = (offset / SECTOR_BYTES) as usize;
        for (index, sector) in bytes.as_chunks::<SECTOR>().0.iter().enumerate() {
            let cached = self.cache.entry(first + index).or_default();
            cached.versions.push(*sector);
            cached.is_given_up = false;
        }
    }

    fn read(&self, sector: usize) -> &Sector {
        self.cache.get(&sector).and_then(|cached| cached.versions.last()).unwrap_or(&self.media[sector])
    }

    fn flush(&mut self) {
        if self.is_lying {
            return;
        }
        let media = &mut self.media;
        self.cache.retain(|sector, cached| {
            if !cached.is_given_up {
                media[*sector] = *cached.versions.last().expect("what is cached was written");
            }
            cached.is_given_up
        });
    }
}

impl SimulatedDisk {
    /// Changes the media behind everybody's back: rot.
    pub fn rot(&self, offset: u64, flip: u8) {
        let mut state = self.machine.state();
        let platter = &mut state.disks[self.index];
        assert!(platter.cache.is_empty(), "rot is of the media");
        platter.media[(offset / SECTOR_BYTES) as usize][(offset % SECTOR_BYTES) as usize] ^= flip;
    }

    /// From now on it says that it flushes, and does not.
    pub fn never_flush(&self) {
        self.machine.state().disks[self.index].is_lying = true;
    }

    /// All that a read would give now, without counting as an operation.
    pub fn content(&self) -> Vec<u8> {
        let state = self.machine.state();
        let platter = &state.disks[self.index];
        (0..platter.media.len()).flat_map(|sector| *platter.read(sector)).collect()
    }

    fn failed(action: Action, offset: u64, bytes: usize, fault: Fault) -> StorageError {
        let kind = match fault {
            Fault::Full => io::ErrorKind::StorageFull,
            Fault::Device | Fault::Flush => io::ErrorKind::Other,
            Fault::End => io::ErrorKind::ConnectionAborted,
        };
        StorageError::from_io(action, offset, bytes, kind.into())
    }
}

impl Storage for SimulatedDisk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let mut state = self.machine.state();
        if let Some(fault) = state.next(false) {
            return Err(Self::failed(Action::Read, offset, into.len(), fault));
        }
        let first = (offset / SECTOR_BYTES) as usize;
        for (index, sector) in into.as_chunks_mut::<SECTOR>().0.iter_mut().enumerate() {
            *sector = *state.disks[self.index].read(first + index);
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> Result<(), StorageError> {
        let mut state = self.machine.state();
        let was_over = state.has_ended;
        let fault = state.next(false);
        let done = match fault {
            _ if was_over => 0,
            None | Some(Fault::End) => from.len(),
            Some(_) => from.len() / 2 / SECTOR * SECTOR,
        };
        state.disks[self.index].write(offset, &from[..done]);
        fault.map_or(Ok(()), |fault| Err(Self::failed(Action::Write, offset, from.len(), fault)))
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        let mut state = self.machine.state();
        let fault = state.next(true);
        let platter = &mut state.disks[self.index];
        match fault {
            None => {
                platter.flush();
                return Ok(());
            }
            Some(Fault::Flush) => platter.cache.values_mut().for_each(|cached| cached.is_given_up = true),
            Some(_) => {}
        }
        Err(Self::failed(Action::Flush, 0, 0, fault.expect("a fault was met")))
    }
}
