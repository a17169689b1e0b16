//! Storage that mutants have below the engine, and what they keep of a disk.
//!
//! Not here: when they do harm with it ([`wrong_disk`](super::wrong_disk)).

use understudy_disk::storage::{Storage, StorageError};
use understudy_disk::words::Point;

/// From here on a map's file has its marks; what is before says what it is.
const MARKS_FROM: u64 = 8192;

/// A map whose marks are written when the next one comes.
pub(super) struct KeepsMark<S> {
    map: S,
    kept: Option<(u64, Vec<u8>)>,
}

impl<S: Storage> KeepsMark<S> {
    pub(super) fn new(map: S) -> Self {
        Self { map, kept: None }
    }
}

impl<S: Storage> Storage for KeepsMark<S> {
    fn size_bytes(&self) -> u64 {
        self.map.size_bytes()
    }
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.map.read_at(offset, into)
    }
    fn write_at(&mut self, offset: u64, from: &[u8]) -> Result<(), StorageError> {
        let is_mark = offset >= MARKS_FROM && from[8..].iter().any(|byte| *byte != 0);
        let kept = if is_mark { self.kept.replace((offset, from.to_vec())) } else { self.kept.take() };
        if let Some((offset, from)) = kept {
            self.map.write_at(offset, &from)?;
        }
        if is_mark { Ok(()) } else { self.map.write_at(offset, from) }
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        self.map.flush()
    }
}

/// A disk of which a chunk is read as it was before the last write to it.
pub(super) struct ReadsOld<S> {
    disk: S,
    last: Option<(u64, Vec<u8>)>,
}

impl<S: Storage> ReadsOld<S> {
    pub(super) fn new(disk: S) -> Self {
        Self { disk, last: None }
    }
}

impl<S: Storage> Storage for ReadsOld<S> {
    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.disk.read_at(offset, into)?;
        if let Some((at, old)) = &self.last
            && *at >= offset
            && at + old.len() as u64 <= offset + into.len() as u64
        {
            let begin = (at - offset) as usize;
            into[begin..begin + old.len()].copy_from_slice(old);
        }
        Ok(())
    }
    fn write_at(&mut self, offset: u64, from: &[u8]) -> Result<(), StorageError> {
        let mut old = vec![0; from.len()];
        self.disk.read_at(offset, &mut old)?;
        self.last = Some((offset, old));
        self.disk.write_at(offset, from)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        self.disk.flush()
    }
}

/// What one host's mutant keeps of a guest's disk.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    /// The last that was acked here.
    pub(super) acked: Option<Point>,
    /// Writes of the epoch that arrives.
    pub(super) waiting: Vec<Vec<u8>>,
    /// What a commit should have brought onto the disk.
    pub(super) put_off: Option<Vec<u8>>,
}
