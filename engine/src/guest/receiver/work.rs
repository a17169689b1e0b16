//! The work that the loop gives to a receive thread. Not here: how it is done ([`receive`](super::receive)).

use super::read::{Keep, ReadRequest};
use crate::guest::copy::{CopyOrder, CopyRoom, Traffic};
use crate::guest::host::Host;
use crossbeam::channel::Sender;
use std::sync::Arc;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::{EpochHead, EpochPart, Image};
use understudy_checkpoint::{Epoch, Generation};

/// A piece of work, done in the order of arrival.
#[derive(Debug)]
pub enum Work {
    /// Begin an epoch that the session has admitted.
    Begin(EpochHead),
    /// A part of the epoch begun last; the end is answered by `Complete` or `Broken`.
    Part(EpochPart<Vec<u8>>),
    /// The epoch was complete and was not acked at once: check whether the image could be activated now. Answered like an end.
    LookAgain {
        /// The generation of the epoch.
        generation: Generation,
        /// The epoch that was complete.
        epoch: Epoch,
    },
    /// Make the epoch the image; answered by `Committed` or `CommitFailed`.
    Commit(Epoch),
    /// Drop everything that was not committed.
    DropIncomplete,
    /// Drop everything.
    DropImage,
    /// The guest has a new description from the next full sync on. Drop everything that is held.
    Renew(Box<Description>),
    /// Pause what a dead engine left here under a generation before this one. It is kept.
    PauseOlder(Generation),
    /// End what a dead engine left here under a generation before this one.
    EndOlder(Generation),
    /// Start the guest from the image, as the owner of `generation`; answered by `RunningGuest`, `ActivationFailed`, or
    /// `ActivationDelayed`. The thread ends with the first two.
    Activate {
        /// The generation of the takeover.
        generation: Generation,
        /// The first epoch it runs in.
        open: Epoch,
        /// Rewrites the guest's connections, if their numbers differ from those that clients know.
        through: Option<Arc<Traffic>>,
    },
    /// An order about the copy that runs beside the image.
    LiveCopy(CopyOrder),
    /// Turn the running copy into the guest, as the owner of `generation`; answered like `Activate`, or by `CopyEnded` and
    /// `ActivationDelayed` if the copy is gone.
    ActivateCopy {
        /// The generation of the takeover.
        generation: Generation,
        /// The first epoch it runs in.
        open: Epoch,
    },
    /// No guest could be started from the image: save it for a person.
    Save,
    /// Read a kept epoch. The thread goes on.
    Read(ReadRequest),
    /// Send a copy of the committed image; `None` if there is none. The thread goes on.
    Copy(Sender<Option<Committed>>),
}

/// A committed epoch, copied.
#[derive(Debug)]
pub struct Committed {
    pub epoch: Epoch,
    /// Its pages, types and state.
    pub image: Image,
}

/// The guest whose image is held, and the host that can start it.
#[derive(Clone, Debug)]
pub struct Held {
    pub name: String,
    pub description: Description,
    /// The host, which runs guests.
    pub host: Arc<dyn Host>,
    /// The room for live copies on this host.
    pub room: CopyRoom,
    /// Which epochs of the past are kept.
    pub keep: Keep,
}
