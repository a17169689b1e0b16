//! The guest's disk as its driver sees it: requests go out, and are answered in any order.
//!
//! ```text
//!   guest ─► Disk::submit ─► (the engine) ─► Inlet::answer ─► [ answers ] ─► guest
//! ```
//!
//! Answers that wait have not reached the guest: they are not part of a checkpoint. A guest that is restored submits again
//! what its state says is unanswered, as blkfront does. Not here: what the guest keeps on its disk
//! ([`guest`](crate::guest)), and what a host makes of the requests.

use crate::hypervisor::Inlet;

/// The most requests that a guest has under way.
pub const DISK_REQUESTS_MAX: usize = 64;

/// The most bytes of one request.
pub const DISK_REQUEST_BYTES_MAX: usize = 64 << 10;

/// What a guest wants of its disk. Offsets and lengths are multiples of 4096.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskWish {
    /// What is there.
    Read {
        /// From the disk's begin.
        offset: u64,
        /// How many.
        bytes: u32,
    },
    /// Put this there.
    Write {
        /// From the disk's begin.
        offset: u64,
        /// The content.
        data: Vec<u8>,
        /// Answered once it is on the media (FUA).
        is_forced: bool,
    },
    /// Answered once all that was answered before is on the media.
    Flush,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskRequest {
    /// Its answer says the same.
    pub id: u64,
    /// What is wanted.
    pub wish: DiskWish,
}

/// The disk could not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskFailed;

/// An answer; of a read with the content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskAnswer {
    /// Of the request.
    pub id: u64,
    /// What came of it.
    pub result: Result<Vec<u8>, DiskFailed>,
}

/// Carries out a guest's requests.
///
/// Called on the vCPU's thread while the guest is locked: it must not block for long, and may take no lock that is held by
/// anyone who suspends, pauses or stops the guest.
pub trait Disk: Send + Sync {
    /// Takes a request, which is answered later by [`Inlet::answer`].
    fn submit(&self, request: DiskRequest, guest: &Inlet);
}
