//! What the loop has a receive thread do, and for whom. Not here: how it is done ([`receive`](super::receive)).

use crate::guest::copy::{CopyOrder, CopyRoom, Traffic};
use crate::guest::host::Host;
use crossbeam::channel::Sender;
use std::sync::Arc;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::{EpochHead, EpochPart, Image};
use understudy_checkpoint::{Epoch, Generation};

/// What the loop hands over, in the order it came.
#[derive(Debug)]
pub enum Work {
    /// An epoch that the session takes in begins.
    Begin(EpochHead),
    /// A part of the epoch begun last; the end is answered by `Complete` or `Broken`.
    Part(EpochPart<Vec<u8>>),
    /// The epoch was complete, and was not acked at once: look whether the image could be activated now. Answered as an end is.
    LookAgain {
        /// That of the epoch.
        generation: Generation,
        /// The epoch that was complete.
        epoch: Epoch,
    },
    /// Make the epoch the image; answered by `Committed` or `CommitFailed`.
    Commit(Epoch),
    /// Drop what no commit was said for.
    DropIncomplete,
    /// Drop everything.
    DropImage,
    /// From the next full sync on the guest is another one, or has other devices. What is held is dropped.
    Renew(Box<Description>),
    /// Let what a dead engine left here of an earlier generation than this stand still. It is kept.
    PauseOlder(Generation),
    /// End what a dead engine left here of an earlier generation than this.
    EndOlder(Generation),
    /// Start the guest from the image, as the owner of `generation`; answered by `RunningGuest`, `ActivationFailed`, or
    /// `ActivationDelayed`. The thread ends with the first two.
    Activate {
        /// That of the takeover.
        generation: Generation,
        /// The first epoch it runs in.
        open: Epoch,
        /// Its connections have other numbers than the world knows: what rewrites them.
        through: Option<Arc<Traffic>>,
    },
    /// What becomes of the copy that runs beside the image.
    LiveCopy(CopyOrder),
    /// The copy is the guest from now on, as it is, of the owner of `generation`; answered as `Activate` is, or by `CopyEnded` and
    /// `ActivationDelayed` if there is no copy any more.
    ActivateCopy {
        /// That of the takeover.
        generation: Generation,
        /// The first epoch it runs in.
        open: Epoch,
    },
    /// No guest could be started from the image: save it for a person.
    Save,
    /// Hand out a copy of what is committed; `None` if nothing is. The thread goes on.
    Copy(Sender<Option<Committed>>),
}

/// A committed epoch, copied.
#[derive(Debug)]
pub struct Committed {
    pub epoch: Epoch,
    /// Its pages, types and state.
    pub image: Image,
}

/// Whose image is kept, and what starts it.
#[derive(Clone, Debug)]
pub struct Held {
    pub name: String,
    pub description: Description,
    /// What runs guests on this host.
    pub host: Arc<dyn Host>,
    /// What copies that run here may take.
    pub room: CopyRoom,
}
