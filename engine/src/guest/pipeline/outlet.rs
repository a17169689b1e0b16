//! Where an epoch goes, part by part. Not here: the connection behind it (`node/epoch_sender.rs`).

use understudy_checkpoint::pages::EpochSummary;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::EpochKind;

/// What the link needs to know before the pages of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochHead {
    /// Sent in this generation.
    pub generation: Generation,
    /// The epoch.
    pub epoch: Epoch,
    /// Seed or delta.
    pub kind: EpochKind,
    /// For a delta: what it changes.
    pub base: Option<Epoch>,
}

/// A part of an epoch on its way to the link, in this order.
#[derive(Debug)]
pub enum Part<'a> {
    /// The epoch begins.
    Begin(EpochHead),
    /// One batch of encoded pages.
    Pages(&'a [u8]),
    /// libxc records.
    LibxcState(&'a [u8]),
    /// libxl records.
    LibxlState(&'a [u8]),
    /// The epoch is whole.
    End(&'a EpochSummary),
}

/// The connection an outlet belongs to has ended.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("The connection has ended")]
pub struct OutletClosed;

/// Where an epoch goes: one guest's share of one connection.
pub trait Outlet: Send {
    /// Sends a part; blocks while the connection's queue is full. Returns the bytes it takes on the link.
    fn send(&mut self, part: Part<'_>) -> Result<u64, OutletClosed>;
}
