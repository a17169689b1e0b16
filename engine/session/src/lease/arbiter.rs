//! [`Arbiter`]: the leases of all hosts at our witness, changed by compare-and-swap, and stable before they are told.
//!
//! ```text
//!   request ─► judged against the stable record ─┬─ refused ──────────────────────────► Reply
//!                                                └─ Persist, stable ─► Persisted ─────► Reply
//! ```
//!
//! While a host's record is being written nothing about that host is answered. There are no timers: clients repeat what is not
//! answered.

use super::{Lease, LeaseReply, LeaseRequest, judge};
use crate::{NodeName, RequestId, WitnessOutcome};
use alloc::collections::{BTreeMap, VecDeque};

/// The most hosts that may have a lease.
pub const HOSTS_MAX: usize = 1_024;

/// The most requests about one host that wait for its record to become stable; further ones get no answer.
pub(super) const WAITING_MAX: usize = 16;

/// What the driver tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A request about the lease of `host` by `from`; the reply goes back by `client`.
    Request {
        /// The connection, by the driver's number.
        client: u64,
        /// The name in the connection's hello.
        from: NodeName,
        /// Whose lease.
        host: NodeName,
        /// What is asked.
        request: LeaseRequest,
    },
    /// The `Persist` for this host is done, or has failed: then the record on disk counts again.
    Persisted {
        /// Whose lease.
        host: NodeName,
        /// Whether it is stable.
        done: bool,
    },
}

/// What the driver does, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Write the lease of `host` to stable storage, then report it.
    Persist {
        /// Whose lease.
        host: NodeName,
        /// The record.
        lease: Lease,
    },
    /// Send this to a client; nothing happens if the client is gone.
    Reply {
        /// The connection.
        client: u64,
        /// Whose lease.
        host: NodeName,
        /// The answer.
        reply: LeaseReply,
    },
    /// There is no room for another host. Nothing is recorded, and the request gets no answer.
    NoRoom {
        /// The host.
        host: NodeName,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Waiting {
    client: u64,
    from: NodeName,
    request: LeaseRequest,
}

#[derive(Debug, Default)]
struct Slot {
    stable: Option<Lease>,
    /// The record that is being written, who asked for it, and by which request.
    writing: Option<(Lease, u64, RequestId)>,
    waiting: VecDeque<Waiting>,
}

/// The leases.
#[derive(Debug, Default)]
pub struct Arbiter {
    hosts: BTreeMap<NodeName, Slot>,
    out: VecDeque<Output>,
}

impl Arbiter {
    /// An arbiter that starts with `leases`, which were read from stable storage.
    pub fn new(leases: impl IntoIterator<Item = (NodeName, Lease)>) -> Self {
        let slot = |(host, lease)| (host, Slot { stable: Some(lease), ..Slot::default() });
        Self { hosts: leases.into_iter().map(slot).collect(), out: VecDeque::new() }
    }

    /// Takes one input; [`poll_output`](Self::poll_output) then says what follows from it.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Request { client, from, host, request } => {
                if !self.hosts.contains_key(&host) && self.hosts.len() >= HOSTS_MAX {
                    return self.out.push_back(Output::NoRoom { host });
                }
                let slot = self.hosts.entry(host.clone()).or_default();
                if slot.waiting.len() < WAITING_MAX {
                    slot.waiting.push_back(Waiting { client, from, request });
                }
                self.serve(&host);
            }
            Input::Persisted { host, done } => {
                let Some(slot) = self.hosts.get_mut(&host) else { return };
                if let Some((lease, client, id)) = slot.writing.take()
                    && done
                {
                    slot.stable = Some(lease);
                    let reply = LeaseReply { id, outcome: WitnessOutcome::Swapped, lease: Some(lease) };
                    self.out.push_back(Output::Reply { client, host: host.clone(), reply });
                }
                self.serve(&host);
            }
        }
    }

    /// What to do next; `None` once nothing is left to do before the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// All hosts with a stable lease.
    pub fn leases(&self) -> impl Iterator<Item = (&NodeName, &Lease)> {
        self.hosts.iter().filter_map(|(host, slot)| Some((host, slot.stable.as_ref()?)))
    }

    fn serve(&mut self, host: &NodeName) {
        let Some(slot) = self.hosts.get_mut(host) else { return };
        while slot.writing.is_none()
            && let Some(Waiting { client, from, request }) = slot.waiting.pop_front()
        {
            let outcome = match request {
                LeaseRequest::Read { .. } => WitnessOutcome::Told,
                LeaseRequest::Swap { expect, new, .. } => {
                    judge(slot.stable.as_ref(), expect, &new, host, &from)
                }
            };
            if let (WitnessOutcome::Swapped, LeaseRequest::Swap { id, new, .. }) = (outcome, request) {
                slot.writing = Some((new, client, id));
                self.out.push_back(Output::Persist { host: host.clone(), lease: new });
                return;
            }
            let reply = LeaseReply { id: request.id(), outcome, lease: slot.stable };
            self.out.push_back(Output::Reply { client, host: host.clone(), reply });
        }
        if slot.stable.is_none() && slot.writing.is_none() {
            self.hosts.remove(host);
        }
    }
}
