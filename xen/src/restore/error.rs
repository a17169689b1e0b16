//! Why a domain cannot be rebuilt.

use super::memory::MemoryError;
use crate::XenError;
use understudy_checkpoint::Pfn;
use understudy_checkpoint::stream::{Defect, StreamError};

/// Why a domain cannot be rebuilt. The domain must not run then, and libxl destroys it.
#[derive(thiserror::Error, Debug)]
pub enum RestoreError {
    /// The stream is malformed, or ended early.
    #[error("The stream cannot be restored: {0}")]
    Stream(#[from] StreamError),
    /// A record is malformed.
    #[error("The stream cannot be restored: {}", .0.detail)]
    Record(Defect),
    /// The stream ended before the guest was complete.
    #[error("The stream ended before the guest was whole; save or migrate it again")]
    Early,
    /// The hypervisor refused.
    #[error(transparent)]
    Xen(#[from] XenError),
    /// Memory could not be populated or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The stream is from another kind of guest than the domain.
    #[error("The stream is of a {stream} guest, but domain {domain} was built for a {built} one")]
    WrongKind {
        /// The domain being rebuilt.
        domain: crate::DomId,
        /// The kind of guest in the stream.
        stream: &'static str,
        /// The kind of domain that libxl has built.
        built: &'static str,
    },
    /// Records that contradict each other, or are out of place.
    #[error("The stream cannot be restored: {0}")]
    Order(&'static str),
    /// A PV guest's state names a page that is missing or has the wrong type.
    #[error("The stream cannot be restored: {what} is at pfn {pfn}, which {why}")]
    BadFrame {
        /// What the page is for.
        what: &'static str,
        /// The page that the stream names.
        pfn: Pfn,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A single checkpoint is larger than the whole guest.
    #[error("A checkpoint of more than {0} bytes came; this is more than all of the guest")]
    TooLarge(usize),
}

impl From<Defect> for RestoreError {
    fn from(defect: Defect) -> Self {
        Self::Record(defect)
    }
}
