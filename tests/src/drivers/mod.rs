//! The simulator: the real drivers and sessions of two engines, with their real captures, encoders, receivers and
//! output queues, in virtual time. What lies beneath and between them is modelled, and every fault is drawn from one
//! seed.
//!
//! ```text
//!   seed ─► rng ─► faults ──┐
//!                           ▼
//!   agenda ─► cluster { A: yard + engine,  B: yard + engine,  W: session + disk,  channels }
//!                           │               │
//!                           │               └─ node::Guests ─ context (bytes of frames) ─ bench (threads' work)
//!                           │ facts, views after every event
//!                           ▼
//!                        judges           at the end: liveness, durability
//! ```
//!
//! Simulation and judgement are separate: the cluster states what happened, and the judges know nothing of sessions.
//! Seeds do not reach live passes of a first copy (the guest is too small), sockets and the hello, and Xen.

mod bench;
mod card;
mod client;
pub mod cluster;
mod connections;
mod context;
mod copy;
pub mod disk;
pub mod events;
pub mod exhaustive;
pub mod facts;
pub mod fate;
pub mod faults;
pub mod fenced;
pub mod frame;
pub mod guest;
mod hardship;
pub mod harm;
pub mod host;
pub mod invariant;
pub mod judge;
mod lease_turn;
mod leases;
pub mod liveness;
pub mod machine;
pub mod mutant;
mod names;
pub mod network;
mod operator;
pub mod options;
pub mod pair;
pub mod plan;
pub mod port;
mod resets;
pub mod rng;
pub mod run;
pub mod settings;
pub mod standing;
mod timer;
mod toolstack;
pub mod trace;
mod turn;
mod view;
pub mod watchdog;
pub mod weights;
pub mod witness_node;
mod witness_turn;
mod work;
mod wrong;
mod wrong_disk;
mod wrong_storage;
pub mod yard;

pub use options::Options;
pub use run::{Outcome, run_all, run_seed, run_seeds};

/// A host: 0 (A) or 1 (B).
pub type HostId = usize;
/// A guest: 0 starts on A, 1 on B.
pub type GuestId = usize;
/// Guests there may be.
pub const GUESTS: usize = 2;
