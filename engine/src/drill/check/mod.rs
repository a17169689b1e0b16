//! The checker: decides from what the clients and the switch saw whether a failure cost anything.
//!
//! It knows nothing of the engine. Its rules:
//!
//! * no acknowledged write is lost, no counter goes back, nothing comes from nowhere (`counter`, `register`)
//! * no reply from two owners (`owners`), no request answered twice: but a copy that takes over repeats, byte for byte,
//!   what it cannot know to have left its peer, as a network may at any time
//! * connections go on: every client gets answers, from the same address and port, to requests it made after
//!   the failure
//!
//! A request of unknown outcome weakens the bounds by exactly what it may have done, no more.

mod counter;
mod owners;
mod register;
mod timeline;

#[cfg(test)]
mod mutants;

use super::history::{ClientId, History, Key, Moment, Operation, Outcome};
use super::sightings::{HostId, Sightings};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Who may own the guest in a round, and what must go on.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Hosts that may send the guest's frames, in this order.
    pub owners: Vec<HostId>,
    /// An old owner may still owe answers to requests made before this moment: when it was stopped, or when the
    /// new owner was given authority.
    pub owed_before: Moment,
    /// Where a copy ran, it sends again what it cannot know to have left: requests made before this moment may be answered
    /// a second time with the same bytes. `None`: no request may.
    pub repeats_before: Option<Moment>,
    /// Each of these clients must get an answer to a request made after `resumed`.
    pub clients: Vec<ClientId>,
    /// From when on service is expected again.
    pub resumed: Moment,
}

/// A broken promise, with its evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Violation {
    /// An answer does not contain a write that was acknowledged before the question was asked.
    LostWrite {
        key: Key,
        client: ClientId,
        at: Moment,
        value: u64,
        /// The least that acknowledged writes allow.
        least: u64,
    },
    /// An answer is older than one that someone had before the question was asked.
    WentBack {
        key: Key,
        client: ClientId,
        at: Moment,
        value: u64,
        /// What had been seen.
        seen: u64,
    },
    /// An answer contains a write that nobody had asked for.
    FromNowhere {
        key: Key,
        client: ClientId,
        at: Moment,
        value: u64,
        /// The most that was asked for.
        most: u64,
    },
    /// Two increments were answered with the same value: one of them is lost.
    SameValueTwice {
        key: Key,
        value: u64,
        first: ClientId,
        /// Who got it too.
        second: ClientId,
        /// When the second got it.
        at: Moment,
    },
    /// A request was answered twice, or an answer came to no request.
    AnsweredTwice {
        client: ClientId,
        /// Number of the request.
        request: u16,
        at: Moment,
    },
    /// An answer that the service never gives in a sane state.
    Nonsense { key: Key, client: ClientId, at: Moment },
    /// An old owner answered after the new one had begun.
    TwoOwners {
        /// The old owner.
        host: HostId,
        /// When its frame was seen.
        at: Moment,
        /// Why it did not owe that frame.
        why: Unowed,
    },
    /// A host sent the guest's frames that never had authority in this round.
    StrayOwner {
        host: HostId,
        /// When its first frame was seen.
        at: Moment,
        frames: u64,
    },
    /// A client got no answer any more.
    ConnectionLost { client: ClientId },
}

/// Why an old owner did not owe a frame that it sent late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unowed {
    /// It is no answer of the service, but an announcement, or something that the guest should never send.
    NoAnswer,
    /// It answers a request that was made this long after the owner had lost its authority.
    AskedLater { by: Duration },
    /// There were more such frames than are looked at.
    TooMany,
}

impl fmt::Display for Unowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => write!(f, "one that answers nothing"),
            Self::AskedLater { by } => {
                write!(f, "an answer to a request made {} µs after it had lost its authority", by.as_micros())
            }
            Self::TooMany => write!(f, "more than are looked at one by one"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostWrite { key, client, value, least, .. } => {
                write!(f, "Lost write: client {} read {key} = {value}, {least} was acknowledged", client.0)
            }
            Self::WentBack { key, client, value, seen, .. } => {
                write!(f, "Went back: client {} read {key} = {value}, {seen} had been seen", client.0)
            }
            Self::FromNowhere { key, client, value, most, .. } => {
                write!(f, "From nowhere: client {} read {key} = {value}, only {most} was asked for", client.0)
            }
            Self::SameValueTwice { key, value, first, second, .. } => {
                write!(f, "Lost write: clients {} and {} both raised {key} to {value}", first.0, second.0)
            }
            Self::AnsweredTwice { client, request, .. } => {
                write!(f, "Answered twice: client {} got a second answer to request {request}", client.0)
            }
            Self::Nonsense { key, client, .. } => {
                write!(f, "Nonsense: client {} got an answer about {key} that cannot be", client.0)
            }
            Self::TwoOwners { host, why, .. } => {
                write!(
                    f,
                    "Two owners: host {host} sent the guest's frames after another host had begun to: {why}"
                )
            }
            Self::StrayOwner { host, frames, .. } => {
                write!(f, "Stray owner: host {host} sent {frames} frames of the guest without authority")
            }
            Self::ConnectionLost { client } => {
                write!(f, "Connection lost: client {} got no answer after the failure", client.0)
            }
        }
    }
}

/// Judges one guest's round; no violation means that every promise was kept.
pub fn check(history: &History, sightings: &Sightings, expectation: &Expectation) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut by_key: BTreeMap<Key, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        by_key.entry(operation.key).or_default().push(operation);
    }
    for (key, operations) in &by_key {
        let baseline = history.baseline.get(key).copied().unwrap_or(0);
        match key {
            Key::Counter(_) => counter::check(*key, baseline, operations, &mut found),
            Key::Register(_) => register::check(*key, baseline, operations, &mut found),
        }
    }
    check_answers(history, expectation, &mut found);
    owners::check(history, sightings, expectation, &mut found);
    check_connections(history, expectation, &mut found);
    found
}

fn check_answers(history: &History, expectation: &Expectation, found: &mut Vec<Violation>) {
    let newest = if history.surplus.is_empty() { BTreeMap::new() } else { newest_of(history) };
    for surplus in &history.surplus {
        // A number that was not used in this round is of one before it.
        let invoked = newest.get(&(surplus.client, surplus.request)).copied().unwrap_or_default();
        if surplus.is_repeated && expectation.repeats_before.is_some_and(|before| invoked < before) {
            continue;
        }
        let (client, request, at) = (surplus.client, surplus.request, surplus.at);
        found.push(Violation::AnsweredTwice { client, request, at });
    }
    for operation in &history.operations {
        if let Outcome::Nonsense { at } = operation.outcome {
            found.push(Violation::Nonsense { key: operation.key, client: operation.client, at });
        }
    }
}

/// When each request of this round was made, by client and number. A number that wrapped counts by its newest request.
fn newest_of(history: &History) -> BTreeMap<(ClientId, u16), Moment> {
    let mut newest = BTreeMap::<(ClientId, u16), Moment>::new();
    for operation in &history.operations {
        let invoked = newest.entry((operation.client, operation.request)).or_insert(operation.invoked);
        *invoked = operation.invoked.max(*invoked);
    }
    newest
}

fn check_connections(history: &History, expectation: &Expectation, found: &mut Vec<Violation>) {
    for client in &expectation.clients {
        let goes_on = history.operations.iter().any(|operation| {
            operation.client == *client
                && operation.invoked >= expectation.resumed
                && operation.answer().is_some()
        });
        if !goes_on {
            found.push(Violation::ConnectionLost { client: *client });
        }
    }
}
