//! What a node has seen change, for programs and people: the JSON of `events --output json`, documented in docs/STATUS.md. Keys and
//! values are added, and never changed.

use super::GuestRole;
use serde::{Deserialize, Serialize};

/// Events in one answer, at most.
pub const ANSWERED_MAX: usize = 256;

/// How long a node has somebody wait for the next event, at most: shorter than a client waits for an answer.
pub const WAIT_MS_MAX: u64 = 3_000;

/// Of what something changed.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The node itself: `started`.
    Node,
    /// A guest: a state as in the status, or `gone`.
    Guest,
    /// The link to a peer: `up` or `down`.
    Link,
    /// The witness: `up` or `down`.
    Witness,
    /// Maintenance: `on` or `off`.
    Maintenance,
}

/// One change.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Counted from 1 since the node began; none is left out.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Of what.
    pub subject: Subject,
    /// Whose: the guest's, the peer's, or the node's name.
    pub name: String,
    /// How it stands now.
    pub state: String,
    /// How it stood before; empty the first time.
    pub was: String,
    /// What this node is to the guest; nothing for others.
    pub role: Option<GuestRole>,
    /// The guest's fencing token; nothing for others.
    pub generation: Option<u64>,
    /// Why, in words; empty if there is nothing to say.
    pub reason: String,
}

/// An answer.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Events {
    /// The node.
    pub node: String,
    /// Its process: numbers of another one are other numbers.
    pub pid: u32,
    /// The newest number given.
    pub newest: u64,
    /// How many that were asked for are gone: they were asked for too late.
    pub lost: u64,
    /// In order; there may be more.
    pub events: Vec<Event>,
}
