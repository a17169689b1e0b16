//! A guest that runs here beside its image (COLO): what sets it and runs it, and what passes between it and the world.
//!
//! ```text
//!   link ─► loop ─ input, handshakes, released ─► [`traffic`] ─► rewriter ─► its card
//!        ◄─ loop ◄──── what it sends ─────────────    ▲   └───◄─ rewriter ◄── its card
//!                                                     │
//!   receive thread ─ set, run, halt, drop ─► [`beside`] ─► a HostCopy ([`running`])
//! ```
//!
//! On the other host, [`heard`] is what the guest that runs there hears.
//!
//! A copy that becomes the guest keeps its rewriter ([`through`]): its connections have other numbers than the world knows.
//!
//! Not here: when a copy is set, runs or is the guest (the session), and who compares what it sends (the primary's host).

pub(in crate::guest) mod beside;
mod card;
mod carried;
mod fault;
mod heard;
mod input;
mod limits;
mod room;
mod running;
mod through;
mod traffic;
mod way;

pub use card::{CopyCard, Delivery};
pub(in crate::guest) use fault::CopyFault;
pub use heard::{Batch, Cut, Heard};
pub use input::{CARD, OutOfStep};
pub use limits::CopyLimits;
pub use room::CopyRoom;
pub use running::{HostCopy, NotBegun};
pub use through::Through;
pub use traffic::{Traffic, TrafficStats, Untold};

use std::sync::Arc;
use understudy_checkpoint::Epoch;

/// An order of the loop about the copy, carried out by a receive thread.
#[derive(Clone, Debug)]
pub enum CopyOrder {
    /// Set the copy to this committed epoch; answered by `CopySet` or `CopySetFailed`.
    Set {
        epoch: Epoch,
        /// The copy's traffic; the same object in each order.
        traffic: Arc<Traffic>,
    },
    /// Run the copy; answered by `CopyEnded` on failure.
    Run,
    /// Halt the copy; answered by `CopyHalted` or `CopyEnded`.
    Halt,
    /// Drop the copy.
    Drop,
}
