//! Why a domain does not stand by, or cannot become its guest; and which of these errors may pass.

use crate::restore::RestoreError;
use crate::restore::memory::MemoryError;
use crate::xenstore::StoreError;
use crate::{DomId, XenError, xl};
use nix::errno::Errno;

/// Why a domain does not stand by, or cannot continue.
#[derive(thiserror::Error, Debug)]
pub enum StandbyError {
    /// The guest has a device model, so it cannot have a standby domain.
    #[error("a guest with a device model is not held in a domain of its own")]
    DeviceModel,
    /// libxl could not build the domain.
    #[error("libxl built no domain to stand by: {0}")]
    Build(String),
    /// The domain is not as it was left.
    #[error("domain {domain}, which stood by, {how}; it holds no image any more")]
    Lost {
        /// The standby domain.
        domain: DomId,
        /// What happened to it.
        how: &'static str,
    },
    /// The domain ran, so its memory is no longer an image.
    #[error(
        "domain {domain}, which stood by, was let run by somebody (xl unpause?); it holds no image any more"
    )]
    Ran {
        /// The standby domain.
        domain: DomId,
    },
    /// Xen would not start the guest with this state.
    #[error("Xen does not take the guest's state on this host: {0}; a takeover would fail")]
    State(#[source] RestoreError),
    /// A record is malformed, or the hypervisor refused it.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The domain's memory cannot be populated, mapped or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Xenstore does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Domains cannot be listed.
    #[error(transparent)]
    Xl(#[from] xl::XlError),
}

impl StandbyError {
    /// Whether the error may pass: others may free what the host lacks, and xenstored may be restarted.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Store(_) => true,
            Self::Restore(RestoreError::Xen(error)) => passes(error),
            Self::Restore(RestoreError::Memory(error)) | Self::Memory(error) => is_short(error),
            Self::DeviceModel
            | Self::Build(_)
            | Self::Lost { .. }
            | Self::Ran { .. }
            | Self::State(_)
            | Self::Restore(_)
            | Self::Xl(_) => false,
        }
    }
}

fn is_short(error: &MemoryError) -> bool {
    match error {
        MemoryError::NoMemory { .. } => true,
        MemoryError::Xen(error) => passes(error),
        _ => false,
    }
}

fn passes(error: &XenError) -> bool {
    match error {
        XenError::Hypercall { errno, .. } | XenError::Map { errno, .. } => is_shortage(*errno),
        XenError::Device { source, .. } | XenError::Buffer(source) => {
            source.raw_os_error().is_some_and(|errno| is_shortage(Errno::from_raw(errno)))
        }
        XenError::Xenstore(_) => true,
        _ => false,
    }
}

fn is_shortage(errno: Errno) -> bool {
    use Errno::{EAGAIN, EBUSY, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(errno, EMFILE | ENFILE | ENOMEM | EAGAIN | EBUSY | EINTR | ENOBUFS)
}
