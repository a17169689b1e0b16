//! The leases of hosts that are gone, taken away so that their guests may be started here.
//!
//! ```text
//!   take_from ─► look ─► wait as long as its watchdog may take ─► take away ─► fenced ─► forget
//! ```

use super::ids::RequestIds;
use crate::control::status::FencedHostStatus;
use crate::node::context::Context;
use std::collections::{BTreeMap, BTreeSet};
use understudy_session::lease::{Lease, LeaseReply, LeaseRequest, Standing, Taker, TakerOutput};
use understudy_session::{NodeName, RequestId, Time};

#[derive(Debug)]
struct Taking {
    taker: Taker,
    first: RequestId,
    is_fenced: bool,
}

/// A taker for each host that has to be fenced.
#[derive(Default, Debug)]
pub(super) struct Takings(BTreeMap<NodeName, Taking>);

impl Takings {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The hosts, for an operator.
    pub(super) fn status(&self, now: Time) -> Vec<FencedHostStatus> {
        let status = |(host, taking): (&NodeName, &Taking)| FencedHostStatus {
            node: host.0.clone(),
            left_ms: taking.taker.waits_until().map(|until| (until - now).0 / 1_000_000),
        };
        self.0.iter().map(status).collect()
    }

    /// Takes the leases of these hosts away, and no other's.
    pub(super) fn take_from(
        &mut self,
        hosts: &BTreeSet<NodeName>,
        ids: &mut RequestIds,
        cx: &mut dyn Context,
    ) {
        self.0.retain(|host, _| hosts.contains(host));
        for host in hosts {
            if !self.0.contains_key(host) {
                tracing::warn!(%host, "The host has to be fenced before its guests are started here: its lease is waited for");
                let (taker, first) = (Taker::new(cx.now()), ids.next());
                self.0.insert(host.clone(), Taking { taker, first, is_fenced: false });
            }
        }
        self.run(ids, cx);
    }

    /// Takes a reply about the lease of `host`. Returns whether that lease is being taken away.
    pub(super) fn told(&mut self, host: &NodeName, reply: LeaseReply, now: Time) -> bool {
        let Some(taking) = self.0.get_mut(host) else { return false };
        if let (true, Some(lease)) = (reply.id >= taking.first, reply.lease) {
            taking.taker.told(now, lease);
        }
        true
    }

    /// Whether nothing of this host runs any more.
    pub(super) fn is_fenced(&self, host: &NodeName) -> bool {
        self.0.get(host).is_some_and(|taking| taking.is_fenced)
    }

    /// Forgets what was found out about this host.
    pub(super) fn forget(&mut self, host: &NodeName) {
        self.0.remove(host);
    }

    pub(super) fn run(&mut self, ids: &mut RequestIds, cx: &mut dyn Context) {
        let now = cx.now();
        for (host, taking) in &mut self.0 {
            if taking.taker.next_timeout().is_some_and(|at| at <= now) {
                taking.taker.handle_timeout(now);
            }
            while let Some(output) = taking.taker.poll_output() {
                match output {
                    TakerOutput::Look => cx.ask_lease(host, LeaseRequest::Read { id: ids.take() }),
                    TakerOutput::TakeAway { lease } => {
                        let new = Lease { number: lease.number + 1, standing: Standing::Taken, ..lease };
                        cx.ask_lease(host, LeaseRequest::Swap { id: ids.take(), expect: lease.number, new });
                    }
                    TakerOutput::Fenced => {
                        tracing::warn!(%host, "The host is fenced: nothing that it ran runs any more");
                        taking.is_fenced = true;
                    }
                }
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.0.values().filter_map(|taking| taking.taker.next_timeout()).min()
    }
}
