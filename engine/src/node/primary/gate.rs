//! What a guest sends does not leave before the guest is marked with its generation: an engine after this one would take a
//! guest without that mark for one that nobody ever ran.
//!
//! ```text
//!   session: PassOutput, Release ──► marked? ── yes ──► Participants
//!                                      └─ no: waits ── the mark is there, or a person says `unprotect` ──┘
//! ```
//!
//! Xenstored answers in microseconds; where it hangs, `status` says what the output waits for.

use super::PrimaryGuest;
use crate::guest::Participants;
use understudy_checkpoint::{Epoch, Generation};

/// What waits.
#[derive(Default, Debug)]
pub(in crate::node) struct Gate {
    waits: Option<Waiting>,
    /// A person lets out what this generation sends, marked or not.
    waived: Generation,
}

/// The newest that the session wanted: all of it, or what is acked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waiting {
    Pass,
    Release(Epoch),
}

impl Waiting {
    fn let_out(self, participants: &Participants) {
        match self {
            Self::Pass => participants.pass(),
            Self::Release(through) => participants.release(through),
        }
    }
}

impl Gate {
    /// Nothing of what waits is to leave.
    pub(in crate::node) fn close(&mut self) {
        self.waits = None;
    }

    /// A full sync begins: from its cut on nothing passes any more, and what came before leaves with its ack.
    pub(in crate::node) fn seeds(&mut self) {
        self.waits.take_if(|waits| *waits == Waiting::Pass);
    }

    /// Whether something waits.
    pub(in crate::node) fn is_waiting(&self) -> bool {
        self.waits.is_some()
    }
}

impl PrimaryGuest {
    /// Everything may leave, once the guest is marked.
    pub(in crate::node) fn pass_output(&mut self) {
        self.let_out(Waiting::Pass);
    }

    /// What is acked may leave, once the guest is marked.
    pub(in crate::node) fn release_output(&mut self, through: Epoch) {
        self.let_out(Waiting::Release(through));
    }

    fn let_out(&mut self, what: Waiting) {
        if self.is_marked() {
            self.gate.close();
            return what.let_out(&self.participants);
        }
        // What passes passes with everything acked.
        if self.gate.waits != Some(Waiting::Pass) {
            self.gate.waits = Some(what);
        }
    }

    /// Lets out what waits, if the guest is marked by now.
    pub(in crate::node) fn look_at_gate(&mut self) {
        if self.gate.is_waiting() {
            self.mark();
            if self.is_marked()
                && let Some(what) = self.gate.waits.take()
            {
                what.let_out(&self.participants);
            }
        }
    }

    /// By a person's word the mark is not waited for.
    pub(in crate::node) fn waive_mark(&mut self) {
        self.gate.waived = self.session.generation();
        if let Some(what) = self.gate.waits.take() {
            tracing::warn!(
                guest = %self.name,
                "What the guest sends is let out by a person's word, though it is not marked with its generation"
            );
            what.let_out(&self.participants);
        }
    }

    pub(super) fn is_marked(&self) -> bool {
        let generation = self.session.generation();
        let is_noted = |machine: &std::sync::Arc<dyn crate::guest::Machine>| machine.is_marked(generation);
        self.gate.waived >= generation || self.machine.as_ref().is_none_or(is_noted)
    }

    /// What the output waits for, if it waits for the mark.
    pub(in crate::node) fn gate_reason(&self) -> Option<String> {
        let generation = self.session.generation();
        self.gate.is_waiting().then(|| {
            format!(
                "nothing of it leaves before it is marked with generation {generation} in xenstore, which does not answer; \
                 look whether xenstored runs (`understudy unprotect` lets the output out without)"
            )
        })
    }
}
