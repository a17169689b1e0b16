//! A copy as its host makes it: the guest beside its image, and how it becomes the guest.

use super::card::CopyCard;
use super::traffic::Traffic;
use crate::guest::machine::RunningGuest;
use crate::guest::replica::Start;
use std::fmt::Debug;
use std::sync::Arc;
use understudy_checkpoint::domain::LiveCopy;

/// Why a copy did not become the guest. Nothing of the attempt is visible outside.
#[derive(thiserror::Error, Debug)]
#[error("{why}")]
pub struct NotBegun {
    /// For the operator.
    pub why: String,
    /// The copy, if it is unchanged and the attempt may be repeated.
    pub copy: Option<Box<dyn HostCopy>>,
}

/// A copy of a guest, made by its host.
pub trait HostCopy: LiveCopy + Debug {
    /// A handle to the copy's network card.
    fn card(&self) -> Box<dyn CopyCard>;

    /// Turns the copy into the guest and runs it. Output of the copy that has not left the primary leaves first:
    /// [`Traffic::begin`], of the epoch before `start.open`. All of its output is held, as of epoch `start.open`.
    fn begin(self: Box<Self>, start: &Start<'_>, traffic: &Arc<Traffic>) -> Result<RunningGuest, NotBegun>;
}
