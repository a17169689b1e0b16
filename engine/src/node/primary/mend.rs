//! Replaces the capture threads of a guest after they have failed, by a panic or otherwise. The guest is not ended for
//! that: its session decides whether it runs on.
//!
//! ```text
//!   panic, channel gone ─► CaptureBroke ─► the session gives the copy up, the guest runs on
//!                            └─ Machine::reopen ─► new threads ─► CaptureMended ─► a full sync
//!                                  └─ none in this process: restart the node
//! ```

use super::{Over, PrimaryGuest};
use crate::guest::{BoxedSource, Checkpointer, RuntimeId};
use crate::node::context::Context;
use understudy_session::primary::Input;
use understudy_session::{Span, Time};

/// A guest's capture threads have failed. The guest has not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Broken {
    /// The reason, for the operator.
    pub(in crate::node) why: String,
    /// When to try to replace the threads; `None` if that is impossible in this process.
    pub(in crate::node) mend_at: Option<Time>,
    /// How long to wait after the next attempt that fails.
    wait: Span,
}

/// How long to wait after the first attempt that fails, and at most: twice as long after each. The guest may have been left
/// suspended, and only new threads let it run; what they need, such as its memory, is often found within a second.
const MEND_RETRY_MIN: Span = Span::from_ms(250);
const MEND_RETRY_MAX: Span = Span::from_ms(5_000);

impl PrimaryGuest {
    /// The capture threads have failed. The guest goes on without them, as far as its session lets it.
    pub(in crate::node) fn broke(&mut self, why: String, now: Time) {
        self.capturing = None;
        // Not answered, as no capture is that its thread has not ended.
        self.gate.give_up_sync();
        self.protector = None;
        if self.machine.is_none() {
            self.over.get_or_insert(Over::Broken(why));
        } else if self.broken.is_none() {
            tracing::error!(guest = %self.name, why, "The guest runs on, and nothing can copy it for now");
            self.broken = Some(Broken { why, mend_at: Some(now), wait: MEND_RETRY_MIN });
        }
    }

    /// The source for new threads, if they are due.
    pub(in crate::node) fn source_to_mend_with(&mut self, now: Time) -> Option<BoxedSource> {
        let broken = self.broken.as_mut().filter(|broken| broken.mend_at.is_some_and(|at| at <= now))?;
        match self.machine.as_ref()?.reopen() {
            None => {
                broken.mend_at = None;
                tracing::error!(guest = %self.name, "Restart the node to protect the guest again");
                None
            }
            Some(Ok(source)) => Some(source),
            Some(Err(error)) => {
                self.mend_later(&error.to_string(), now);
                None
            }
        }
    }

    /// An attempt failed.
    pub(in crate::node) fn mend_later(&mut self, error: &str, now: Time) {
        if let Some(broken) = &mut self.broken {
            broken.mend_at = Some(now + broken.wait);
            broken.wait = Span(broken.wait.0 * 2).min(MEND_RETRY_MAX);
        }
        tracing::warn!(guest = %self.name, error, "The guest cannot be copied yet");
    }

    /// New threads capture the guest. If it was left suspended in the midst of a pause, it runs again if it may.
    pub(in crate::node) fn mended(
        &mut self,
        runtime: RuntimeId,
        protector: Box<dyn Checkpointer>,
        cx: &mut dyn Context,
    ) {
        tracing::warn!(guest = %self.name, "The guest can be copied again");
        self.runtime = runtime;
        self.broken = None;
        // This ends the pause that had begun. A guest that the session or a person has paused stays paused.
        if let Err(error) = protector.settle().and_then(|()| protector.resume()) {
            tracing::error!(guest = %self.name, %error, "The guest may stand still");
        }
        self.protector = Some(protector);
        self.handle(Input::CaptureMended, cx);
    }

    /// When the session has something to do; never if it is lost.
    pub(in crate::node) fn session_timeout(&self) -> Option<Time> {
        self.session.next_timeout().filter(|_| self.defect.is_none())
    }

    /// When [`run_timers`](Self::run_timers) has something to do.
    pub(in crate::node) fn next_timeout(&self) -> Option<Time> {
        let mend_at = self.broken.as_ref().and_then(|broken| broken.mend_at);
        [self.session_timeout(), mend_at, self.offer.again_at(), self.copy.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }
}
