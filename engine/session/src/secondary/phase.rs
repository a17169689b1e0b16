//! The phases of a secondary session. Each variant holds only what is valid in it.

use super::super::{Record, Time};
use super::{Start, State};
use understudy_checkpoint::{Epoch, Generation};

/// A copy of the guest that could be activated, if the witness allows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Image {
    /// The generation of its epochs.
    pub(super) generation: Generation,
    /// The newest complete epoch: acked, and its commit ordered.
    pub(super) complete: Epoch,
    /// The newest committed epoch: the image is exactly this.
    pub(super) committed: Epoch,
}

/// A guest that is being started.
#[derive(Debug)]
pub(super) struct Starting {
    /// The record that this host's swap wrote.
    pub(super) record: Record,
    /// The epoch that it continues from.
    pub(super) epoch: Epoch,
    /// What becomes the guest.
    pub(super) start: Start,
    /// What fails from here on is not tried again.
    pub(super) until: Time,
    /// It failed for now; when to try again.
    pub(super) again_at: Option<Time>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// No image.
    Empty,
    /// A full sync is arriving.
    Seeding { generation: Generation, epoch: Epoch },
    /// An image, and a link to the primary.
    Standing {
        image: Image,
        /// The epoch that is arriving.
        receiving: Option<Epoch>,
    },
    /// An image, and no link.
    Alone {
        image: Image,
        /// When to read the witness's record next.
        look_at: Time,
    },
    /// No more acks in the image's generation; commits are finished, then the witness decides.
    TakingOver {
        image: Image,
        /// Whether the witness has answered since this began.
        told: bool,
        /// The record that the last requested swap would make; seeing it means that the takeover is won.
        asked: Option<Record>,
    },
    /// The guest is being started here; if it is, this session is over.
    Activated(Starting),
    /// The guest could not be started. This host owns a generation that nobody runs.
    Failed,
}

impl Phase {
    /// `newest`: the newest generation heard of.
    pub(super) fn state(&self, newest: Generation) -> State {
        match self {
            Self::Empty => State::Empty,
            Self::Seeding { .. } => State::Seeding,
            Self::Standing { image, .. } if image.generation < newest => State::Outdated,
            Self::Standing { .. } => State::Standing,
            Self::Alone { .. } => State::Alone,
            Self::TakingOver { .. } => State::TakingOver,
            Self::Activated(_) => State::Activating,
            Self::Failed => State::ActivationFailed,
        }
    }

    pub(super) fn image(&self) -> Option<&Image> {
        match self {
            Self::Standing { image, .. } | Self::Alone { image, .. } | Self::TakingOver { image, .. } => {
                Some(image)
            }
            Self::Empty | Self::Seeding { .. } | Self::Activated(_) | Self::Failed => None,
        }
    }

    pub(super) fn image_mut(&mut self) -> Option<&mut Image> {
        match self {
            Self::Standing { image, .. } | Self::Alone { image, .. } | Self::TakingOver { image, .. } => {
                Some(image)
            }
            Self::Empty | Self::Seeding { .. } | Self::Activated(_) | Self::Failed => None,
        }
    }
}
