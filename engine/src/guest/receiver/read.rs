//! What the loop says of epochs of the past, and what whoever reads one is sent. Not here: how that is done
//! ([`past`](super::past)).

use crossbeam::channel::{Receiver as Inbox, Sender};
use std::time::Duration;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::DomainState;
use understudy_checkpoint::epoch::{KeepLimits, NotKept, Staging};

/// Which epochs of the past are kept of a guest that is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// How much; with no epochs, memory for one that is being read.
    pub limits: KeepLimits,
    /// The time from one to the next.
    pub every: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { limits: KeepLimits { epochs_max: 0, bytes_max: 1 << 30 }, every: Duration::from_secs(1) }
    }
}

/// A question for a kept epoch.
#[derive(Debug)]
pub struct ReadRequest {
    /// `None`: the one that is committed.
    pub epoch: Option<Epoch>,
    /// Where the parts go. It never has to wait: there is room for one part more than there are stagings, and then one.
    pub parts: Sender<ReadPart>,
    /// Emptied stagings, as many frames each as an aligned block that is to come whole.
    pub emptied: Inbox<Staging>,
}

/// A part of a kept epoch, in this order. If the channel ends before the state, the guest is not held any more.
#[derive(Debug)]
pub enum ReadPart {
    /// It is kept from here on.
    Begun(Epoch),
    /// Some frames, ascending; perhaps none.
    Frames(Staging),
    /// The end.
    State(DomainState),
    /// It cannot be read, or not to its end.
    Refused(ReadError),
}

/// Why a kept epoch cannot be read.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    #[error("another epoch of the guest is being read; wait until that is done")]
    Busy,
    #[error(transparent)]
    NotKept(#[from] NotKept),
}
