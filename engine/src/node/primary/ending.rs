//! How a guest that runs here ends: for good, or with its node.

use super::{Over, PrimaryGuest};
use std::time::Duration;
use understudy_checkpoint::Generation;
use understudy_session::primary::State;

/// How long a node that ends waits for a guest's capture thread.
const FINISH_MAX: Duration = Duration::from_secs(2);

impl PrimaryGuest {
    /// Ends a guest that is not wanted any more. A guest that never ran under understudy is not a copy of one that runs
    /// elsewhere, even with the same name: it is paused, and a person decides.
    pub(in crate::node) fn end(&self) {
        match self.over {
            Some(Over::Superseded(_)) if self.marked == Generation(0) => self.hold_still(),
            _ => self.stop(),
        }
    }

    /// Fences and pauses the guest: no output leaves any more.
    fn stop(&self) {
        self.participants.fence();
        if let Some(machine) = &self.machine {
            machine.stop();
        }
    }

    /// This process ends. A guest that nobody may take over goes on as before; of any other, no output leaves any more.
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
