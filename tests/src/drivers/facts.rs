//! Facts: what happened to one guest, as the judges see it. The simulation states facts and never judges them.

use super::HostId;
use super::frame::Frame;
use super::guest::{State, Step, WORDS};
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{Record, Span, Time};

/// An image: generation, epoch and content.
pub type Image = (Generation, Epoch, State);

/// A redirect that was removed: the host, the engine that should notice it, and how many of that guest's were removed before.
pub type Breach = (HostId, u64, u64);

/// Something that happened to a guest. `host` is where it happened, `generation` the guest's generation at the time.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the comment above explains the fields")]
#[expect(clippy::large_enum_variant, reason = "one is told at a time, and judged at once")]
pub enum Fact {
    /// A guest begins from nothing in this generation, its claim being confirmed.
    Began { host: HostId, generation: Generation },
    /// A guest was captured: this is what checkpoint `epoch` means.
    Captured {
        generation: Generation,
        epoch: Epoch,
        /// The guest at its end.
        state: State,
        /// When it was ordered. The guest may have hung since.
        ordered_at: Time,
    },
    /// A guest with a disk has become this.
    Knows { state: State },
    /// A guest, or a copy of it, has taken a step.
    Stepped { host: HostId, generation: Generation, by_copy: bool, step: Step },
    /// A copy is set to `epoch`, and is this; `image` is what it was set to.
    CopySet {
        host: HostId,
        generation: Generation,
        epoch: Epoch,
        state: State,
        image: Option<State>,
        runs: bool,
    },
    /// The primary is told that the copy of `base` has sent this.
    Told { generation: Generation, base: Epoch, frame: Frame },
    /// A copy has crashed by itself.
    CopyCrashed { host: HostId },
    /// The secondary acknowledged `epoch`.
    AckSent {
        generation: Generation,
        epoch: Epoch,
        /// Whether a guest could have been started from the image at that moment.
        could_start: bool,
    },
    /// The primary received an ack in this generation, so it knows that there is a copy.
    Followed { generation: Generation },
    /// A frame left the host.
    Left(Frame),
    /// The record is on the witness's disk from here on.
    Recorded(Record),
    /// A takeover: the guest continues in `generation` from `state`.
    Activated {
        host: HostId,
        /// Made by the takeover.
        generation: Generation,
        state: State,
    },
    /// A guest runs on its disk from here on, with this memory or from nothing; this is on the disk.
    RunsOnDisk { host: HostId, memory: Option<State>, content: [u64; WORDS] },
    /// A guest that its engine left behind continues in `generation` under a new engine.
    Adopted { host: HostId, generation: Generation },
    /// A host learnt of a generation from the witness.
    Learnt { host: HostId, generation: Generation },
    /// The session on this host knows that its generation is over.
    Fenced {
        host: HostId,
        /// The generation that is over.
        generation: Generation,
    },
    /// An engine starts without knowledge.
    EngineBegan { host: HostId },
    /// An engine died, and its knowledge with it.
    Crashed {
        host: HostId,
        /// Whether the guest ran there and died with it.
        took_guest: bool,
    },
    /// A frame bypassed the queue that should have held it.
    Leaked {
        frame: Frame,
        /// Through which; `None` while no engine sees to the guest.
        breach: Option<Breach>,
    },
    /// Writes of the guest are missing in the dirty log.
    BitsLost,
    /// The witness lost its records.
    WitnessForgot,
    /// A host that held a whole copy, and heard its primary, is without it.
    Lone { host: HostId },
    /// A host holds a whole copy, and hears its primary.
    Stands { host: HostId },
    /// A host without a link to the other one hears that the engine there lives.
    Heard { host: HostId },
    /// A host asks for the guest.
    TakesOver { host: HostId },
    /// A person asked for a switchover.
    MoveWished,
    /// A fault that neither the guest nor a person caused.
    Fault,
    /// A person decided on this host what only a person may decide.
    Person {
        host: HostId,
        /// Whether that allows the guest to move to this host.
        moves: bool,
    },
    /// The guest has ended by itself.
    Ended,
    /// The guest is gone, and there is no image from which it could continue.
    Lost,
}

/// The state of a guest on one host after an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostView {
    /// The generation under which the guest's vCPU runs here, 0 before it is claimed; `None` if it does not run.
    pub runs: Option<Generation>,
    /// Whether the engine here runs it; not so for a guest that a dead engine left behind.
    pub is_primary: bool,
    /// The image held here, unless a full sync is still filling it.
    pub image: Option<Image>,
    /// What is on the guest's disk here, where an image is held.
    pub disk: Option<[u64; WORDS]>,
    /// Since when the guest has been suspended here although it should run.
    pub still_since: Option<Time>,
    /// `Some` if the engine reports the guest as protected, with the time of its last commit.
    pub protected: Option<Option<Time>>,
    /// Since when hosts, link and witness have been without fault.
    pub well_since: Option<Time>,
    /// Of a guest with a live copy, so long may pass between two commits.
    pub period: Span,
    /// Epochs that are captured and not acked, and their limit.
    pub in_flight: (usize, usize),
    /// Pieces of work that wait for a receive thread, and their limit.
    pub work: (usize, usize),
    /// Bytes of uncommitted epochs, and their limit.
    pub buffered_bytes: (usize, usize),
    /// Bytes of held output, and their limit.
    pub held_bytes: (usize, usize),
    /// Whether no checkpoint can be made for a while: a receive thread does nothing, or the guest cannot be captured.
    pub is_held_up: bool,
    /// Frames of input that are kept for a copy, and their limit.
    pub input_frames: (usize, usize),
    /// Frames that a copy has sent and that are kept, and their limit.
    pub sent_frames: (usize, usize),
    /// Frames that were dropped because of a limit.
    pub dropped_frames: u64,
    /// Timeouts handled in a row without time passing.
    pub timeouts_in_a_row: usize,
}
