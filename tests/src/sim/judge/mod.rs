//! The judges: one small file per invariant of the design. They see facts and views, never a session.

mod atomicity;
mod authority;
mod bounds;
mod output_commit;
mod world;

use super::facts::{Fact, HostView};
use std::fmt;
use understudy::session::Time;

/// The invariants that this simulator judges (`docs/DESIGN.md#invariants`). Liveness, I6, is judged at the end of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Invariant {
    /// I1: no packet of epoch e leaves before ack e, unless the copy is stale.
    OutputCommit,
    /// I2: one authority.
    Authority,
    /// I3: an image is exactly one complete epoch.
    Atomicity,
    /// I4: the epoch taken over is not older than any released one.
    Monotonicity,
    /// I5: a fenced generation never releases again.
    NoResurrection,
    /// I6: after the faults, service resumes within a bound.
    Liveness,
    /// I7: no buffer passes its limit.
    Bounds,
}

/// An invariant does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// When.
    pub at: Time,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, at, what } = self;
        write!(f, "{invariant:?} violated at {} us: {what}", at.0 / 1000)
    }
}

/// What a judge says.
pub(super) type Verdict = Result<(), (Invariant, String)>;

/// All judges of one run.
#[derive(Debug, Default)]
pub struct Judges {
    output_commit: output_commit::OutputCommit,
    authority: authority::Authority,
    atomicity: atomicity::Atomicity,
    world: world::World,
    alone: Option<Invariant>,
}

impl Judges {
    /// Judges of which only one is heard, to show what it catches by itself.
    pub fn only(alone: Option<Invariant>) -> Self {
        Self { alone, ..Self::default() }
    }

    /// Looks at one fact.
    pub fn see(&mut self, at: Time, fact: &Fact) -> Result<(), Violation> {
        self.atomicity.see(fact);
        let verdicts = [self.output_commit.see(fact), self.authority.see(fact), self.world.see(fact)];
        self.first_heard(at, verdicts)
    }

    /// Looks at how the hosts stand after an event.
    pub fn after_event(&mut self, at: Time, views: &[HostView; 2]) -> Result<(), Violation> {
        let verdicts = [self.atomicity.look(views), self.authority.look(views), bounds::look(views)];
        self.first_heard(at, verdicts)
    }

    /// Whether a violation of this invariant is to be heard.
    pub fn hears(&self, invariant: Invariant) -> bool {
        self.alone.is_none_or(|alone| alone == invariant)
    }

    fn first_heard(&self, at: Time, verdicts: [Verdict; 3]) -> Result<(), Violation> {
        let mut heard = verdicts.into_iter().filter_map(Result::err).filter(|(found, _)| self.hears(*found));
        heard.next().map_or(Ok(()), |(invariant, what)| Err(Violation { invariant, at, what }))
    }

    /// Frames that have left so far.
    pub fn frames_seen(&self) -> u64 {
        self.world.frames_seen()
    }
}
