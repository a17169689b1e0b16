//! The link: one authenticated connection between two engines (or an engine and the witness), drawn byte by
//! byte in `docs/LINK.md`.
//!
//! * [`transport`] which connections are allowed at all

pub mod transport;

pub use transport::{Transport, TransportError};
