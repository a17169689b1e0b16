//! COLO's output comparison, without a socket, a clock or a thread.
//!
//! Two guests run on the same input: the primary's, and its *copy* on the secondary, which was set to the image of an epoch,
//! its *base*. What the primary sends is held, as for a checkpoint, and may leave for one of two reasons:
//!
//! > A frame of epoch n+1 leaves when n+1 is acked, or when the copy of base n has sent the same and has received every
//! > byte that the frame acknowledges.
//!
//! ```text
//!                  primary's host                                     secondary's host
//!   world ─► mirror ─────────────────────────── Input ──► rewriter ─────► copy
//!              └► primary                                                  │
//!                   └► comparer ◄────────────── Output ── rewriter ◄───────┘
//!                        ├ same: that frame leaves
//!                        ├ Handshake: its numbers, for the rewriter
//!                        └ not the same: a checkpoint, after which the copy is set anew
//! ```
//!
//! * [`packet`] a frame as what is compared of it: its flow, and its content
//! * [`comparer`] both guests' frames in; out comes which of the primary's may leave, and why a checkpoint is needed
//! * [`rewriter`] the copy's sequence numbers and time stamps become the primary's, both ways
//! * [`mirror`] a bounded log of input, with a mark at each cut
//! * [`unreleased`] what the copy has sent and the world has not seen
//!
//! Nothing here is unbounded, and nothing is dropped silently: what is full asks for a checkpoint.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod checksum;
pub mod comparer;
pub mod handshake;
pub mod mirror;
pub mod packet;
pub mod part;
pub mod patch;
pub mod rewriter;
mod serial;
pub mod unreleased;

pub use comparer::{Comparer, FrameId};
pub use handshake::{Handshake, Opening};
pub use mirror::Mirror;
pub use packet::{Card, Flow, Frame, Packet};
pub use part::Part;
pub use patch::Patch;
pub use rewriter::Rewriter;
pub use unreleased::Unreleased;
