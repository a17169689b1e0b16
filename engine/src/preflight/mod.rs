//! Preflight: why a guest cannot, or should not, be protected towards another host, before anybody tries.
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
//! Nothing is changed anywhere: what could only be found out by trying is not asked. The log of dirty pages of a guest
//! that is protected already stays as it is.
//!
//! * [`facts`] what is known
//! * [`gather`] where it is learnt
//! * [`remote`] how another host is asked
//! * [`judge`] what follows, and [`finding`] in which words

mod cpu;
pub mod facts;
pub mod finding;
pub mod gather;
pub mod judge;
pub mod remote;
#[cfg(test)]
mod tests;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
