//! The threads of one guest: those that take its checkpoints where it runs, and the one that keeps its image
//! where it does not. They are told what to do by the event loop and know nothing of sessions' decisions,
//! sockets or the witness.
//!
//! ```text
//!   runs here   [`Protector`]   capture thread ─jobs─► encode thread ─parts─► Outlet (a connection)
//!   held here   [`Keeper`]      receive thread ─► Receiver<Replica>
//!   both        [`Report`]s and the [`Bell`] towards the loop
//! ```

mod admission;
mod capture;
mod cards;
mod encode;
mod ended;
mod host_lock;
mod interfaces;
mod late_source;
mod ledger;
mod machine;
mod noted;
pub mod obstacle;
mod output;
mod participant;
mod pause;
mod pool;
mod protector;
mod receive;
mod remake;
mod replica;
mod report;
mod scrub;
mod settle;
mod standing_by;
mod stepped;
#[cfg(test)]
mod still;
mod tap;
mod thread;
mod unmarked;
mod workers;
mod xen;
mod xen_build;
mod xen_machine;
mod xen_source;

pub use capture::CaptureOrder;
pub use encode::{Encoded, EpochHead, Outlet, OutletClosed, Part};
pub use host_lock::{HostLock, HostLockError};
pub use interfaces::Card;
pub use machine::{
    Activated, BoxedSource, Host, LabHost, Machine, NotBuilt, NotSaved, NotStarted, Past, activated,
};
pub use output::{HeldOutput, OutputError, OutputMaker, OutputStats, UnheldCard};
pub use participant::{Health, Participant, ParticipantError, Participants};
pub use pause::PauseTimes;
pub use protector::{Protector, ProtectorConfig, Stuck};
pub use receive::{Committed, Held, Keeper, Work};
pub use replica::{InMemory, Replica, Start};
pub use report::{Bell, Report, Reporter, RuntimeId};
pub use standing_by::StandingBy;
pub use stepped::{SteppedCapture, SteppedReplica};
#[cfg(test)]
pub(crate) use still::Still;
pub use tap::{LabCard, LabCards};
pub use workers::{Checkpointer, ReplicaThread, Threads, Workers};
pub use xen::{Compare, NotFound, XenHost};
pub use xen_build::RESCUE_DIRECTORY;
pub use xen_machine::XenMachine;
