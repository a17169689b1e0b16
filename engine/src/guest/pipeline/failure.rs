//! Why a capture fails. Not here: what the session does about it.

use crate::config::human::show_bytes;
use crate::guest::disks::recording::CopyError;
use crate::guest::participant::ParticipantError;
use understudy_checkpoint::OutOfMemory;
use understudy_checkpoint::domain::DomainError;

/// Why a capture failed. The guest continues unless it is gone.
#[derive(thiserror::Error, Debug)]
pub(in crate::guest) enum Failure {
    #[error("The capture was given up")]
    Aborted,
    #[error(
        "The guest changes more at once than staging holds and the link takes in time, and would stand still for long; \
         raise staging, or give it a faster link"
    )]
    TooMuch,
    #[error(
        "Staging takes {} of memory, and {} are available; lower staging, or give this host memory",
        show_bytes(*needed), show_bytes(*available)
    )]
    NoStaging { needed: u64, available: u64 },
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    #[error("The encode thread has ended; protection of this guest must be started anew")]
    EncoderGone,
    #[error("There is no checkpoint to build upon; a full sync is needed first")]
    NoBase,
    #[error(transparent)]
    Disk(#[from] CopyError),
    #[error(transparent)]
    Domain(#[from] DomainError),
    #[error(transparent)]
    Participant(#[from] ParticipantError),
}

impl Failure {
    /// Whether no later delta can build on what the peer holds, so that a full sync is needed.
    pub(in crate::guest) fn needs_seed(&self) -> bool {
        matches!(
            self,
            Self::NoBase | Self::Disk(_) | Self::Domain(DomainError::LogLost(_) | DomainError::Outgrown(_))
        )
    }

    /// Whether the guest is gone.
    pub(in crate::guest) fn guest_gone(&self) -> bool {
        matches!(self, Self::Domain(DomainError::Gone(_) | DomainError::EndOfRecording))
    }
}
