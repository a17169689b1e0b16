//! One epoch on its way from the encoder to the sink, in the same terms all along.
//!
//! ```text
//!   encoder ─► Outlet ─► frames of the link ─► the loop's inbox ─► receive thread ─► Receiver
//!              EpochHead, then EpochPart<B>: Pages* LibxcState* LibxlState* End
//!              B: &[u8] where bytes are borrowed from a batch, owned where they cross a thread
//! ```
//!
//! Not here: the bytes of a batch (`pages::batch`), and those of a frame (the link's).

use super::{ReceiveError, Receiver};
use crate::domain::Sink;
use crate::pages::EpochSummary;
use crate::{Epoch, EpochKind, Generation};

/// What has to be known before the pages of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochHead {
    /// Sent in this generation.
    pub generation: Generation,
    /// The epoch.
    pub epoch: Epoch,
    /// Seed or delta.
    pub kind: EpochKind,
    /// For a delta: what it changes.
    pub base: Option<Epoch>,
}

/// The epoch is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// As in its head.
    pub generation: Generation,
    /// As in its head.
    pub epoch: Epoch,
    /// What all its pages come to.
    pub summary: EpochSummary,
}

/// What follows the head of an epoch, in this order; bytes are held by a `B`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochPart<B> {
    /// One batch of encoded pages.
    Pages(B),
    /// libxc records.
    LibxcState(B),
    /// libxl records.
    LibxlState(B),
    /// Nothing follows.
    End(EpochEnd),
}

impl<B> EpochPart<B> {
    /// The same part, its bytes held by something else.
    pub fn map<C>(self, hold: impl FnOnce(B) -> C) -> EpochPart<C> {
        match self {
            Self::Pages(batch) => EpochPart::Pages(hold(batch)),
            Self::LibxcState(records) => EpochPart::LibxcState(hold(records)),
            Self::LibxlState(records) => EpochPart::LibxlState(hold(records)),
            Self::End(end) => EpochPart::End(end),
        }
    }

    /// What holds its bytes, if it has any.
    pub fn bytes(&self) -> Option<&B> {
        match self {
            Self::Pages(bytes) | Self::LibxcState(bytes) | Self::LibxlState(bytes) => Some(bytes),
            Self::End(_) => None,
        }
    }
}

impl<S: Sink> Receiver<S> {
    /// Takes in a part of the epoch begun last. After an error the epoch is dropped.
    pub fn part<B: AsRef<[u8]>>(&mut self, part: &EpochPart<B>) -> Result<(), ReceiveError> {
        match part {
            EpochPart::Pages(batch) => self.pages(batch.as_ref()),
            EpochPart::LibxcState(records) => self.libxc_state(records.as_ref()),
            EpochPart::LibxlState(records) => self.libxl_state(records.as_ref()),
            EpochPart::End(end) => self.finish(end.summary),
        }
    }
}
