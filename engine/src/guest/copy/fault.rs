//! Why there is no live copy, or none any more. A copy that fails is dropped; the guest itself goes on.

use crate::guest::host::NotCopied;
use understudy_checkpoint::OutOfMemory;
use understudy_checkpoint::domain::DomainError;

/// Why an order about a live copy was not carried out.
#[derive(thiserror::Error, Debug)]
pub(in crate::guest) enum CopyFault {
    /// No copy was set.
    #[error("there is no copy")]
    Absent,
    /// It was dropped while it was being set.
    #[error("the copy is gone")]
    Gone,
    /// The image is older or newer than what the copy is to be.
    #[error("the image is not at that epoch")]
    OtherEpoch,
    /// A standby domain holds the image.
    #[error("the image is not in memory of this process")]
    ImageElsewhere,
    /// The host has less memory than a copy takes.
    #[error(
        "a copy that runs takes as much memory as the image, {needed_mib} MiB with the host's reserve, and {available_mib} \
         MiB are available"
    )]
    NoMemory { needed_mib: u64, available_mib: u64 },
    /// The images of other guests have taken what `image-max` allows.
    #[error(
        "a copy that runs takes as much memory as the image, {needed_mib} MiB, and of image-max {left_mib} MiB are left"
    )]
    NoRoom { needed_mib: u64, left_mib: u64 },
    /// The system is out of memory.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The new image cannot hold what was put into it.
    #[error("{0}")]
    Image(String),
    /// The host could not make a copy.
    #[error(transparent)]
    NotCopied(#[from] NotCopied),
    /// The copy itself failed.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// The copy did not become the guest.
    #[error("{0}")]
    NotBegun(String),
}
