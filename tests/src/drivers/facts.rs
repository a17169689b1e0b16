//! What happened to one guest, as the judges see it. The simulation states facts; it never judges them.

use super::HostId;
use super::frame::Frame;
use super::guest::State;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{Record, Time};

/// Generation, epoch and content of an image.
pub type Image = (Generation, Epoch, State);

/// A redirect that was removed: the host, its engine that is to see it, and how many there were of that guest before.
pub type Breach = (HostId, u64, u64);

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    /// A guest begins from nothing in this generation, its claim being confirmed.
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
        /// When it was ordered. The guest may have hung since.
        ordered_at: Time,
    },
    /// The secondary said that it holds `epoch`.
    AckSent {
        /// Of the ack.
        generation: Generation,
        /// The epoch.
        epoch: Epoch,
        /// At this moment a guest could be started from what is held.
        could_start: bool,
    },
    /// The primary has heard an ack in this generation: it knows of a copy.
    Followed {
        /// Of its session.
        generation: Generation,
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
    /// A guest that its engine left behind goes on in `generation` under a new one.
    Adopted {
        /// Where.
        host: HostId,
        /// That of the new session.
        generation: Generation,
    },
    /// The witness told a host of a generation.
    Learnt {
        /// Which host.
        host: HostId,
        /// The generation.
        generation: Generation,
    },
    /// The session on this host knows that its generation is over.
    Fenced {
        /// Where.
        host: HostId,
        /// The generation that is over.
        generation: Generation,
    },
    /// An engine begins, and knows nothing.
    EngineBegan {
        /// Its host.
        host: HostId,
    },
    /// An engine died: what it knew is gone.
    Crashed {
        /// Its host.
        host: HostId,
        /// The guest ran there, and is gone as well.
        took_guest: bool,
    },
    /// A frame left another way than through the queue that was to hold it.
    Leaked {
        /// It.
        frame: Frame,
        /// Through which; `None` while no engine sees to the guest.
        breach: Option<Breach>,
    },
    /// Writes of the guest are missing in the log that captures go by.
    BitsLost,
    /// The witness does not know any more what it knew.
    WitnessForgot,
    /// A person wished the guest to move, with nothing lost.
    MoveWished,
    /// Something went wrong that was not the guest's doing, nor what a person wished for it.
    Fault,
    /// A person decided something on this host that only a person may.
    Person {
        /// Where.
        host: HostId,
        /// The guest may move to this host by it.
        moves: bool,
    },
    /// The guest has ended by itself.
    Ended,
    /// The guest is nowhere any more, and nothing is left that it could go on from.
    Lost,
}

/// How one host stands to a guest after an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostView {
    /// The guest's vCPU goes here: its generation, 0 before its claim.
    pub runs: Option<Generation>,
    /// The engine here runs it: it is none that a dead engine left behind.
    pub is_primary: bool,
    /// The image held here, if there is one that is not being seeded.
    pub image: Option<Image>,
    /// The guest is to run here and has stood still since then, by nobody's decision.
    pub still_since: Option<Time>,
    /// The engine says that the guest is protected; with the time of its last commit.
    pub protected: Option<Option<Time>>,
    /// Hosts, link and witness have been well since this time.
    pub well_since: Option<Time>,
    /// Epochs captured and not acked, with their limit.
    pub in_flight: (usize, usize),
    /// Work that waits for a receive thread, with its limit.
    pub work: (usize, usize),
    /// Memory of epochs that are not committed, with its limit.
    pub buffered_bytes: (usize, usize),
    /// Output held, with its limit.
    pub held_bytes: (usize, usize),
    /// Frames that were dropped because of a limit.
    pub dropped_frames: u64,
    /// Timeouts handled in a row without time passing.
    pub timeouts_in_a_row: usize,
}
