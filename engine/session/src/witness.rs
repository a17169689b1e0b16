//! The witness's session: one record per guest, changed only by compare-and-swap, and persisted before it is
//! acknowledged.
//!
//! The driver keeps the records on disk (fsync) and hands them back at start. What the owner and the holder of
//! a copy may write:
//!
//! ```text
//!             owner: stale ◄─► fresh{holder}                 holder: fresh ─► stale (its copy is lost)
//!   (none) ──────────► g, owner, stale ───────────────► g+1, owner, stale     the owner starts anew
//!    claim             g, owner, fresh{holder} ───────► g+1, holder, stale    the holder takes over
//!                      g, anyone, any copy ───────────► later, sender, stale  by a person's word (`Reclaim`)
//! ```
//!
//! Every change adds one to `revision`, even from stale to stale. An owner uses that to void a swap of its own that may
//! still be in transit.

use super::{Copy, NodeName, Record, RequestId, WitnessOutcome, WitnessReply, WitnessRequest};
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use understudy_checkpoint::Generation;

/// What the driver tells the witness.
#[derive(Clone, Debug)]
pub enum Input {
    /// A request about `guest` by `from`; the reply goes back by `client`.
    Request {
        /// The connection, by the driver's number.
        client: u64,
        /// The name in the connection's hello.
        from: NodeName,
        guest: String,
        request: WitnessRequest,
    },
    /// The `Persist` with this ticket is done.
    Persisted { ticket: u64 },
    /// `Persist` failed: its record must not be reported, and the record on disk counts again.
    PersistFailed { ticket: u64 },
}

/// What the witness tells the driver to do, in this order: see [what a driver does](crate#what-a-driver-does).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Write the record of `guest` to stable storage, then report it with the ticket.
    Persist { ticket: u64, guest: String, record: Record },
    /// Send this to a client; nothing happens if the client is gone.
    Reply { client: u64, guest: String, reply: WitnessReply },
    /// There is no room for another record. Nothing is recorded, and the claim gets no answer.
    NoRoom {
        guest: String,
        /// The node that claims it.
        from: NodeName,
    },
}

/// The most guests that may have a record. A record takes about a hundred bytes, and a witness is a small machine.
pub const GUESTS_MAX: usize = 16_384;

/// The most guests that one node may own: as many as its peer accepts offers of. No node can fill a witness alone.
pub const GUESTS_OF_ONE_MAX: usize = 1_024;

/// The most requests about one guest that wait for its record to become stable. Further ones get no answer; clients
/// repeat them.
const WAITING_MAX: usize = 64;

#[derive(Debug)]
struct Waiting {
    client: u64,
    from: NodeName,
    request: WitnessRequest,
}

#[derive(Debug)]
struct Persisting {
    ticket: u64,
    record: Record,
    client: u64,
    id: RequestId,
}

/// One guest's register.
#[derive(Debug, Default)]
struct Register {
    /// What stable storage holds.
    stable: Option<Record>,
    /// The record that is being written. Until it is stable, no request about this guest is answered.
    persisting: Option<Persisting>,
    waiting: VecDeque<Waiting>,
    /// The order in which guests came; 0 if the record was there at the start.
    came: u64,
}

/// The witness of many guests.
#[derive(Debug)]
pub struct Witness {
    guests: BTreeMap<String, Register>,
    tickets_used: u64,
    room: Room,
    out: VecDeque<Output>,
}

/// How many guests may have a record.
#[derive(Clone, Copy, Debug)]
struct Room {
    guests_max: usize,
    of_one_max: usize,
}

impl Witness {
    /// A witness that starts with `records`, which were read from stable storage.
    pub fn new(records: impl IntoIterator<Item = (String, Record)>) -> Self {
        let held = |(guest, record)| (guest, Register { stable: Some(record), ..Register::default() });
        let room = Room { guests_max: GUESTS_MAX, of_one_max: GUESTS_OF_ONE_MAX };
        Self { guests: records.into_iter().map(held).collect(), tickets_used: 0, room, out: VecDeque::new() }
    }

    /// Takes one input; [`poll_output`](Self::poll_output) then says what follows from it. There are no timers: clients
    /// repeat what is not answered.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Request { client, from, guest, request } => {
                if !self.guests.contains_key(&guest) && is_claim(&request) && !self.has_room_for(&from) {
                    self.out.push_back(Output::NoRoom { guest, from });
                    return;
                }
                let came = self.tickets_used + 1;
                let new = || Register { came, ..Register::default() };
                let register = self.guests.entry(guest.clone()).or_insert_with(new);
                if register.waiting.len() < WAITING_MAX {
                    register.waiting.push_back(Waiting { client, from, request });
                }
                self.serve(&guest);
            }
            Input::Persisted { ticket } => self.persisted(ticket, true),
            Input::PersistFailed { ticket } => self.persisted(ticket, false),
        }
    }

    /// What to do next; `None` once nothing is left to do before the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// The stable record of a guest.
    pub fn record(&self, guest: &str) -> Option<&Record> {
        self.guests.get(guest)?.stable.as_ref()
    }

    /// All guests with a stable record.
    pub fn records(&self) -> impl Iterator<Item = (&str, &Record)> {
        self.guests.iter().filter_map(|(guest, register)| Some((guest.as_str(), register.stable.as_ref()?)))
    }

    /// When each node was first named by a record, as owner or holder: the smaller the number, the earlier.
    pub fn known_nodes(&self) -> BTreeMap<NodeName, u64> {
        let mut known = BTreeMap::new();
        for register in self.guests.values() {
            let Some(record) = &register.stable else { continue };
            let holder = match &record.copy {
                Copy::Fresh { holder } => Some(holder),
                Copy::Stale => None,
            };
            for node in holder.into_iter().chain([&record.owner]) {
                let since = known.entry(node.clone()).or_insert(register.came);
                *since = register.came.min(*since);
            }
        }
        known
    }

    /// Whether this node may claim another guest. Guests that have a record already are not affected.
    fn has_room_for(&self, node: &NodeName) -> bool {
        let owner = |register: &Register| {
            let persisting = register.persisting.as_ref().map(|persisting| &persisting.record);
            persisting.or(register.stable.as_ref()).is_some_and(|record| record.owner == *node)
        };
        self.guests.len() < self.room.guests_max
            && self.guests.values().filter(|register| owner(register)).count() < self.room.of_one_max
    }

    /// A failed write may still have reached the disk. That is as if the swap had arrived later: the next record that
    /// is written has a revision that voids it.
    fn persisted(&mut self, ticket: u64, done: bool) {
        let is_it = |register: &Register| register.persisting.as_ref().is_some_and(|p| p.ticket == ticket);
        let Some((guest, register)) = self.guests.iter_mut().find(|(_, register)| is_it(register)) else {
            return;
        };
        let guest = guest.clone();
        if let Some(Persisting { record, client, id, .. }) = register.persisting.take()
            && done
        {
            let before = register.stable.as_ref().map(|stable| (stable.revision, stable.generation));
            assert!(
                before.is_none_or(|(revision, generation)| {
                    revision < record.revision && generation <= record.generation
                }),
                "a record only grows: {record:?} after {:?}",
                register.stable
            );
            register.stable = Some(record.clone());
            let reply = WitnessReply { id, outcome: WitnessOutcome::Swapped, record: Some(record) };
            self.out.push_back(Output::Reply { client, guest: guest.clone(), reply });
        }
        self.serve(&guest);
    }

    /// Answers the requests that wait for this guest, up to and including the first legal swap.
    fn serve(&mut self, guest: &str) {
        let Some(register) = self.guests.get_mut(guest) else { return };
        while register.persisting.is_none()
            && let Some(Waiting { client, from, request }) = register.waiting.pop_front()
        {
            let (id, outcome) = match request {
                WitnessRequest::Read { id } => (id, WitnessOutcome::Told),
                WitnessRequest::Swap { id, expect, ref new }
                | WitnessRequest::Reclaim { id, expect, ref new } => {
                    let by_person = matches!(request, WitnessRequest::Reclaim { .. });
                    let new = new.clone();
                    match judge(register.stable.as_ref(), expect, &new, &from, by_person) {
                        WitnessOutcome::Swapped => {
                            self.tickets_used += 1;
                            let ticket = self.tickets_used;
                            self.out.push_back(Output::Persist {
                                ticket,
                                guest: guest.to_owned(),
                                record: new.clone(),
                            });
                            register.persisting = Some(Persisting { ticket, record: new, client, id });
                            continue;
                        }
                        refused => (id, refused),
                    }
                }
            };
            let reply = WitnessReply { id, outcome, record: register.stable.clone() };
            self.out.push_back(Output::Reply { client, guest: guest.to_owned(), reply });
        }
        if register.stable.is_none() && register.persisting.is_none() {
            self.guests.remove(guest);
        }
    }
}

/// Whether the request would create or change a record.
fn is_claim(request: &WitnessRequest) -> bool {
    !matches!(request, WitnessRequest::Read { .. })
}

/// Judges a swap by `from` against the record `held`, by all the rules of authority. It is pure, so that a client of
/// another store can use it too: a swap judged `Swapped` may replace `held` and no other record.
pub fn judge(
    held: Option<&Record>,
    expect: u64,
    new: &Record,
    from: &NodeName,
    by_person: bool,
) -> WitnessOutcome {
    if held.map_or(0, |record| record.revision) != expect {
        return WitnessOutcome::Conflict;
    }
    let counted = expect.checked_add(1) == Some(new.revision);
    let legal = match held {
        held if by_person => is_reclaim(held, new, from),
        None => is_first_claim(new, from),
        Some(held) if new.generation == held.generation => is_marking(held, new, from),
        Some(held) => is_new_generation(held, new, from),
    };
    if counted && legal { WitnessOutcome::Swapped } else { WitnessOutcome::Illegal }
}

/// A guest without a record begins in generation 1, unprotected, with the node that asks.
fn is_first_claim(new: &Record, from: &NodeName) -> bool {
    new.generation == Generation(1) && new.owner == *from && new.copy == Copy::Stale
}

/// A person vouches that only `from` has the guest. Generations still only grow, even past those whose records this
/// witness has lost.
fn is_reclaim(held: Option<&Record>, new: &Record, from: &NodeName) -> bool {
    let before = held.map_or(Generation(0), |held| held.generation);
    new.generation > before && new.owner == *from && new.copy == Copy::Stale
}

/// Within a generation the owner says whether there is a copy. A holder may only say that its copy is lost.
fn is_marking(held: &Record, new: &Record, from: &NodeName) -> bool {
    if new.owner != held.owner {
        return false;
    }
    match &new.copy {
        Copy::Stale => *from == held.owner || is_held_by(&held.copy, from),
        Copy::Fresh { holder } => *from == held.owner && *holder != held.owner,
    }
}

/// A takeover by the holder of a fresh copy, or a new start by the owner of a guest that has no copy left.
fn is_new_generation(held: &Record, new: &Record, from: &NodeName) -> bool {
    let takeover = is_held_by(&held.copy, from);
    let restart = held.owner == *from && held.copy == Copy::Stale;
    let next = held.generation.0.checked_add(1) == Some(new.generation.0);
    next && new.owner == *from && new.copy == Copy::Stale && (takeover || restart)
}

fn is_held_by(copy: &Copy, node: &NodeName) -> bool {
    matches!(copy, Copy::Fresh { holder } if holder == node)
}

#[cfg(test)]
mod tests;
