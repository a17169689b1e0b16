//! Why an epoch is refused, in words for the sender and the operator.
//!
//! Not here: what happens to the image ([`Receiver`](super::Receiver)), and the answer on the link.

use crate::pages::{BatchError, EpochSummary};
use crate::room::OutOfMemory;
use crate::{Epoch, Pfn};

/// An epoch in words.
fn or_nothing(epoch: &Option<Epoch>) -> String {
    epoch.map_or("nothing".into(), |epoch| format!("epoch {epoch}"))
}

/// Why an epoch is refused. The epoch is dropped. The image of a delta stays as it was; that of a full sync is lost.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum ReceiveError {
    /// A batch does not decode.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Pages, state or an end came while no epoch was open. What follows a refused epoch must be skipped.
    #[error("Data of an epoch came without its begin; skip it up to the next epoch")]
    NoEpoch,
    /// An epoch began before the previous one ended.
    #[error("Epoch {0} began before epoch {1} ended; the sender has to end or abort epochs in order")]
    StillOpen(Epoch, Epoch),
    /// The epoch does not build on the newest complete epoch here.
    #[error(
        "Epoch {epoch} builds on {}, but {} is held here; the sender has to resynchronise",
        or_nothing(.base),
        or_nothing(.standing)
    )]
    WrongBase {
        /// The refused epoch.
        epoch: Epoch,
        /// The epoch that it builds on.
        base: Option<Epoch>,
        /// Newest complete epoch.
        standing: Option<Epoch>,
    },
    /// A delta of a page that is not here.
    #[error("Frame {0} was sent as a change, but no page is held for it; the sender has to send whole pages")]
    NoBasePage(Pfn),
    /// The uncommitted epochs exceed the memory limit.
    #[error("The epoch does not fit the buffer of {0} bytes; shorten the interval or allow a larger buffer")]
    TooLarge(usize),
    /// The host is out of memory.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A full sync left frames out.
    #[error("The full sync says nothing of frame {0}; it has to be sent again")]
    SeedIncomplete(Pfn),
    /// The sink could not apply the epoch.
    #[error("The image cannot be kept here: {0}")]
    Sink(String),
    /// What it has for the guest's disks cannot be taken.
    #[error("The writes to the guest's disks cannot be taken: {0}")]
    Disks(String),
    /// A page that the sender did not change differs here.
    #[error(
        "Frames {first} to {last} did not change in epoch {epoch}, but are others here than where the guest runs \
         ({stretches} stretches differ): a write was missed, and nothing that was copied can be trusted; everything has \
         to be sent again"
    )]
    Diverged {
        /// The epoch whose checks found it.
        epoch: Epoch,
        /// The first frame of the first stretch that differs.
        first: Pfn,
        /// The last frame of that stretch.
        last: Pfn,
        /// The number of stretches that differ.
        stretches: u64,
    },
    /// The state records differ from those that were sent.
    #[error("The state of epoch {0} differs from what was sent; the epoch has to be sent again")]
    StateMismatch(Epoch),
    /// The pages differ from those that were sent.
    #[error("Pages differ from what was sent ({received} instead of {sent}); the epoch has to be sent again")]
    Mismatch {
        /// The sender's count and digest.
        sent: EpochSummary,
        /// The receiver's count and digest.
        received: EpochSummary,
    },
}
