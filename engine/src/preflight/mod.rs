//! Preflight: reports why a guest cannot, or should not, be protected towards another host, before anybody tries.
//!
//! ```text
//!   this host                                              the other host
//!   xl list -l, xenstore, hypercalls, /proc, /sys          its node, asked over the link, or
//!      │                                                   ssh HOST understudy preflight --facts
//!      └─ gather ──► GuestFacts, HostFacts                    └─ gather ──► HostFacts ──► JSON
//!                           │                                                              │
//!                           │                    remote: bounded in bytes and time ◄───────┘
//!                           ▼                                     │
//!                    judge: pure  ◄───────────── HostFacts ◄──────┘
//!                           │
//!                           ▼
//!                    [ Finding ]      each with its cause and what to do
//! ```
//!
//! Nothing is changed anywhere. What could only be found out by trying is not checked. The dirty log of a guest that is
//! already protected stays as it is.
//!
//! * [`facts`] facts of a host and of a guest
//! * [`gather`] collects them here
//! * [`linked`] asks a peer for them, by this host's node
//! * [`remote`] asks any other host for them
//! * [`judge`] draws the conclusions, and [`finding`] puts them into words

mod cpu;
pub mod facts;
pub mod finding;
pub mod gather;
pub mod judge;
pub mod linked;
pub mod remote;
mod starters;
#[cfg(test)]
mod tests;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
