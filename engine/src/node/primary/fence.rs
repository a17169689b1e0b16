//! A guest that runs here and needs fencing: it is offered only while this host's watchdog is set, and stands still when that is
//! near.
//!
//! ```text
//!   not set ─► declined, with the reason ── set ──► offered
//!   near    ─► its vCPUs stand still     ── set ──► they go on, unless the session has paused the guest itself
//! ```

use super::PrimaryGuest;
use crate::config::FenceChoice;
use crate::node::context::Context;
use crate::node::fencing::{Held, Need};
use understudy_link::{HoldReason, HoldRefusal, LEASES_SINCE};

/// How the guest is fenced.
#[derive(Debug)]
pub(in crate::node) struct FenceHere {
    choice: FenceChoice,
    held: Held,
    /// Why this host's lease does not stand better.
    trouble: Option<String>,
    /// Whether the guest stands still, since the watchdog is near.
    pub(in crate::node) is_near: bool,
    /// Whether the session has paused the guest.
    pub(in crate::node) is_paused: bool,
}

impl FenceHere {
    pub(in crate::node) fn new(choice: FenceChoice) -> Self {
        Self { choice, held: Held::No, trouble: None, is_near: false, is_paused: false }
    }

    /// Whether a copy may be started elsewhere only once this host is fenced.
    pub(in crate::node) fn is_enforced(&self) -> bool {
        self.choice == FenceChoice::Enforce
    }

    pub(in crate::node) fn need(&self) -> Need {
        match self.choice {
            FenceChoice::Off => Need::Nothing,
            FenceChoice::Log => Need::Renew,
            FenceChoice::Enforce => Need::Arm,
        }
    }

    /// Why the guest cannot be protected on a link of this version.
    pub(in crate::node) fn refusal(&self, version: Option<u16>) -> Option<HoldRefusal> {
        if !self.is_enforced() {
            return None;
        }
        if version.is_some_and(|version| version < LEASES_SINCE) {
            let why = "it needs fencing, and the understudy there is too old for that; install the same version on both hosts";
            return Some(HoldRefusal::new(HoldReason::Unfit, why));
        }
        (self.held != Held::Armed).then(|| {
            let why = self.trouble.as_deref().unwrap_or("its lease at the witness is not confirmed yet");
            HoldRefusal::new(
                HoldReason::Fencing,
                format!("it needs fencing, and this host's watchdog is not set: {why}"),
            )
        })
    }
}

impl PrimaryGuest {
    /// How this host's lease stands.
    pub(in crate::node) fn lease_stands(&mut self, held: Held, trouble: Option<&str>, cx: &mut dyn Context) {
        if !self.fence.is_enforced() {
            return;
        }
        let is_news = self.fence.held != held || self.fence.trouble.as_deref() != trouble;
        if !is_news {
            return;
        }
        self.fence.held = held;
        self.fence.trouble = trouble.map(str::to_owned);
        let was_near = std::mem::replace(&mut self.fence.is_near, held == Held::Near);
        if let Some(machine) = &self.machine {
            if self.fence.is_near {
                machine.pause();
            } else if was_near && !self.fence.is_paused {
                machine.unpause();
            }
        }
        let was_refused =
            self.offer.refusal.as_ref().is_some_and(|refusal| refusal.reason == HoldReason::Fencing);
        if was_refused && (held == Held::Armed || self.place.is_none()) && cx.is_link_up(&self.peer) {
            self.attach(cx);
        }
    }
}
