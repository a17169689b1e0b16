//! What will happen, in the order of virtual time. Equal times keep the order in which they were put in.

use super::network::Wire;
use super::{GuestId, HostId, faults::Fault};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use understudy_session::{Time, WitnessRequest};

/// One thing to come. `life` numbers the engines a host has had: what was meant for an earlier one is void.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something arrives at an end of a channel.
    Arrives {
        /// Channel.
        channel: usize,
        /// Connection it was sent on.
        conn: u64,
        /// Receiving end.
        end: usize,
        /// What.
        wire: Wire,
    },
    /// A connection stands, for this end.
    Up {
        /// Channel.
        channel: usize,
        /// Connection.
        conn: u64,
        /// End.
        end: usize,
    },
    /// This end learns that the connection is gone.
    Down {
        /// Channel.
        channel: usize,
        /// Connection.
        conn: u64,
        /// End.
        end: usize,
    },
    /// The dialling end tries to connect.
    Dial {
        /// Channel.
        channel: usize,
    },
    /// A request of a connection that is gone reaches the witness all the same.
    Straggler {
        /// Host that sent it.
        host: HostId,
        /// About which guest.
        guest: GuestId,
        /// What.
        request: WitnessRequest,
    },
    /// The guest makes a step.
    Step {
        /// Where.
        host: HostId,
        /// Which guest.
        guest: GuestId,
        /// Its domain.
        id: u64,
    },
    /// A guest that was taken over uses its devices again.
    Settles {
        /// Where.
        host: HostId,
        /// Which guest.
        guest: GuestId,
        /// Its domain.
        id: u64,
    },
    /// A capture thread carries out its next order.
    Captures {
        /// Where.
        host: HostId,
        /// Engine.
        life: u64,
        /// Its place on the bench.
        slot: usize,
    },
    /// An encode thread works off what it has.
    Encodes {
        /// Where.
        host: HostId,
        /// Engine.
        life: u64,
        /// Its place on the bench.
        slot: usize,
    },
    /// A receive thread works on.
    Works {
        /// Where.
        host: HostId,
        /// Engine.
        life: u64,
        /// Its place on the bench.
        slot: usize,
    },
    /// An engine looks for guests that nobody sees to.
    Finds {
        /// Where.
        host: HostId,
        /// Engine.
        life: u64,
    },
    /// The witness's write is done.
    PersistEnds {
        /// Incarnation of the witness.
        life: u64,
        /// Of the write.
        ticket: u64,
    },
    /// Something goes wrong.
    Strikes(Fault),
    /// Messages pass again.
    StallEnds {
        /// Channel.
        channel: usize,
    },
    /// A mutant: nobody is asked.
    TakesOverAlone {
        /// Where.
        host: HostId,
        /// Which guest.
        guest: GuestId,
    },
    /// A guest's frames go into its queue again.
    RedirectIsBack {
        /// Which guest.
        guest: GuestId,
    },
    /// The engine hears that frames went another way.
    BreachIsSeen {
        /// Where.
        host: HostId,
        /// Which guest.
        guest: GuestId,
    },
    /// The link is as fast as before.
    SlownessEnds {
        /// Channel.
        channel: usize,
    },
    /// A crashed node comes back.
    Restarts {
        /// Which.
        node: usize,
    },
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
    /// The heap gives its greatest first, so the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// Everything to come.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Entry>,
    order: u64,
}

impl Agenda {
    /// Puts an event in.
    pub fn add(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.heap.push(Entry { at, order: self.order, event });
    }

    /// When the next event is.
    pub fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Takes the next event, with its place among equals.
    pub fn pop(&mut self) -> Option<(Time, u64, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.order, entry.event))
    }

    /// Puts an event off to a later time; among others put off to that time it keeps its place.
    pub fn put_off(&mut self, at: Time, order: u64, event: Event) {
        self.heap.push(Entry { at, order, event });
    }
}
