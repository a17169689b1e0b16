//! Preflight: reports why a guest cannot, or should not, be protected towards another host, before anybody tries.
//!
//! ```text
//!   this host                                              the other host
//!   xl list -l, xenstore, hypercalls, /proc, /sys          ssh HOST understudy preflight --facts
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
//! * [`remote`] asks another host for them
//! * [`judge`] draws the conclusions, and [`finding`] puts them into words

mod cpu;
pub mod facts;
pub mod finding;
pub mod gather;
pub mod judge;
pub mod remote;
mod starters;
#[cfg(test)]
mod tests;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
