//! The copy that runs beside an image, on the receive thread: its orders, and what waits while it is set.
//!
//! ```text
//!   Set(n) ─► some frames ─► a part of epoch n+1 ─► some frames ─► … ─► CopySet(n) ─► commits that came meanwhile
//! ```
//!
//! Not here: how a copy is set ([`beside`](crate::guest::copy)).

use super::receive::ReceiveThread;
use crate::guest::copy::CopyOrder;
use crate::guest::copy::beside::Beside;
use crate::guest::replica::Start;
use crate::guest::report::Report;
use std::collections::VecDeque;
use understudy_checkpoint::{Epoch, Generation, Pfn};

/// What a receive thread has of a copy.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// `None` before one was wanted.
    beside: Option<Beside>,
    /// Commits that wait until the copy is set. Their epochs are in the receiver's buffer, which is bounded.
    put_off: VecDeque<Epoch>,
}

impl Keeping {
    pub(super) fn is_setting(&self) -> bool {
        self.beside.as_ref().is_some_and(Beside::is_setting)
    }

    pub(super) fn put_off(&mut self, epoch: Epoch) {
        self.put_off.push_back(epoch);
    }

    pub(super) fn changed(&mut self, pfn: Pfn) {
        if let Some(beside) = &mut self.beside {
            beside.changed(pfn);
        }
    }

    /// What was put off is not asked for any more: the image goes, or the guest is started from it as it stands.
    pub(super) fn drop_copy(&mut self) {
        self.beside = None;
        self.put_off.clear();
    }
}

impl ReceiveThread {
    pub(super) fn order(&mut self, order: CopyOrder) {
        let report = match order {
            CopyOrder::Set { epoch, traffic } => {
                let beside = self.copy.beside.get_or_insert_with(|| Beside::new(traffic));
                let begun = match self.receiver.committed() {
                    Some(committed) if committed == epoch => beside.set(epoch, &self.held),
                    _ => Err("the image does not stand at that epoch".into()),
                };
                begun.err().map(|error| Report::CopySetFailed { epoch, error })
            }
            CopyOrder::Run => self.act(Beside::run).err().map(|error| Report::CopyEnded { error }),
            CopyOrder::Halt => Some(match self.act(Beside::halt) {
                Ok(()) => Report::CopyHalted,
                Err(error) => Report::CopyEnded { error },
            }),
            CopyOrder::Drop => {
                self.copy.beside = None;
                self.commit_put_off();
                None
            }
        };
        report.into_iter().for_each(|report| self.reporter.tell(report));
    }

    fn act(&mut self, act: impl FnOnce(&mut Beside) -> Result<(), String>) -> Result<(), String> {
        self.copy.beside.as_mut().map_or_else(|| Err("there is no copy".into()), act)
    }

    /// Goes on with setting the copy for some frames; what waited for that is done once it is set.
    pub(super) fn set_on(&mut self) {
        let Some(beside) = self.copy.beside.as_mut().filter(|beside| beside.is_setting()) else { return };
        let step = match self.receiver.sink().image() {
            Some(image) => beside.step(image, &self.held),
            None => beside.give_up("the image is not in memory of this process"),
        };
        match step {
            Ok(None) => return,
            Ok(Some(epoch)) => self.reporter.tell(Report::CopySet { epoch }),
            Err((epoch, error)) => self.reporter.tell(Report::CopySetFailed { epoch, error }),
        }
        self.commit_put_off();
    }

    /// Sets the copy to the end: what comes next cannot be done in between.
    pub(super) fn set_to_end(&mut self) {
        while self.copy.is_setting() {
            self.set_on();
        }
    }

    fn commit_put_off(&mut self) {
        while let Some(epoch) = self.copy.put_off.pop_front() {
            self.commit(epoch);
        }
    }

    /// `None` if the copy is the guest now.
    pub(super) fn activate_copy(mut self, generation: Generation, open: Epoch) -> Option<Self> {
        self.end_older(generation);
        self.set_to_end();
        let (name, what) = (&self.held.name, &self.held.description);
        let start = Start { name, what, generation, open };
        let begun = match &mut self.copy.beside {
            Some(beside) => beside.begin(&start),
            None => Err("there is no copy".into()),
        };
        let error = match begun {
            Ok(guest) => {
                self.reporter.tell(Report::Activated { guest });
                return None;
            }
            Err(error) => error,
        };
        if !self.copy.beside.as_ref().is_some_and(Beside::is_there) {
            self.reporter.tell(Report::CopyEnded { error: error.clone() });
        }
        self.is_last_copy = true;
        self.reporter.tell(Report::ActivationDelayed { error });
        Some(self)
    }
}
