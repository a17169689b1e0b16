//! The kernel's side of disks: what is asked of it, over its own sockets.
//!
//! * [`nbd`] devices that are served by this process
//!
//! Not here: the messages themselves, which are pure ([`crate::nbd::control`]).

pub mod nbd;
