//! The disks of a guest as a part of its epochs: what the guest writes where it runs, and what is held of it where its copy is.
//!
//! ```text
//!   guest ─► LocalDisk ─► understudy_disk::server ─► Recording (the open epoch) ─► local file ─► answer
//!                                                        │ cut in the pause, then parts of the epoch
//!   receive thread ─► HeldDisks: held by epoch ─(commit)─► journal ─► files
//! ```
//!
//! * [`error`] why it cannot be served
//! * [`files`] where those files are: a directory, or the simulator's machine
//! * [`place`] which files a guest's disk has on a host
//! * [`recording`] what the primary keeps of the writes until they are acked
//! * [`full_copy`] what is left to be read of a disk while its guest writes
//! * [`past`] what the files say of it and of the other host's
//! * [`local`] the disk of a guest that runs here, as its capture thread and the loop have it; [`worker`] serves it
//! * [`door`] where a guest's requests wait until this host may serve them
//! * [`told`] what the worker tells of the disk
//! * [`held`] the disks of a guest whose copy is held here
//! * [`look`] what a node that starts would find, for operators; [`prints`] the content as hashes, compared with another host's
//!
//! A full copy of the guest sends of its disk what the other host may lack: by labels, intent maps and the ledger, or by hashes.
//!
//! Not here: the rules and the formats (`docs/DISKS.md`).

mod door;
pub(in crate::guest) mod error;
pub(in crate::guest) mod files;
pub(in crate::guest) mod full_copy;
pub(in crate::guest) mod held;
pub(in crate::guest) mod local;
mod look;
mod past;
pub(in crate::guest) mod place;
mod prints;
pub(in crate::guest) mod recording;
mod told;
mod worker;

pub use door::DiskAnswers;
pub use files::{DiskFiles, DiskStorage};
pub use full_copy::CopyPace;
pub use held::{DisksError, HeldDisks};
pub use local::LocalDisk;
pub use look::{Look, LookError};
pub use place::DiskPlace;
pub use prints::{Difference, NotAlike, Prints as DiskPrints, Worth};
pub use worker::DiskClock;

#[cfg(test)]
mod failing_tests;
#[cfg(test)]
mod tests;
