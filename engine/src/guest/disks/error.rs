//! [`LocalError`]: why the disk of a guest that runs here cannot be served.

use super::place::PlaceError;

/// Why a guest's disk cannot be served.
#[derive(thiserror::Error, Debug)]
pub enum LocalError {
    /// The disk's files.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The disk holds an unfinished copy.
    #[error(
        "the guest's disk was being overwritten by a full copy when that ended, so it is at no moment of the guest; start \
         the guest on the host that has it whole, or remove the disk's directory"
    )]
    Partial,
    /// The node has no directory for disks.
    #[error(
        "the guest has a disk, and the node is not told where to keep disks; give it --lab-disks DIRECTORY"
    )]
    NoDirectory,
    /// The system gives no thread or no memory.
    #[error("the disk gets no thread or no memory: {0}")]
    NoRoom(String),
}

impl LocalError {
    pub(super) fn no_room(error: impl ToString) -> Self {
        Self::NoRoom(error.to_string())
    }
}
