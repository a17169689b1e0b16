//! A small learning Ethernet switch. Hosts and stations connect over a Unix socket; no root is needed.
//!
//! ```text
//!   uplink "host-a"  ══╗
//!   uplink "host-b"  ══╬══ [fabric: who is where] ══► observer: each frame, its port, when
//!   station "client" ══╝
//! ```
//!
//! * `fabric` the forwarding: no socket, no clock
//! * `front` the socket and the thread

mod fabric;
mod front;

pub use fabric::{PortCounters, PortId};
pub(crate) use front::PORT_NAME_BYTES_MAX;
pub use front::{Observer, Sighting, Switch};
