//! The simulator: the real sessions and the real epoch queue, in virtual time, with everything else modelled and
//! every fault drawn from one seed.
//!
//! ```text
//!   seed ─► rng ─► faults ──┐
//!                           ▼
//!   agenda ─► cluster { A: session + queue + guest,  B: session + image,  W: session + disk,  channels }
//!                           │ facts, views after every event
//!                           ▼
//!                        judges I1–I5, I7           at the end: liveness, I6
//! ```
//!
//! Simulating and judging are separate: the cluster states what happened, the judges know nothing of sessions.

pub mod cluster;
mod connections;
pub mod events;
pub mod exhaustive;
pub mod facts;
pub mod faults;
mod hardship;
pub mod host;
pub mod judge;
pub mod liveness;
pub mod model;
pub mod mutant;
pub mod network;
mod primary_host;
pub mod rng;
pub mod run;
mod secondary_host;
pub mod trace;
pub mod witness_node;

pub use run::{Options, Outcome, run_seed, run_seeds};

/// A host: 0 (A) or 1 (B).
pub type HostId = usize;
