//! The parts of an epoch on its way from the encoder to the sink. All stations use these types.
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

/// What the secondary must know before the pages of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochHead {
    /// The generation that sends it.
    pub generation: Generation,
    /// The number of the epoch.
    pub epoch: Epoch,
    /// Seed or delta.
    pub kind: EpochKind,
    /// For a delta: the epoch that it changes.
    pub base: Option<Epoch>,
}

/// The end of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// As in the head.
    pub generation: Generation,
    /// As in the head.
    pub epoch: Epoch,
    /// Number and digest of all pages.
    pub summary: EpochSummary,
}

/// What follows the head of an epoch, in this order. A `B` holds the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochPart<B> {
    /// One batch of encoded pages.
    Pages(B),
    /// libxc records.
    LibxcState(B),
    /// libxl records.
    LibxlState(B),
    /// The end.
    End(EpochEnd),
}

impl<B> EpochPart<B> {
    /// Converts what holds the bytes.
    pub fn map<C>(self, hold: impl FnOnce(B) -> C) -> EpochPart<C> {
        match self {
            Self::Pages(batch) => EpochPart::Pages(hold(batch)),
            Self::LibxcState(records) => EpochPart::LibxcState(hold(records)),
            Self::LibxlState(records) => EpochPart::LibxlState(hold(records)),
            Self::End(end) => EpochPart::End(end),
        }
    }

    /// The bytes, if the part has any.
    pub fn bytes(&self) -> Option<&B> {
        match self {
            Self::Pages(bytes) | Self::LibxcState(bytes) | Self::LibxlState(bytes) => Some(bytes),
            Self::End(_) => None,
        }
    }
}

impl<S: Sink> Receiver<S> {
    /// Processes a part of the epoch that was begun last. After an error the epoch is dropped.
    pub fn part<B: AsRef<[u8]>>(&mut self, part: &EpochPart<B>) -> Result<(), ReceiveError> {
        match part {
            EpochPart::Pages(batch) => self.pages(batch.as_ref()),
            EpochPart::LibxcState(records) => self.libxc_state(records.as_ref()),
            EpochPart::LibxlState(records) => self.libxl_state(records.as_ref()),
            EpochPart::End(end) => self.finish(end.summary),
        }
    }
}
