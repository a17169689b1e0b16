//! The witness as a process: a small server around [`session::witness`](understudy_session::witness), which has all the
//! rules, and a directory with all the records.
//!
//! ```text
//!   node ──┐                                        ┌─► store: write, fsync, rename, fsync
//!   node ──┼─► Connection ─► session::Witness ──────┤
//!   node ──┘        ◄──────── replies ◄─────────────┘   a reply leaves only after its record is stable
//! ```
//!
//! * [`record_file`] one record as a file; [`lease_file`] the lease of a host as one
//! * [`Store`] the directory: stable, locked, checked
//! * [`daemon`] the event loop
//! * [`read_record`] one record, for a command
//! * [`WitnessLink`] a node's end of the connection

mod client;
pub mod daemon;
pub mod lease_file;
mod look;
pub mod record_file;
mod store;
mod words;

pub use client::{News, WitnessLink};
pub use look::{LookError, read_record};
pub use store::{Leases, Records, Store, StoreError};
