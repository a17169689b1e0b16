//! A guest's disks in the same epochs as its memory. Lab guests have such disks; Xen guests do not yet: nothing of [`nbd`],
//! [`dm`] and [`kernel`] is reached by a node.
//!
//! ```text
//!  primary    write ─► flight ─► intent map ─► record of the open epoch ─► local disk ─► answer
//!                                                        │ cut in the pause
//!  secondary  batches ─► held by epoch ─(ack N)─► commit N ─► journal ─flush─► its disk ─flush─► applied N
//! ```
//!
//! * [`words`] extents of disks
//! * [`batch`] writes in bytes; [`record`] the primary's, of the open epoch; [`held`] the secondary's, of epochs not committed
//! * [`journal`] an epoch is durable there before it touches the disk; [`apply`] what brings it there, and what disks are worth
//!   after a crash
//! * [`nbd`] the kernel's requests and replies; [`server`] what becomes of each; [`dm`] what device mapper is told
//! * [`flight`] requests that overlap, in their order; [`ledger`] what the peer may lack; [`intent`] what a crash may have left
//!   different
//! * [`kernel`] what is asked of the kernel
//! * [`sync`] bringing the other host's disk to this one's content
//! * [`storage`] what bytes are kept on and what is believed of it
//! * [`pair`] a record that survives a torn write; [`label`] what this host knows of its disk
//!
//! The rules are in `docs/DISKS.md`. Pure but for [`storage::file`] and [`kernel`]: no socket, no thread, no clock.

#![deny(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod apply;
pub mod batch;
pub mod bits;
pub mod dm;
pub mod flight;
pub mod held;
pub mod intent;
pub mod journal;
pub mod kernel;
pub mod label;
pub mod ledger;
pub mod nbd;
pub mod pair;
pub mod record;
pub mod server;
pub mod storage;
pub mod sync;
#[cfg(test)]
mod testing;
pub mod words;
