//! How a guest that runs here goes: for good, or with its node.

use super::{Over, PrimaryGuest};
use std::time::Duration;
use understudy_checkpoint::Generation;
use understudy_session::primary::State;

/// How long the end of a node waits for a guest's capture thread.
const FINISH_MAX: Duration = Duration::from_secs(2);

impl PrimaryGuest {
    /// What is over goes. A guest that was never run under understudy is no copy of one that runs elsewhere, whatever
    /// its name says: it is paused, and a person decides.
    pub(in crate::node) fn end(&self) {
        match self.over {
            Some(Over::Superseded(_)) if self.marked == Generation(0) => self.hold_still(),
            _ => self.stop(),
        }
    }

    /// Nothing of the guest is let out any more, and it runs no more.
    fn stop(&self) {
        self.participants.fence();
        if let Some(machine) = &self.machine {
            machine.stop();
        }
    }

    /// This process ends. A guest that nobody may take over goes on as before; nothing of any other is let out any
    /// more.
    pub(in crate::node) fn leave(&mut self) {
        let outlives_us = self.machine.as_ref().is_some_and(|machine| machine.outlives_us());
        if outlives_us && self.session.state() == State::Unprotected && !self.gate.is_waiting() {
            self.participants.detach();
        } else {
            self.hold_still();
        }
        if let Some(protector) = self.protector.take().filter(|_| outlives_us) {
            protector.finish(FINISH_MAX);
        }
    }

    fn hold_still(&self) {
        self.participants.fence();
        if let Some(machine) = &self.machine {
            machine.leave();
        }
    }
}
