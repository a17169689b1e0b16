//! The live copy of a receive thread: carries out orders, and keeps the commits that wait while the copy is set.
//!
//! ```text
//!   Set(n) ─► some frames ─► a part of epoch n+1 ─► some frames ─► … ─► CopySet(n) ─► commits that came meanwhile
//! ```
//!
//! Not here: how a copy is set ([`beside`](crate::guest::copy)), and the commits themselves
//! ([`receive`](super::receive)).

use super::work::Held;
use crate::guest::copy::beside::Beside;
use crate::guest::copy::{CopyFault, CopyOrder};
use crate::guest::machine::RunningGuest;
use crate::guest::replica::{Replica, Start};
use crate::guest::report::Report;
use std::collections::VecDeque;
use understudy_checkpoint::epoch::Receiver;
use understudy_checkpoint::{Epoch, Pfn};

/// The live copy of a receive thread, if it has one.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// `None` until a copy is first wanted.
    beside: Option<Beside>,
    /// Commits that wait until the copy is set. Their epochs are in the receiver's buffer, which is bounded.
    put_off: VecDeque<Epoch>,
}

/// A copy did not become the guest.
#[derive(Debug)]
pub(super) struct NotTheGuest {
    pub(super) why: String,
    /// The copy is gone; otherwise it may be tried again.
    pub(super) is_gone: bool,
}

impl Keeping {
    pub(super) fn is_setting(&self) -> bool {
        self.beside.as_ref().is_some_and(Beside::is_setting)
    }

    /// Makes a commit wait until the copy is set.
    pub(super) fn put_off(&mut self, epoch: Epoch) {
        self.put_off.push_back(epoch);
    }

    /// The next commit that waited.
    pub(super) fn next_put_off(&mut self) -> Option<Epoch> {
        self.put_off.pop_front()
    }

    /// Records that a commit has changed a frame of the image.
    pub(super) fn changed(&mut self, pfn: Pfn) {
        if let Some(beside) = &mut self.beside {
            beside.changed(pfn);
        }
    }

    /// Drops the copy and the commits that wait: the image goes, or the guest is started from it as it is.
    pub(super) fn drop_copy(&mut self) {
        self.beside = None;
        self.put_off.clear();
    }

    /// Carries out an order. After [`CopyOrder::Drop`] the caller does the commits that waited.
    pub(super) fn order(
        &mut self,
        order: CopyOrder,
        receiver: &Receiver<Box<dyn Replica>>,
        held: &Held,
    ) -> Option<Report> {
        match order {
            CopyOrder::Set { epoch, traffic } => {
                let beside = self.beside.get_or_insert_with(|| Beside::new(traffic));
                let begun = match receiver.committed() {
                    Some(committed) if committed == epoch => beside.set(epoch, held),
                    _ => Err(CopyFault::OtherEpoch),
                };
                begun.err().map(|fault| Report::CopySetFailed { epoch, error: fault.to_string() })
            }
            CopyOrder::Run => self.act(Beside::run).err().map(ended),
            CopyOrder::Halt => Some(match self.act(Beside::halt) {
                Ok(()) => Report::CopyHalted,
                Err(fault) => ended(fault),
            }),
            CopyOrder::Drop => {
                self.beside = None;
                None
            }
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut Beside) -> Result<(), CopyFault>) -> Result<(), CopyFault> {
        self.beside.as_mut().map_or(Err(CopyFault::Absent), act)
    }

    /// Sets some more frames of the copy. `None` if it is not being set, or is not done yet; otherwise the caller does
    /// the commits that waited.
    pub(super) fn step(&mut self, receiver: &Receiver<Box<dyn Replica>>, held: &Held) -> Option<Report> {
        let beside = self.beside.as_mut().filter(|beside| beside.is_setting())?;
        let step = match receiver.sink().image() {
            Some(image) => beside.step(image, held),
            None => beside.give_up(CopyFault::ImageElsewhere),
        };
        match step {
            Ok(None) => None,
            Ok(Some(epoch)) => Some(Report::CopySet { epoch }),
            Err((epoch, fault)) => Some(Report::CopySetFailed { epoch, error: fault.to_string() }),
        }
    }

    /// Makes the copy the guest.
    pub(super) fn begin(&mut self, start: &Start<'_>) -> Result<RunningGuest, NotTheGuest> {
        let begun = match &mut self.beside {
            Some(beside) => beside.begin(start),
            None => Err(CopyFault::Absent),
        };
        let is_gone = !self.beside.as_ref().is_some_and(Beside::is_there);
        begun.map_err(|fault| NotTheGuest { why: fault.to_string(), is_gone })
    }
}

fn ended(fault: CopyFault) -> Report {
    Report::CopyEnded { error: fault.to_string() }
}
