//! This host's lease and its watchdog, and the leases of hosts that are gone: the driver of [`lease`](understudy_session::lease)
//! on a node. `docs/FENCING.md` has the rules.
//!
//! ```text
//!   guests here ── need ──► OwnLease: Idle ─► Reading ─► Holding ──► Timer      need: nothing │ renew │ arm
//!   copies that wait ─────► Takings, one for each host: look, wait, take away ─► fenced
//! ```
//!
//! Not here: which guests need it ([`fence`](super::fence)), and when a copy may take over (its session).

mod ids;
mod own;
mod takings;
#[cfg(test)]
mod tests;
mod timer;

use super::context::Context;
use crate::control::status::{FencingStatus, WatchdogState};
use crate::guest::{Host, HostError};
use ids::RequestIds;
use own::OwnLease;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use takings::Takings;
use timer::Timer;
use understudy_session::lease::{LeaseReply, Terms};
use understudy_session::{NodeName, Time};

/// What guests of this host need, from little to much.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) enum Need {
    /// None of them needs a lease.
    #[default]
    Nothing,
    /// The lease is renewed, and no watchdog set: nothing that needs it runs here.
    Renew,
    /// A guest that runs here, or is about to, needs the watchdog.
    Arm,
}

/// How this host's lease stands, for guests that need it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// Not yet, or not any more in order.
    No,
    /// The lease is confirmed, and no watchdog is set.
    Renewed,
    /// The watchdog is set, and not near.
    Armed,
    /// The watchdog is near, or the lease was taken away: guests that need it stand still.
    Near,
}

/// Leases and the watchdog, as one node drives them.
#[derive(Debug)]
pub(super) struct Fencing {
    own: OwnLease,
    takings: Takings,
    ids: RequestIds,
}

impl Fencing {
    pub(super) fn new(node: NodeName, terms: Terms, host: Arc<dyn Host>, state: PathBuf) -> Self {
        let own = OwnLease::new(node, terms, Timer::new(host, state));
        Self { own, takings: Takings::default(), ids: RequestIds::default() }
    }

    /// How the lease of this host stands.
    pub(super) fn held(&self) -> Held {
        self.own.held()
    }

    /// Why the lease is not held, or the watchdog not set.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.own.trouble()
    }

    /// Whether the watchdog is set, if a guest here needs that; and how many hosts are being fenced.
    pub(super) fn measured(&self) -> (Option<bool>, usize) {
        let armed = (self.own.need() == Need::Arm).then(|| self.held() == Held::Armed);
        (armed, self.takings.len())
    }

    /// For an operator; nothing if no guest needs it.
    pub(super) fn status(&self, now: Time) -> Option<FencingStatus> {
        if self.own.need() == Need::Nothing && self.takings.is_empty() {
            return None;
        }
        let (lease, armed) = self.own.number_and_armed();
        Some(FencingStatus {
            watchdog: match self.held() {
                Held::No => WatchdogState::Off,
                Held::Renewed => WatchdogState::Renewed,
                Held::Armed => WatchdogState::Armed,
                Held::Near => WatchdogState::Near,
            },
            left_ms: armed.map(|until| (until - now).0 / 1_000_000),
            lease,
            reason: self.trouble().unwrap_or_default().to_owned(),
            waits_for: self.takings.status(now),
        })
    }

    /// Finds out whether the watchdog can be set at all, by setting it for a moment.
    pub(super) fn probe(&mut self) -> Result<(), HostError> {
        self.own.probe()
    }

    /// One iteration. Guests here need this much.
    pub(super) fn run(&mut self, need: Need, cx: &mut dyn Context) {
        self.own.run(need, &mut self.ids, cx);
        self.takings.run(&mut self.ids, cx);
    }

    /// When [`run`](Self::run) has something to do.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.own.next_timeout().into_iter().chain(self.takings.next_timeout()).min()
    }

    /// Takes a reply of the witness about the lease of `host`.
    pub(super) fn told(&mut self, host: &NodeName, reply: LeaseReply, cx: &mut dyn Context) {
        if self.takings.told(host, reply, cx.now()) {
            self.takings.run(&mut self.ids, cx);
        } else if host == self.own.node() {
            self.own.told(reply, &mut self.ids, cx);
        }
    }

    /// The node ends. The watchdog runs on while a guest that needs it may be here.
    pub(super) fn leave(&mut self, need: Need) {
        if need < Need::Arm {
            return self.own.stop_watchdog();
        }
        tracing::warn!(
            "Guests that need fencing stay on this host: its watchdog resets it unless an engine is back in time"
        );
    }

    /// Takes the leases of these hosts away, for guests whose copies wait for that.
    pub(super) fn take_from(&mut self, hosts: &BTreeSet<NodeName>, cx: &mut dyn Context) {
        self.takings.take_from(hosts, &mut self.ids, cx);
    }

    /// Whether nothing of this host runs any more.
    pub(super) fn is_fenced(&self, host: &NodeName) -> bool {
        self.takings.is_fenced(host)
    }

    /// Forgets what was found out about this host. A copy that needs it again asks again.
    pub(super) fn forget(&mut self, host: &NodeName) {
        self.takings.forget(host);
    }
}
