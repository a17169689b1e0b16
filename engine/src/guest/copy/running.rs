//! A copy as its host makes it: the guest beside its image, the way to its card, and how it becomes the guest.

use super::Traffic;
use crate::guest::machine::RunningGuest;
use crate::guest::replica::Start;
use std::fmt::Debug;
use std::sync::Arc;
use understudy_checkpoint::domain::LiveCopy;

/// The way to a copy's card. It does not keep the copy.
pub trait CopyCard: Send + Debug {
    /// Hands it a frame. Never waits.
    fn deliver(&self, frame: &[u8]) -> Delivery;
    /// The number of the next frame that it takes, in the order in which the guest takes them.
    fn next_number(&self) -> u64;
    /// Whether the copy is no more, for whatever reason. Never waits.
    fn has_ended(&self) -> bool;
}

/// What became of a frame for a copy's card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The card has it, under this number.
    Taken(u64),
    /// There is no room now.
    NoRoom,
    /// No card takes it, or there is no guest any more.
    Lost,
}

/// Why a copy did not become the guest. Nobody has seen that it should.
#[derive(thiserror::Error, Debug)]
#[error("{why}")]
pub struct NotBegun {
    /// For the operator.
    pub why: String,
    /// The copy, where it is as it was: it may be tried again.
    pub copy: Option<Box<dyn HostCopy>>,
}

/// A copy of a guest, made by its host.
pub trait HostCopy: LiveCopy + Debug {
    /// The way to its card.
    fn card(&self) -> Box<dyn CopyCard>;

    /// It is the guest from now on, and runs if it stood still. What it sent and nobody has seen leaves first:
    /// [`Traffic::begin`], of the epoch before `start.open`. All of its output is held, as of epoch `start.open`.
    fn begin(self: Box<Self>, start: &Start<'_>, traffic: &Arc<Traffic>) -> Result<RunningGuest, NotBegun>;
}
