//! The secondary's thread of a guest: receives epochs, and holds the image.
//!
//! ```text
//!   loop ─► [`handle`] ── [`work`] ──► [`receive`] ─► checkpoint::epoch::Receiver ─► a Replica: [`in_memory`], or the host's
//! ```
//!
//! [`past`] is about epochs of the past; [`keeping`] sets the copy that runs beside that image (`guest/copy`).
//!
//! Not here: what a [`Replica`](crate::guest::Replica) is.

pub(in crate::guest) mod handle;
pub(in crate::guest) mod in_memory;
mod keeping;
mod past;
pub(in crate::guest) mod read;
pub(in crate::guest) mod receive;
pub(in crate::guest) mod work;
