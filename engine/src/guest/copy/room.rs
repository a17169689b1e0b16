//! How much memory the copies that run on this host take, of what the images of all guests held here may take together.
//!
//! Not here: what a copy takes (`Host::copy_bytes`), and what images take (`node/offers`).

use crate::memory;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by all guests that are held here.
#[derive(Clone, Debug)]
pub struct CopyRoom {
    bytes: Arc<Bytes>,
    /// Returns how much of the host's memory is available.
    available_bytes: fn() -> Option<u64>,
}

#[derive(Debug)]
struct Bytes {
    max: u64,
    images: AtomicU64,
    copies: AtomicU64,
}

/// The memory reserved for one copy, released on drop.
#[derive(Debug)]
pub struct Taken {
    room: CopyRoom,
    bytes: u64,
}

impl CopyRoom {
    /// Room of `max` bytes for images and copies together.
    pub fn new(max: u64) -> Self {
        let bytes = Bytes { max, images: AtomicU64::new(0), copies: AtomicU64::new(0) };
        Self { bytes: Arc::new(bytes), available_bytes: memory::available_bytes }
    }

    /// Replaces the kernel's answer about available memory by `available_bytes`.
    pub fn ask(&mut self, available_bytes: fn() -> Option<u64>) {
        self.available_bytes = available_bytes;
    }

    /// The host's available memory, if known.
    pub fn available_bytes(&self) -> Option<u64> {
        (self.available_bytes)()
    }

    /// Sets the memory that images take.
    pub fn images_take(&self, bytes: u64) {
        self.bytes.images.store(bytes, Ordering::Relaxed);
    }

    /// The memory that copies take.
    pub fn of_copies(&self) -> u64 {
        self.bytes.copies.load(Ordering::Relaxed)
    }

    /// Reserves `bytes` for a copy; the error is the number of bytes left.
    pub fn take(&self, bytes: u64) -> Result<Taken, u64> {
        let room = self.bytes.max.saturating_sub(self.bytes.images.load(Ordering::Relaxed));
        let take = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= room);
        match self.bytes.copies.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(Taken { room: self.clone(), bytes }),
            Err(taken) => Err(room.saturating_sub(taken)),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.bytes.copies.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_take_what_images_leave_and_give_it_back() {
        let room = CopyRoom::new(100);
        room.images_take(40);
        let one = room.take(50).unwrap();
        assert_eq!(room.take(11).unwrap_err(), 10);
        drop(one);
        let one = room.take(60).unwrap();
        assert_eq!(room.of_copies(), 60);
        room.images_take(90);
        assert_eq!(room.take(1).unwrap_err(), 0, "there is less than it has");
        drop(one);
        assert!(room.take(10).is_ok());
    }
}
