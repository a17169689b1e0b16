//! Where an epoch goes, part by part. Not here: the connection behind it (`node/epoch_sender.rs`).

use understudy_checkpoint::epoch::{EpochHead, EpochPart};

/// The connection an outlet belongs to has ended.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("The connection has ended")]
pub struct OutletClosed;

/// Where epochs go: one guest's share of one connection. Both block while the connection's queue is full, and return the
/// bytes that are taken on the link.
pub trait Outlet: Send {
    /// An epoch begins.
    fn begin(&mut self, head: EpochHead) -> Result<u64, OutletClosed>;
    /// A part of the epoch begun last.
    fn send(&mut self, part: EpochPart<&[u8]>) -> Result<u64, OutletClosed>;
}
