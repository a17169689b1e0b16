//! A software hypervisor for machines without Xen, with Xen's semantics where they matter.
//!
//! A lab guest has memory in page frames with log-dirty, one vCPU, and a network card that speaks Ethernet. It answers
//! ARP and ping, serves a key-value store over UDP, which is on its [`Disk`] if it has one, and dirties its memory according
//! to its [`Load`]. All of this is in memory and registers, so a restored copy continues exactly. It is not an emulator: the program is Rust, not machine
//! code.
//!
//! ```text
//!   station ─┐                                   ┌──────────────── LabGuest ───────────────┐
//!   station ─┼─ switch ── uplink ── (engine) ──► │ ring ─► Guest { Ram, Registers } ─► Port │ ──► (engine)
//!   engine  ─┘                                   └────── LabSource ─► checkpoints ─────────┘
//! ```
//!
//! * [`LabGuest`] starts, restores, pauses and stops a guest; [`LabSource`] is the guest as the engine checkpoints it;
//!   [`LabCopy`] is the guest as COLO runs it beside its image
//! * [`Conditions`] differences between two hosts of one guest
//! * [`Recorded`] a stream recorded on real Xen, played as a guest
//! * [`Guest`] the guest itself, without thread or clock
//! * [`Switch`], [`Uplink`], [`Station`] the network around it
//! * [`memcached`] and [`wire`] the protocols that it speaks

// They panic where nobody reads, and wait for who reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

mod conditions;
mod config;
mod copy;
mod description;
mod disk;
mod disk_request;
mod framing;
mod guest;
mod hypervisor;
mod inlet;
mod load;
mod mac;
pub mod memcached;
mod nic;
mod ram;
mod random;
mod recorded;
mod registers;
mod source;
mod state;
mod station;
mod switch;
mod uplink;
mod vcpu;
pub mod wire;

pub use conditions::{Conditions, Divergence, DivergenceError, Moment, What};
pub use config::{
    ConfigError, DISK_BYTES_MAX, DISK_BYTES_MIN, GuestConfig, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MAX,
    MEMORY_BYTES_MIN,
};
pub use copy::LabCopy;
pub use disk::Disk;
pub use disk_request::{
    DISK_REQUEST_BYTES_MAX, DISK_REQUESTS_MAX, DiskAnswer, DiskFailed, DiskRequest, DiskWish,
};
pub use framing::FramingError;
pub use guest::{Guest, RestoreError, value_on_disk};
pub use hypervisor::{Devices, LabGuest};
pub use inlet::Inlet;
pub use load::{Content, Load, LoadError, RATE_MAX, Rate};
pub use mac::{Mac, MacError};
pub use nic::{Port, RING_FRAMES};
pub use ram::{Ram, RamError};
pub use random::Random;
pub use recorded::Recorded;
pub use registers::{Client, Counters, DiskCounters, DiskRegisters, Registers, Said, Step, Waiting};
pub use source::LabSource;
pub use state::{NAME_BYTES_MAX, StateError};
pub use station::{Answer, Outcome, Patience, Pong, Station};
pub use switch::{Observer, PortCounters, PortId, Sighting, Switch};
pub use uplink::{Uplink, UplinkError};
