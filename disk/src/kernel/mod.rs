//! The kernel's side of disks: what is asked of it, over its own sockets and nodes.
//!
//! * [`dm`] devices whose lower device may change under who uses them
//! * [`nbd`] devices that are served by this process
//!
//! Not here: the messages themselves, which are pure ([`crate::dm`], [`crate::nbd::control`]).

pub mod dm;
pub mod nbd;
mod sys;
