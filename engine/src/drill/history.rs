//! What the clients of one guest saw: every request with its moment, and every answer with its moment.
//!
//! This is the drill's only evidence about the guest. Nothing here knows of hosts, epochs or generations, so
//! an engine that lies about itself cannot improve its result.
//!
//! ```text
//!   client ──request──►  invoked                                  an operation takes effect once, somewhere
//!          ◄──answer───  Answered { at, value }                   between these two moments,
//!          (nothing)     Unknown                                  or, unknown, at any later moment or never
//! ```

use std::collections::BTreeMap;
use std::ops::Add;
use std::time::Duration;

/// A point on this machine's monotonic clock, in nanoseconds. All processes of a drill share that clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The present moment.
    pub fn now() -> Self {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .expect("every Linux has CLOCK_MONOTONIC");
        Self(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
    }

    /// How long after `earlier` this is; nothing if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_nanos() as u64))
    }
}

/// A client of the drill, numbered from 0 over all guests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u16);

/// A key of the guest's key-value service, by the rule it is judged with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    /// Only ever incremented by one, by any client.
    Counter(u16),
    /// Only ever set by the one client of that number, to 1, 2, 3 …; read by anyone.
    Register(u16),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Counter(number) => write!(f, "counter{number}"),
            Self::Register(number) => write!(f, "register{number}"),
        }
    }
}

/// What a client asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Add one to a counter; the answer is the new value.
    Incr,
    /// Set a register to this value.
    Set(u64),
    /// Read.
    Get,
}

/// What became of a request, as far as its client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// No answer came: it may have taken effect, may still take effect, or never will.
    Unknown,
    /// Answered with this value (for a set: the value that was set).
    Answered {
        /// When the answer reached the client.
        at: Moment,
        value: u64,
    },
    /// An answer came that the service never gives in a sane state (an error, a missing key, another value).
    Nonsense {
        /// When it reached the client.
        at: Moment,
    },
}

/// One request and what became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    pub client: ClientId,
    /// The request's number in the datagram header; wraps, so it names an operation only near a moment.
    pub request: u16,
    pub key: Key,
    pub action: Action,
    /// When the request left the client.
    pub invoked: Moment,
    /// What became of it.
    pub outcome: Outcome,
}

impl Operation {
    /// When the answer came, and its value; `None` if unknown or nonsense.
    pub fn answer(&self) -> Option<(Moment, u64)> {
        match self.outcome {
            Outcome::Answered { at, value } => Some((at, value)),
            Outcome::Unknown | Outcome::Nonsense { .. } => None,
        }
    }
}

/// An answer that no open request explains: the request was answered before, or never made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Surplus {
    pub client: ClientId,
    /// The request's number it claims to answer.
    pub request: u16,
    pub at: Moment,
    /// Byte for byte the answer that the request has had.
    pub is_repeated: bool,
}

/// What each key is known to hold when a round begins: read at the end of the round before, with no request
/// open. Absent keys hold 0.
pub type Baseline = BTreeMap<Key, u64>;

/// All that the clients of one guest saw in one round.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What the keys held before.
    pub baseline: Baseline,
    /// Every request, in any order.
    pub operations: Vec<Operation>,
    /// Answers too many.
    pub surplus: Vec<Surplus>,
}

impl History {
    /// Adds what another client of the same guest saw.
    pub fn absorb(&mut self, operations: Vec<Operation>, surplus: Vec<Surplus>) {
        self.operations.extend(operations);
        self.surplus.extend(surplus);
    }

    /// What the keys hold at the end: the newest answered read of each, which the next round builds upon.
    pub fn final_values(&self) -> Baseline {
        let mut newest: BTreeMap<Key, (Moment, u64)> = BTreeMap::new();
        for operation in &self.operations {
            let (Action::Get, Some((_, value))) = (operation.action, operation.answer()) else { continue };
            let seen = newest.entry(operation.key).or_insert((operation.invoked, value));
            if operation.invoked >= seen.0 {
                *seen = (operation.invoked, value);
            }
        }
        newest.into_iter().map(|(key, (_, value))| (key, value)).collect()
    }
}
