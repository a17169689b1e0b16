//! [`Lease`]: what an arbiter keeps of a host, and who may change it. The rules are pure, so that a client of etcd uses them too.
//!
//! ```text
//!   (none) ── the host ──► held ◄─► held, one higher         the host renews
//!                           │ ├──── the host ──► released    it has stopped its watchdog, and no such guest is left
//!                           │ └──── another ───► taken       the wait is over
//!                           └◄───── the host ─── released, taken
//! ```
//!
//! Every change adds one to `number`.

use super::Terms;
use crate::{NodeName, RequestId, Span, WitnessOutcome};

/// How a host's lease stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The host's watchdog runs, or is about to.
    Held,
    /// It was given back: the host's watchdog is stopped, and no guest that needs it is left there.
    Released,
    /// It was taken away: nothing of what the host ran under it runs any more.
    Taken,
}

impl Standing {
    /// As files and etcd have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Released => "released",
            Self::Taken => "taken",
        }
    }

    /// The standing with this word.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Held, Self::Released, Self::Taken].into_iter().find(|it| it.word() == word)
    }
}

/// The record of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Grows by one with each change.
    pub number: u64,
    /// How it stands.
    pub standing: Standing,
    /// What may still be running was armed by these terms, or by shorter ones.
    pub terms: Terms,
}

/// A request to an arbiter about a host's lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseRequest {
    /// Tell it.
    Read {
        /// The request's number.
        id: RequestId,
    },
    /// Replace the one with the number `expect` (0: none).
    Swap {
        /// The request's number.
        id: RequestId,
        /// The number of the record that is to be replaced.
        expect: u64,
        /// What replaces it.
        new: Lease,
    },
}

impl LeaseRequest {
    /// The request's number.
    pub fn id(&self) -> RequestId {
        match self {
            Self::Read { id } | Self::Swap { id, .. } => *id,
        }
    }
}

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseReply {
    /// The request's number.
    pub id: RequestId,
    /// What became of the request.
    pub outcome: WitnessOutcome,
    /// The record as it stands now; `None` if there is none.
    pub lease: Option<Lease>,
}

impl Lease {
    /// A record of these numbers; `None` if no record can have them.
    pub fn of_numbers(number: u64, standing: Standing, watchdog_ms: u32) -> Option<Self> {
        let terms = Terms::new(Span::from_ms(u64::from(watchdog_ms))).ok()?;
        (number > 0).then_some(Self { number, standing, terms })
    }

    /// Its watchdog in milliseconds, as records have it.
    pub fn watchdog_ms(&self) -> u32 {
        (self.terms.watchdog().0 / 1_000_000) as u32
    }
}

/// Judges a swap of the lease of `host` by `from` against the record `held`: one judged `Swapped` may replace `held` and no
/// other record.
pub fn judge(
    held: Option<&Lease>,
    expect: u64,
    new: &Lease,
    host: &NodeName,
    from: &NodeName,
) -> WitnessOutcome {
    if held.map_or(0, |lease| lease.number) != expect {
        return WitnessOutcome::Conflict;
    }
    let stands = held.map(|lease| lease.standing);
    let legal = match (new.standing, stands) {
        (Standing::Held, _) => from == host,
        (Standing::Released, Some(Standing::Held)) => from == host,
        (Standing::Taken, Some(Standing::Held)) => from != host,
        (Standing::Released | Standing::Taken, _) => false,
    };
    let counted = expect.checked_add(1) == Some(new.number);
    if counted && legal { WitnessOutcome::Swapped } else { WitnessOutcome::Illegal }
}
