//! Holds a guest's output until the guest is marked with its generation. Without that mark, the next engine would take
//! it for a guest that no engine ever ran.
//!
//! ```text
//!   session: PassOutput, Release ──► marked? ── yes ──► Participants
//!                                      └─ no: waits ── the mark is there, or a person says `unprotect` ──┘
//! ```
//!
//! Xenstored usually answers in microseconds. If it hangs, `status` says what the output waits for.

use super::PrimaryGuest;
use crate::guest::Participants;
use understudy_checkpoint::{Epoch, Generation};

/// What waits for the mark.
#[derive(Default, Debug)]
pub(in crate::node) struct Gate {
    waits: Option<Waiting>,
    /// Whether a person has let this generation's output out, marked or not.
    waived: Generation,
}

/// The session's newest order: let out everything, or what is acked.
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
    /// Drops what waits: it must not leave.
    pub(in crate::node) fn close(&mut self) {
        self.waits = None;
    }

    /// A full sync begins: from its cut on nothing passes, and earlier output leaves with its ack.
    pub(in crate::node) fn seeds(&mut self) {
        self.waits.take_if(|waits| *waits == Waiting::Pass);
    }

    /// Whether output waits for the mark.
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
        // Letting everything pass includes what is acked.
        if self.gate.waits != Some(Waiting::Pass) {
            self.gate.waits = Some(what);
        }
    }

    /// Lets waiting output out, if the guest is marked by now.
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

    /// A person orders not to wait for the mark.
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

    /// Why output waits for the mark; `None` if it does not.
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
