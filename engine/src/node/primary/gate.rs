//! Holds a guest's output until the guest is marked with its generation. Without that mark, the next engine would take
//! it for a guest that no engine ever ran.
//!
//! ```text
//!   session: PassOutput, Release ──► marked? ── yes ──► Participants
//!                                      └─ no: waits ── the mark is there, or a person says `unprotect` ──┘
//!   session: a full sync ──► waits until all that may leave has left
//! ```
//!
//! From the cut of a full sync on, output waits for its ack. A full sync takes as long as the guest's memory needs on the link, so
//! what may leave before it must not be overtaken by it.
//!
//! Xenstored usually answers in microseconds. If it hangs, `status` says what the output waits for.

use super::PrimaryGuest;
use crate::guest::Participants;
use crate::node::Context;
use std::collections::VecDeque;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::primary::Capture;

/// What waits for the mark.
#[derive(Default, Debug)]
pub(in crate::node) struct Gate {
    waits: Option<Waiting>,
    /// A full sync that begins once nothing waits any more.
    sync: Option<FullSyncOrder>,
    /// Whether a person has let this generation's output out, marked or not.
    waived: Generation,
}

/// The session's order of a full sync.
#[derive(Clone, Copy, Debug)]
pub(super) struct FullSyncOrder {
    pub(super) generation: Generation,
    pub(super) epoch: Epoch,
    pub(super) stay_paused: bool,
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

    /// Whether a full sync has to wait. It is kept if so.
    pub(super) fn postpones(&mut self, sync: FullSyncOrder) -> bool {
        let waits = self.waits == Some(Waiting::Pass);
        self.sync = waits.then_some(sync);
        waits
    }

    /// A full sync that has waited is not wanted any more. Returns its epoch.
    pub(in crate::node) fn give_up_sync(&mut self) -> Option<Epoch> {
        self.sync.take().map(|sync| sync.epoch)
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

    /// Lets waiting output out, if the guest is marked by now. A full sync begins behind it.
    pub(in crate::node) fn look_at_gate(&mut self, cx: &mut dyn Context) {
        if self.gate.is_waiting() {
            self.mark();
            if self.is_marked()
                && let Some(what) = self.gate.waits.take()
            {
                what.let_out(&self.participants);
            }
        }
        if let Some(sync) = self.gate.sync.take_if(|_| self.gate.waits.is_none()) {
            let FullSyncOrder { generation, epoch, stay_paused } = sync;
            let mut inputs = VecDeque::new();
            self.capture(generation, epoch, Capture::Seed, stay_paused, &mut inputs, cx.now());
            inputs.into_iter().for_each(|input| self.handle(input, cx));
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
