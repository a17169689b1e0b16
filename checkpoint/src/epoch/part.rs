//! The parts of an epoch on its way from the encoder to the sink. All stations use these types.
//!
//! ```text
//!   encoder ─► Outlet ─► frames of the link ─► the loop's inbox ─► receive thread ─► Receiver
//!              EpochHead, then EpochPart<B>: Pages* LibxcState* LibxlState* Writes* WritesEnd? End
//!              (of a full copy, Ask* and Writes also before Pages: the content of disks)
//!              B: &[u8] where bytes are borrowed from a batch, owned where they cross a thread
//! ```
//!
//! Not here: the bytes of a batch (`pages::batch`), and those of a frame (the link's).

use super::{ReceiveError, Receiver, WritesSummary};
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

/// The end of an epoch's writes to disks. Each epoch of a guest with disks has one, and of another guest none has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WritesEnd {
    /// As in the head.
    pub generation: Generation,
    /// As in the head.
    pub epoch: Epoch,
    /// What must have arrived.
    pub summary: WritesSummary,
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
    /// Writes to the guest's disks, in the order in which the guest made them.
    Writes {
        /// As in the head.
        generation: Generation,
        /// The epoch that was open when they were made: the head's, or one before it that failed.
        tag: Epoch,
        /// A batch of them.
        batch: B,
    },
    /// The end of what the epoch has for disks.
    WritesEnd(WritesEnd),
    /// A question about a disk, before the writes of a full copy or among them.
    Ask {
        /// As in the head.
        generation: Generation,
        /// As in the head.
        epoch: Epoch,
        /// Its bytes.
        ask: B,
    },
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
            Self::Writes { generation, tag, batch } => {
                EpochPart::Writes { generation, tag, batch: hold(batch) }
            }
            Self::WritesEnd(end) => EpochPart::WritesEnd(end),
            Self::Ask { generation, epoch, ask } => EpochPart::Ask { generation, epoch, ask: hold(ask) },
            Self::End(end) => EpochPart::End(end),
        }
    }

    /// The bytes, if the part has any.
    pub fn bytes(&self) -> Option<&B> {
        match self {
            Self::Pages(bytes)
            | Self::LibxcState(bytes)
            | Self::LibxlState(bytes)
            | Self::Writes { batch: bytes, .. }
            | Self::Ask { ask: bytes, .. } => Some(bytes),
            Self::WritesEnd(_) | Self::End(_) => None,
        }
    }
}

impl<S: Sink> Receiver<S> {
    /// Processes a part of the epoch that was begun last. After an error the epoch is dropped. Writes to disks are for who has
    /// the disks: here they are an error.
    pub fn part<B: AsRef<[u8]>>(&mut self, part: &EpochPart<B>) -> Result<(), ReceiveError> {
        match part {
            EpochPart::Pages(batch) => self.pages(batch.as_ref()),
            EpochPart::LibxcState(records) => self.libxc_state(records.as_ref()),
            EpochPart::LibxlState(records) => self.libxl_state(records.as_ref()),
            EpochPart::Writes { .. } | EpochPart::WritesEnd(_) | EpochPart::Ask { .. } => {
                self.refuse_disks("this guest has none here".into())
            }
            EpochPart::End(end) => self.finish(end.summary),
        }
    }
}
