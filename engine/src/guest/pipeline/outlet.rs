//! [`Outlet`]: the destination of an epoch's parts. Not here: the connection behind it (`node/epoch_sender.rs`).

use std::time::Duration;
use understudy_checkpoint::epoch::{EpochHead, EpochPart};

/// The connection has ended.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("The connection has ended")]
pub struct OutletClosed;

/// The destination of one guest's epochs on one connection. Both calls block while the connection's queue is full, and
/// return the number of bytes that the link takes.
pub trait Outlet: Send {
    /// Sends the head of an epoch.
    fn begin(&mut self, head: EpochHead) -> Result<u64, OutletClosed>;
    /// Sends a part of the epoch begun last.
    fn send(&mut self, part: EpochPart<&[u8]>) -> Result<u64, OutletClosed>;
    /// All parts of these pages were sent.
    fn passed(&mut self, _pages: u64, _link_bytes: u64) {}
    /// Output waits for what is sent from here on: no limit for full syncs applies any more.
    fn hurry(&mut self) {}
    /// How long such a limit has made calls wait since this was last asked.
    fn take_waited(&mut self) -> Duration {
        Duration::ZERO
    }
}
