//! What a guest asks of its disk, and the answer.

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
