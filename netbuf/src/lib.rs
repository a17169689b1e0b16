//! Output commit: what a guest sends is held until the secondary has acknowledged the checkpoint of its epoch.
//!
//! [`EpochQueue`] holds Ethernet frames by epoch. It does no I/O: the caller pushes frames in and takes the released
//! ones out. Any number of closed epochs may be held at once, which Linux's plug qdisc cannot do.
//!
//! [`kernel`] puts the queue behind the network interfaces of a real guest.

// They panic where nobody reads, and wait for who reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![deny(unsafe_code)]

mod frame;
mod held;
pub mod kernel;
mod queue;

pub use held::HeldId;
pub use queue::{BARE_MANY, EpochQueue, Limits, Push, QueueStats, Waiting};
