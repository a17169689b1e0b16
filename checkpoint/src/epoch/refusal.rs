//! Why an epoch is not taken, in words for whoever sends and whoever operates.
//!
//! Not here: what becomes of the image ([`Receiver`](super::Receiver)), and which answer goes over a link.

use crate::pages::{BatchError, EpochSummary};
use crate::room::OutOfMemory;
use crate::{Epoch, Pfn};

/// An epoch in words.
fn or_nothing(epoch: &Option<Epoch>) -> String {
    epoch.map_or("nothing".into(), |epoch| format!("epoch {epoch}"))
}

/// Why an epoch is not taken. The epoch is dropped; the image of a delta stands where it stood, a seed's is lost.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum ReceiveError {
    /// A batch does not decode.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Pages, state or an end came while no epoch was open; what follows a refused epoch is to be skipped.
    #[error("Data of an epoch came without its begin; skip it up to the next epoch")]
    NoEpoch,
    /// An epoch began before the one before it ended.
    #[error("Epoch {0} began before epoch {1} ended; the sender has to end or abort epochs in order")]
    StillOpen(Epoch, Epoch),
    /// The epoch does not build on what is held here.
    #[error(
        "Epoch {epoch} builds on {}, but {} is held here; the sender has to resynchronise",
        or_nothing(.base),
        or_nothing(.standing)
    )]
    WrongBase {
        /// The epoch refused.
        epoch: Epoch,
        /// What it builds on.
        base: Option<Epoch>,
        /// Newest complete epoch.
        standing: Option<Epoch>,
    },
    /// A page is a change to a page that is not here.
    #[error("Frame {0} was sent as a change, but no page is held for it; the sender has to send whole pages")]
    NoBasePage(Pfn),
    /// The epochs not yet committed pass the buffer's bound.
    #[error("The epoch does not fit the buffer of {0} bytes; shorten the interval or allow a larger buffer")]
    TooLarge(usize),
    /// The host has no memory for it.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A seed left frames out.
    #[error("The full sync says nothing of frame {0}; it has to be sent again")]
    SeedIncomplete(Pfn),
    /// The image's holder could not take it in.
    #[error("The image cannot be kept here: {0}")]
    Sink(String),
    /// A page that the sender says did not change is another one here.
    #[error(
        "Frames {first} to {last} did not change in epoch {epoch}, but are others here than where the guest runs \
         ({stretches} stretches differ): a write was missed, and nothing that was copied can be trusted; everything has \
         to be sent again"
    )]
    Diverged {
        /// The epoch whose checks showed it.
        epoch: Epoch,
        /// Where the first stretch of frames that differs begins.
        first: Pfn,
        /// Where it ends.
        last: Pfn,
        /// Stretches that differ.
        stretches: u64,
    },
    /// The state records that arrived are not those that were sent.
    #[error("The state of epoch {0} differs from what was sent; the epoch has to be sent again")]
    StateMismatch(Epoch),
    /// What arrived is not what was sent.
    #[error("Pages differ from what was sent ({received} instead of {sent}); the epoch has to be sent again")]
    Mismatch {
        /// What the sender's end says.
        sent: EpochSummary,
        /// What arrived.
        received: EpochSummary,
    },
}
