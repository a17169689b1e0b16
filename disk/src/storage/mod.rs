//! What bytes are kept on, and what is believed of it.
//!
//! ```text
//!   write_at ─► volatile: read back at once; a loss of power keeps, loses or tears it, sector by sector, in any order
//!   flush    ─► all that was written before it began is on the media
//!   flush fails: what was written since the last good one is lost or not, and no later flush tells
//! ```
//!
//! The last line is the one that programs get wrong. A kernel whose flush fails may call the pages clean all the same, so
//! that the *next* flush says "all is well" about bytes that are nowhere. [`Guarded`] therefore ends with its first error:
//! after that nothing is written through it, and nothing it said is taken back. Only another life begins anew, and it
//! writes again what it wants to rely on.
//!
//! * [`mod@file`] a file or a block device, past the page cache
//! * [`overlay`] storage that is only read, below memory that takes what is written
//! * [`simulated`] a device that loses power, tears writes, fails and fills up, as a test wishes

pub mod file;
pub mod overlay;
pub mod simulated;

use crate::words::SECTOR_BYTES;
use std::io;
use thiserror::Error;

/// Why storage did not do what it was asked.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The device or its file system said no.
    #[error("{action} {bytes} bytes at {offset} failed; look for the device in the kernel's log")]
    Device {
        /// What was tried.
        action: Action,
        /// From the begin of the storage.
        offset: u64,
        /// How many.
        bytes: u64,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// There is no room where the bytes should go.
    #[error(
        "the device or its file system is full ({bytes} bytes at {offset}); make room, then sync the copy anew"
    )]
    Full {
        /// From the begin of the storage.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// An access leaves the storage, or is no whole sectors: whoever asked is defective.
    #[error(
        "{bytes} bytes at {offset} are not within storage of {size_bytes} bytes; what asked for them is defective"
    )]
    Beyond {
        /// From the begin of the storage.
        offset: u64,
        /// How many.
        bytes: u64,
        /// All there is.
        size_bytes: u64,
    },
    /// It failed before, and what it holds since then nobody knows.
    #[error(
        "an earlier write or flush failed, so nothing is trusted to this storage any more; put the device right and start anew"
    )]
    Ended,
}

/// What was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Bytes were to be read.
    Read,
    /// Bytes were to be written.
    Write,
    /// What was written was to become durable.
    Flush,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Flush => "flushing",
        })
    }
}

impl StorageError {
    /// What a system call answered; a lack of room is told apart.
    pub fn from_io(action: Action, offset: u64, bytes: usize, source: io::Error) -> Self {
        let bytes = bytes as u64;
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { offset, bytes },
            _ => Self::Device { action, offset, bytes, source },
        }
    }
}

/// A device of a fixed size.
pub trait Storage {
    /// How many bytes it has.
    fn size_bytes(&self) -> u64;

    /// Reads what was last written, durable or not. `into` is whole sectors.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StorageError>;

    /// Writes, without a promise before the next good flush. `from` is whole sectors. An error may leave any of them written.
    fn write_at(&mut self, offset: u64, from: &[u8]) -> Result<(), StorageError>;

    /// Makes durable what was written before.
    fn flush(&mut self) -> Result<(), StorageError>;
}

/// Storage whose first error of a write or a flush is its last word, and that refuses what is not within it.
#[derive(Debug)]
pub struct Guarded<S> {
    storage: S,
    has_ended: bool,
}

impl<S: Storage> Guarded<S> {
    /// Guards `storage` for one life.
    pub fn new(storage: S) -> Self {
        Self { storage, has_ended: false }
    }

    /// Gives the storage back, to be guarded in another life.
    pub fn into_inner(self) -> S {
        self.storage
    }

    /// Whether a write or a flush has failed.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn check(&self, offset: u64, bytes: usize) -> Result<(), StorageError> {
        let (bytes, size_bytes) = (bytes as u64, self.storage.size_bytes());
        let is_whole = offset.is_multiple_of(SECTOR_BYTES) && bytes.is_multiple_of(SECTOR_BYTES);
        let is_within = offset.checked_add(bytes).is_some_and(|end| end <= size_bytes);
        if is_whole && is_within { Ok(()) } else { Err(StorageError::Beyond { offset, bytes, size_bytes }) }
    }

    fn unless_ended(
        &mut self,
        act: impl FnOnce(&mut S) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        if self.has_ended {
            return Err(StorageError::Ended);
        }
        let result = act(&mut self.storage);
        self.has_ended = result.is_err();
        result
    }
}

impl<S: Storage> Storage for Guarded<S> {
    fn size_bytes(&self) -> u64 {
        self.storage.size_bytes()
    }

    /// A read that fails ends nothing: what is durable stays so.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.check(offset, into.len())?;
        self.storage.read_at(offset, into)
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> Result<(), StorageError> {
        self.check(offset, from.len())?;
        self.unless_ended(|storage| storage.write_at(offset, from))
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.unless_ended(Storage::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::simulated::{Fault, Machine};
    use super::*;

    #[test]
    fn after_a_flush_that_failed_none_says_that_all_is_well() {
        let machine = Machine::new();
        let bare = machine.disk(4096);
        machine.fail_at(1, Fault::Flush);
        let mut bare_device = bare.clone();
        bare_device.write_at(0, &[7; 512]).unwrap();
        bare_device.flush().unwrap_err();
        bare_device.flush().expect("the kernel calls its pages clean: this is the trap");

        machine.fail_at(machine.operations() + 1, Fault::Flush);
        let mut guarded = Guarded::new(bare.clone());
        guarded.write_at(0, &[8; 512]).unwrap();
        guarded.flush().unwrap_err();
        assert!(matches!(guarded.flush(), Err(StorageError::Ended)));
        assert!(matches!(guarded.write_at(0, &[9; 512]), Err(StorageError::Ended)));
        machine.lose_power(&mut |_| 0);
        let mut sector = [1; 512];
        bare_device.read_at(0, &mut sector).unwrap();
        assert_eq!(sector, [0; 512], "neither write was on the media, whatever the second flush said");
    }

    #[test]
    fn what_is_not_within_is_refused_before_the_device_hears_of_it() {
        let machine = Machine::new();
        let mut guarded = Guarded::new(machine.disk(4096));
        for (offset, bytes) in [(4096, 512), (1, 512), (0, 100), (3584, 1024), (u64::MAX - 511, 512)] {
            assert!(matches!(guarded.write_at(offset, &vec![0; bytes]), Err(StorageError::Beyond { .. })));
            assert!(matches!(guarded.read_at(offset, &mut vec![0; bytes]), Err(StorageError::Beyond { .. })));
        }
        assert_eq!(machine.operations(), 0);
        assert!(!guarded.has_ended(), "a defect of the caller says nothing of the device");
    }

    #[test]
    fn a_full_device_is_told_apart_and_ends_as_well() {
        let machine = Machine::new();
        let mut guarded = Guarded::new(machine.disk(4096));
        machine.fail_at(0, Fault::Full);
        assert!(matches!(guarded.write_at(0, &[1; 512]), Err(StorageError::Full { offset: 0, bytes: 512 })));
        assert!(guarded.has_ended());
    }
}
