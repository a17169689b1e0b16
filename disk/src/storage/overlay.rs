//! [`Overlay`]: storage that is read and never written. What is written to it stays in memory.
//!
//! ```text
//!   write_at ─► memory, by sectors         read_at ◄── memory where something was written, else what is below
//! ```
//!
//! With it a recovery goes as it would, and leaves everything as it was. A flush is nothing: nobody relies on it. Not here:
//! whether somebody else writes what is below meanwhile.

use super::{Storage, StorageError};
use crate::words::SECTOR_BYTES;
use std::collections::BTreeMap;

const SECTOR: usize = SECTOR_BYTES as usize;

/// Over some storage.
#[derive(Debug)]
pub struct Overlay<S> {
    below: S,
    /// Content by the sector's number.
    written: BTreeMap<u64, [u8; SECTOR]>,
    sectors_max: usize,
}

impl<S: Storage> Overlay<S> {
    /// Over `below`. A write is [`StorageError::Full`] if it takes more memory than this.
    pub fn new(below: S, bytes_max: usize) -> Self {
        Self { below, written: BTreeMap::new(), sectors_max: bytes_max / SECTOR }
    }
}

impl<S: Storage> Storage for Overlay<S> {
    fn size_bytes(&self) -> u64 {
        self.below.size_bytes()
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.below.read_at(offset, into)?;
        let first = offset / SECTOR_BYTES;
        let sectors = (into.len() / SECTOR) as u64;
        for (number, content) in self.written.range(first..first + sectors) {
            let at = (number - first) as usize * SECTOR;
            into[at..at + SECTOR].copy_from_slice(content);
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> Result<(), StorageError> {
        let (sectors, _) = from.as_chunks::<SECTOR>();
        if self.written.len() + sectors.len() > self.sectors_max {
            return Err(StorageError::Full { offset, bytes: from.len() as u64 });
        }
        for (number, content) in (offset / SECTOR_BYTES..).zip(sectors) {
            self.written.insert(number, *content);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulated::Machine;
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_what_is_below_stays() {
        let mut disk = Machine::new().disk(4096);
        disk.write_at(0, &[1; 4096]).unwrap();
        let mut overlay = Overlay::new(disk.clone(), 2048);
        overlay.write_at(1024, &[2; 1024]).unwrap();
        overlay.write_at(512, &[3; 512]).unwrap();
        overlay.flush().unwrap();
        let (mut above, mut below) = ([0; 2048], [0; 4096]);
        overlay.read_at(512, &mut above).unwrap();
        disk.read_at(0, &mut below).unwrap();
        assert_eq!(above, *[[3; 512], [2; 512], [2; 512], [1; 512]].as_flattened());
        assert_eq!(below, [1; 4096]);
        assert_eq!(overlay.size_bytes(), 4096);
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut overlay = Overlay::new(Machine::new().disk(4096), 1024);
        overlay.write_at(0, &[1; 1024]).unwrap();
        assert!(matches!(
            overlay.write_at(2048, &[1; 512]),
            Err(StorageError::Full { offset: 2048, bytes: 512 })
        ));
    }
}
