//! Output commit: what a guest sends is held until the checkpoint of its epoch is acknowledged.
//!
//! [`EpochQueue`] is our own queue of Ethernet frames. It knows of no socket: frames go in, and those that
//! may leave come out. Unlike a plug qdisc it holds any number of closed epochs.
//!
//! [`kernel`] puts it, or a plug qdisc, behind the network interfaces of a real guest.

// They panic where nobody reads, and wait for who reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![deny(unsafe_code)]

mod frame;
mod held;
pub mod kernel;
mod queue;

pub use held::HeldId;
pub use queue::{BARE_MANY, EpochQueue, Limits, Push, QueueStats, Waiting};
