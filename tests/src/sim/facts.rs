//! What happened, as the judges see it. The simulation states facts; it never judges them.

use super::HostId;
use super::model::{Frame, State};
use understudy::session::Record;
use understudy_checkpoint::{Epoch, Generation};

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    /// A guest begins to run from nothing in this generation, its claim being confirmed.
    Began {
        /// Where.
        host: HostId,
        /// Of the claim.
        generation: Generation,
    },
    /// A guest was captured: this is what checkpoint `epoch` means.
    Captured {
        /// Of the capture.
        generation: Generation,
        /// The epoch.
        epoch: Epoch,
        /// The guest at its end.
        state: State,
    },
    /// The secondary said that it holds `epoch`.
    AckSent {
        /// Of the ack.
        generation: Generation,
        /// The epoch.
        epoch: Epoch,
    },
    /// A frame left the host.
    Left(Frame),
    /// The witness's disk holds this record from here on.
    Recorded(Record),
    /// A takeover: the guest goes on in `generation` from `state`.
    Activated {
        /// Where.
        host: HostId,
        /// Made by the takeover.
        generation: Generation,
        /// The image.
        state: State,
    },
    /// A host heard of a generation.
    Learnt {
        /// Which host.
        host: HostId,
        /// The generation.
        generation: Generation,
    },
    /// The session on this host said that its generation is over.
    Fenced {
        /// Where.
        host: HostId,
        /// The generation that is over.
        generation: Generation,
    },
    /// A host crashed: what it knew is gone.
    Crashed {
        /// Which.
        host: HostId,
    },
}

/// How one host stands after an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostView {
    /// The guest here, if there is one: its generation.
    pub runs: Option<Generation>,
    /// The image held here, if there is one that is not being seeded: generation, epoch, content.
    pub image: Option<(Generation, Epoch, State)>,
    /// Epochs captured and not acked, with their limit.
    pub in_flight: (usize, usize),
    /// Complete epochs that wait for their commit, with their limit.
    pub uncommitted: (usize, usize),
    /// Frames held, with their limit.
    pub held_frames: (usize, usize),
    /// Frames that were dropped because of a limit.
    pub dropped_frames: u64,
    /// Timeouts handled in a row without time passing.
    pub timeouts_in_a_row: usize,
}
