//! The kernel's network block device, as its server sees it: requests in, replies out. No socket.
//!
//! ```text
//!             0        4       6       8                16               24       28
//!   request   ┌────────┬───────┬───────┬────────────────┬────────────────┬────────┬──────────────────┐
//!             │25609513│ flags │command│ cookie         │ offset         │ length │ data, of a write │
//!             └────────┴───────┴───────┴────────────────┴────────────────┴────────┴──────────────────┘
//!             0        4        8                16
//!   reply     ┌────────┬────────┬────────────────┬───────────────────────────────────┐
//!             │67446698│ error  │ cookie         │ data, of a read without an error  │
//!             └────────┴────────┴────────────────┴───────────────────────────────────┘
//! ```
//!
//! All numbers are big-endian. The transmission phase only, with simple replies: the kernel is handed one end of a pair of
//! sockets and says no hello. A cookie is the kernel's, and comes back as it was.
//!
//! * [`Decoder`] bytes of the socket, cut into requests
//! * [`Offer`] what the kernel is told that a device can do, and [`control`] how it is told
//!
//! Not here: what is done with a request, and the kernel's configuration of its devices.

pub mod control;
mod decoder;
mod wire;

pub use decoder::Decoder;
pub use wire::{Command, Errno, Head, NbdError, Offer, Reply, Request};

/// The longest write, which is the longest that the kernel can be told to send. A zeroed or discarded extent, and a read,
/// may be as long as the length field can say; reads are refused beyond this as well.
pub const DATA_BYTES_MAX: usize = 32 << 20;

/// Bytes before a request's data.
pub const REQUEST_BYTES: usize = 28;

/// Bytes before a reply's data.
pub const REPLY_BYTES: usize = 16;
