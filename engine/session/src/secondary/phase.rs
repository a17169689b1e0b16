//! Where a secondary session stands. Each variant holds only what is valid there.

use super::super::{Record, Time};
use super::{Start, State};
use understudy_checkpoint::{Epoch, Generation};

/// A copy of the guest that could be activated, if the witness lets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Image {
    /// Generation its epochs belong to.
    pub(super) generation: Generation,
    /// Newest complete epoch: acked, its commit said.
    pub(super) complete: Epoch,
    /// Newest committed epoch: the image is exactly this.
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
    /// It failed for now, and is tried again then.
    pub(super) again_at: Option<Time>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// No image.
    Empty,
    /// A seed is arriving.
    Seeding {
        /// Of the seed.
        generation: Generation,
        /// Of the seed.
        epoch: Epoch,
    },
    /// An image, and a link to the primary.
    Standing {
        /// What is held.
        image: Image,
        /// The epoch that is arriving.
        receiving: Option<Epoch>,
    },
    /// An image, and no link.
    Alone {
        /// What is held.
        image: Image,
        /// When to look at the witness's record (again).
        look_at: Time,
    },
    /// No more acks in the image's generation; commits are finished, then the witness decides.
    TakingOver {
        /// What is held.
        image: Image,
        /// The witness has answered since this began.
        told: bool,
        /// The record that the last swap asked for would make; seeing it means that the takeover is won.
        asked: Option<Record>,
    },
    /// The guest is being started here; if it is, this session is over.
    Activated(Starting),
    /// It could not be started. This host owns a generation that nobody runs.
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
