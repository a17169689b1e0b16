//! The engine: sessions that decide, a driver that does, a link between hosts, and the command line.
//!
//! * [`session`] sans-IO state machines of primary, secondary and witness: no socket, thread, clock or chance

#![forbid(unsafe_code)]

pub mod session;
