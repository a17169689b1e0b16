//! What a node has seen change, for programs and people: the JSON of `events --output json`, documented in docs/STATUS.md. Keys and
//! values are added, and never changed.

use super::GuestRole;
use serde::{Deserialize, Serialize};

/// The most events in one answer.
pub const ANSWERED_MAX: usize = 256;

/// The longest time that a node delays an answer until the next event: shorter than a client waits for an answer.
pub const WAIT_MS_MAX: u64 = 3_000;

/// The subject of an event.
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
    /// Numbered from 1 since the node started, without gaps.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The kind of thing whose state changed.
    pub subject: Subject,
    /// The name of the guest, the peer or the node.
    pub name: String,
    /// The state now.
    pub state: String,
    /// The state before; empty the first time.
    pub was: String,
    /// The node's role for the guest; empty for other subjects.
    pub role: Option<GuestRole>,
    /// The guest's fencing token; empty for other subjects.
    pub generation: Option<u64>,
    /// The reason in words; may be empty.
    pub reason: String,
}

/// An answer.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Events {
    pub node: String,
    /// Identifies the process: another process numbers its events anew.
    pub pid: u32,
    /// The newest number given.
    pub newest: u64,
    /// The number of requested events that are no longer kept.
    pub lost: u64,
    /// In order; more may follow.
    pub events: Vec<Event>,
}
