//! The disks of a guest as a part of its epochs: what the guest writes where it runs, and what is held of it where its copy is.
//!
//! ```text
//!   guest ─► LocalDisk ─► understudy_disk::server ─► Recording (the open epoch) ─► local file ─► answer
//!                                                        │ cut in the pause, then parts of the epoch
//!   receive thread ─► HeldDisks: held by epoch ─(commit)─► journal ─► files
//! ```
//!
//! * [`place`] the files of a guest's disk on a host
//! * [`recording`] what the primary keeps of the writes until they are acked
//! * [`local`] the disk of a guest of the lab that runs here
//! * [`held`] the disks of a guest whose copy is held here
//!
//! A copy begins with all of a disk's content: what both hosts have in common is not looked for yet. So there is no intent map
//! (rule R8 of `docs/DISKS.md`) and no ledger on this way.
//!
//! Not here: the rules and the formats (`docs/DISKS.md`).

pub(in crate::guest) mod held;
pub(in crate::guest) mod local;
pub(in crate::guest) mod place;
pub(in crate::guest) mod recording;

pub use held::HeldDisks;
pub use local::LocalDisk;
pub use place::DiskPlace;

#[cfg(test)]
mod tests;
