//! The agenda: future events in the order of virtual time. Events of equal time keep the order in which they were added.

use super::network::Wire;
use super::{GuestId, HostId, faults::Fault};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use understudy_session::lease::LeaseRequest;
use understudy_session::{NodeName, Time, WitnessRequest};

/// A future event.
///
/// `channel` and `end` name a place in the [network](super::network), and `conn` the connection that the event belongs to.
/// `id` is the number of a domain, `slot` a place on the bench. `life` numbers the engines that a host has
/// had (or the incarnations of the witness): an event for an earlier one is void.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the comment above explains the fields")]
pub enum Event {
    /// A message arrives at the end `end` of a channel.
    Arrives { channel: usize, conn: u64, end: usize, wire: Wire },
    /// A connection is established, for this end.
    Up { channel: usize, conn: u64, end: usize },
    /// This end learns that the connection is gone.
    Down { channel: usize, conn: u64, end: usize },
    /// A host that lives hears from the other host that the engine of that life is gone, and none was started since.
    Gone { host: HostId, life: u64 },
    /// Engines are heard on the second network.
    Beats,
    /// The dialling end tries to connect.
    Dial { channel: usize },
    /// A request on a connection that is gone reaches the witness late.
    Straggler { host: HostId, guest: GuestId, request: WitnessRequest },
    /// A request about the lease of a host reaches the witness late.
    LateLease { host: HostId, of: NodeName, request: LeaseRequest },
    /// The witness's write of a host's lease is done.
    LeaseWritten { life: u64, of: NodeName },
    /// The watchdog of a host runs out, unless it was set anew or stopped.
    RunsOut { host: HostId },
    /// A host is reset by its watchdog.
    Resets { host: HostId },
    /// The guest takes a step.
    Step { host: HostId, guest: GuestId, id: u64 },
    /// A client asks the guest, if it answers.
    Asks { guest: GuestId },
    /// A copy takes a step.
    CopySteps { host: HostId, guest: GuestId, id: u64 },
    /// A receive thread sets some more of a copy.
    Sets { host: HostId, life: u64, slot: usize },
    /// A guest that was taken over uses its devices again.
    Settles { host: HostId, guest: GuestId, id: u64 },
    /// A capture thread carries out its next order.
    Captures { host: HostId, life: u64, slot: usize },
    /// An encode thread encodes what it has.
    Encodes { host: HostId, life: u64, slot: usize },
    /// A receive thread does its next work.
    Works { host: HostId, life: u64, slot: usize },
    /// An engine looks for guests without an engine.
    Finds { host: HostId, life: u64 },
    /// The witness's write is done.
    PersistEnds { life: u64, ticket: u64 },
    /// A fault strikes.
    Strikes(Fault),
    /// A stall ends.
    StallEnds { channel: usize },
    /// For a mutant: a takeover without asking the witness.
    TakesOverAlone { host: HostId, guest: GuestId },
    /// A guest's frames enter its queue again.
    RedirectIsBack { guest: GuestId },
    /// The engine learns that frames bypassed the queue.
    BreachIsSeen { host: HostId, guest: GuestId },
    /// The link has its former speed again.
    SlownessEnds { channel: usize },
    /// A crashed node comes back.
    Restarts { node: usize },
    /// The operator looks whether a guest is gone for good and starts it anew.
    OperatorLooks,
}

#[derive(Debug)]
struct Entry {
    at: Time,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    /// The heap returns its greatest element first, so the earliest event is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// All future events.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Entry>,
    order: u64,
}

impl Agenda {
    /// Adds an event.
    pub fn add(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.heap.push(Entry { at, order: self.order, event });
    }

    /// The time of the next event.
    pub fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Removes the next event. Also returns its place among events of equal time.
    pub fn pop(&mut self) -> Option<(Time, u64, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.order, entry.event))
    }

    /// Postpones an event. Among others postponed to the same time it keeps its place.
    pub fn put_off(&mut self, at: Time, order: u64, event: Event) {
        self.heap.push(Entry { at, order, event });
    }
}
