//! Contains the panic of a session: an invariant does not hold, or it has another defect. Only its guest is affected.
//!
//! A panic that went through the loop would end the node, and every guest of this host would be paused or lose its
//! protection for one defect (`docs/DESIGN.md#s1`). So it is caught where a session is called. The session's remaining
//! outputs are not performed, it gets no more inputs, and a person decides:
//!
//! ```text
//!   runs here    unprotected for sure: it runs on. Else: nothing leaves any more, and it is paused and kept
//!   held here    nothing is acked any more. With a primary there, the copy is given up, and made anew by its next offer.
//!                Without one it is kept as it is: it may be all that is left of the guest
//! ```
//!
//! A restarted engine begins from the witness's record.

use super::context::Context;
use super::primary::PrimaryGuest;
use super::secondary::SecondaryGuest;
use crate::guest::panic_words;
use std::panic::{AssertUnwindSafe, catch_unwind};
use understudy_session::primary::{Primary, State};
use understudy_session::secondary::{self, Secondary};

/// Calls a session, and returns the message of its panic if it panics.
fn panic_of<S>(session: &mut S, call: impl FnOnce(&mut S)) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| call(session))).err().map(|panic| panic_words(&*panic))
}

impl PrimaryGuest {
    /// Calls the session, unless it is lost. Returns whether it has outputs.
    pub(super) fn call(&mut self, call: impl FnOnce(&mut Primary), cx: &mut dyn Context) -> bool {
        if self.defect.is_some() {
            return false;
        }
        let Some(why) = panic_of(&mut self.session, call) else { return true };
        self.session_is_lost(why, cx);
        false
    }

    fn session_is_lost(&mut self, why: String, cx: &mut dyn Context) {
        cx.session_failed(&self.name, &why);
        self.gate.give_up_sync();
        if self.session.state() == State::Unprotected {
            tracing::error!(guest = %self.name, why, "The guest's session has failed: it runs on, unprotected; restart the node");
        } else {
            tracing::error!(guest = %self.name, why, "The guest's session has failed: it is paused and kept; restart the node");
            self.gate.close();
            self.participants.fence();
            if let Some(machine) = &self.machine {
                machine.pause();
            }
        }
        self.meter.set_protected(false);
        self.defect = Some(why);
    }

    /// Why its session is lost, if it is.
    pub(super) fn defect_reason(&self) -> Option<String> {
        let defect = self.defect.as_ref()?;
        let stands =
            if self.session.state() == State::Unprotected { "runs on" } else { "is paused and kept" };
        Some(format!(
            "its session has failed, which is a defect of understudy ({defect}): the guest {stands}; restart the node"
        ))
    }
}

impl SecondaryGuest {
    /// Calls the session, unless it is lost. Returns whether it has outputs.
    pub(super) fn call(&mut self, call: impl FnOnce(&mut Secondary), cx: &mut dyn Context) -> bool {
        if self.defect.is_some() {
            return false;
        }
        let Some(why) = panic_of(&mut self.session, call) else { return true };
        self.session_is_lost(why, cx);
        false
    }

    fn session_is_lost(&mut self, why: String, cx: &mut dyn Context) {
        use secondary::State as Held;
        cx.session_failed(&self.name, &why);
        self.meter.set_protected(false);
        match self.session.state() {
            Held::Empty | Held::Seeding | Held::Standing | Held::Outdated => {
                self.broken = Some(format!("its session has failed: {why}"));
            }
            Held::Alone | Held::TakingOver | Held::Activating | Held::ActivationFailed => tracing::error!(
                guest = %self.name, why, peer = %self.peer,
                "The session of a copy has failed, and no primary is there: the copy is kept, and is not started"
            ),
        }
        self.defect = Some(why);
    }

    /// Why its session is lost, if it is.
    pub(super) fn defect_reason(&self) -> Option<String> {
        let defect = self.defect.as_ref()?;
        Some(format!(
            "its session has failed, which is a defect of understudy ({defect}): the copy is kept, and cannot be started"
        ))
    }
}
