//! Why a domain cannot be rebuilt.

use super::memory::MemoryError;
use crate::XenError;
use understudy_checkpoint::Pfn;
use understudy_checkpoint::stream::{Defect, StreamError};

/// Why a domain cannot be rebuilt. It is not fit to run then, and libxl destroys it.
#[derive(thiserror::Error, Debug)]
pub enum RestoreError {
    /// The stream is broken, or its end came too early.
    #[error("The stream cannot be restored: {0}")]
    Stream(#[from] StreamError),
    /// A record is broken.
    #[error("The stream cannot be restored: {}", .0.detail)]
    Record(Defect),
    /// The stream ended before the guest was whole.
    #[error("The stream ended before the guest was whole; save or migrate it again")]
    Early,
    /// The hypervisor refused.
    #[error(transparent)]
    Xen(#[from] XenError),
    /// Memory could not be populated or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The stream is not of this kind of guest.
    #[error("The stream is of a {stream} guest, but domain {domain} was built for a {built} one")]
    WrongKind {
        /// The domain being rebuilt.
        domain: crate::DomId,
        /// The kind of guest that the stream is of.
        stream: &'static str,
        /// The kind of domain that libxl has built.
        built: &'static str,
    },
    /// Records that contradict each other, or that stand where they may not.
    #[error("The stream cannot be restored: {0}")]
    Order(&'static str),
    /// What a PV guest's state names is not there.
    #[error("The stream cannot be restored: {what} is at pfn {pfn}, which {why}")]
    BadFrame {
        /// What was looked for.
        what: &'static str,
        /// The page that the stream names.
        pfn: Pfn,
        /// What is wrong there.
        why: &'static str,
    },
    /// One checkpoint is larger than a whole guest.
    #[error("A checkpoint of more than {0} bytes came; this is more than all of the guest")]
    TooLarge(usize),
}

impl From<Defect> for RestoreError {
    fn from(defect: Defect) -> Self {
        Self::Record(defect)
    }
}
