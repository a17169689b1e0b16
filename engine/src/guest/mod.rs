//! The threads of one guest: those that take its checkpoints where it runs, and the one that keeps its image
//! where it does not. They are told what to do by the event loop and know nothing of sessions' decisions,
//! sockets or the witness.
//!
//! * `pipeline` takes checkpoints of a guest that runs here; `replica` holds the image of one that does not
//! * `copy` runs the guest beside that image; it may become the guest
//! * `output` holds what it sends; [`Participant`] is whatever is cut and let go with an epoch
//! * `lab`, `xen` are the hosts: what runs guests, and what only they know of them
//!
//! ```text
//!   runs here   [`Protector`]   capture thread ─jobs─► encode thread ─parts─► Outlet (a connection)
//!   held here   [`ReplicaHandle`]      receive thread ─► Receiver<Replica>
//!   both        [`Report`]s and the [`LoopWaker`] towards the loop
//! ```

mod copy;
mod disks;
mod figures;
mod host;
mod lab;
mod machine;
mod output;
mod participant;
mod pipeline;
mod receiver;
mod replica;
mod report;
mod stepped;
#[cfg(test)]
mod still;
mod thread;
mod waker;
pub mod watchdog;
mod workers;
mod xen;

pub use copy::{
    Batch, CARD, CopyCard, CopyLimits, CopyOrder, CopyRoom, Cut, Delivery, Heard, HostCopy, NotBegun,
    OutOfStep, Through, Traffic, TrafficStats, Untold,
};
pub use disks::{
    CopyPace, Difference, DiskAnswers, DiskClock, DiskFiles, DiskPlace, DiskPrints, DiskStorage, DisksError,
    HeldDisks, LocalDisk, Look, LookError, NotAlike, Worth,
};
pub use figures::{Asked, Encoded, PauseTimes};
pub use host::{Host, NotBuilt, NotCopied};
pub use lab::watchdog::watch as watch_lab_host;
pub use lab::{LabCard, LabCards, LabHost, LabStartError, activated};
pub use machine::{BoxedSource, HostError, Machine, PreviousRun, RunningGuest};
pub use output::interfaces::Card;
pub use output::{Compared, HeldOutput, OutputError, OutputMaker, OutputStats, UnheldCard};
pub use participant::{DiskParticipant, DiskStanding, Health, Participant, ParticipantError, Participants};
pub use pipeline::order::CaptureOrder;
pub use pipeline::outlet::{Outlet, OutletClosed};
pub use pipeline::passed::Passed;
pub use pipeline::protector::{Protector, ProtectorConfig, Stuck};
pub use receiver::handle::ReplicaHandle;
pub use receiver::in_memory::InMemory;
pub use receiver::read::{Keep, ReadError, ReadPart, ReadRequest};
pub use receiver::work::{Committed, Held, Work};
pub use replica::{NotSaved, NotStarted, Replica, Start};
pub use report::{Report, Reporter, RuntimeId};
pub use stepped::{SteppedCapture, SteppedReplica};
#[cfg(test)]
pub(crate) use still::Still;
pub(crate) use thread::panic_words;
pub use waker::LoopWaker;
pub use workers::{Checkpointer, ReplicaThread, Threads, Workers};
pub use xen::{
    Compare, HostLock, HostLockError, NotFound, RESCUE_DIRECTORY, StandingBy, XenGuestError, XenHost,
    XenMachine, obstacle, watchdog_left,
};
