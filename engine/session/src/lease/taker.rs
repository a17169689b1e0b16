//! [`Taker`]: the other host takes a lease away once its holder cannot run any more.

use super::{Lease, Standing};
use crate::{Span, Time};
use alloc::collections::VecDeque;

/// What a driver does for a [`Taker`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TakerOutput {
    /// Read the lease. May be lost; it is said again.
    Look,
    /// Swap this lease for one that is *taken*. What becomes of it is told as any other record.
    TakeAway {
        /// The record that is to be replaced.
        lease: Lease,
    },
    /// Nothing of the host runs any more.
    Fenced,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Looking,
    /// The newest record, and when it was seen first.
    Waiting {
        lease: Lease,
        since: Time,
    },
    Fenced,
}

/// How often the lease is looked at.
const LOOK_EVERY: Span = Span::from_ms(500);

/// The machine.
#[derive(Debug)]
pub struct Taker {
    phase: Phase,
    look_at: Time,
    out: VecDeque<TakerOutput>,
}

impl Taker {
    /// Begins to take a host's lease away.
    pub fn new(now: Time) -> Self {
        Self { phase: Phase::Looking, look_at: now, out: VecDeque::new() }
    }

    /// The arbiter says how the lease stands; answers may come late and in any order. A record that is absent says nothing,
    /// and is not told: the host may have run before its record was lost.
    pub fn told(&mut self, now: Time, lease: Lease) {
        match (self.phase, lease.standing) {
            (Phase::Fenced, _) => {}
            // An older number is an answer that came late.
            (Phase::Waiting { lease: seen, .. }, _) if lease.number <= seen.number => {}
            (_, Standing::Released | Standing::Taken) => {
                self.phase = Phase::Fenced;
                self.out.push_back(TakerOutput::Fenced);
            }
            (_, Standing::Held) => self.phase = Phase::Waiting { lease, since: now },
        }
    }

    /// When the lease may be taken away, as far as is known; `None` before anything was told.
    pub fn waits_until(&self) -> Option<Time> {
        match self.phase {
            Phase::Waiting { lease, since } => Some(since + lease.terms.wait()),
            Phase::Looking | Phase::Fenced => None,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        (self.phase != Phase::Fenced).then_some(self.look_at)
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.look_at > now || self.phase == Phase::Fenced {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        match self.phase {
            Phase::Waiting { lease, since } if now >= since + lease.terms.wait() => {
                self.out.push_back(TakerOutput::TakeAway { lease });
            }
            Phase::Looking | Phase::Waiting { .. } => self.out.push_back(TakerOutput::Look),
            Phase::Fenced => {}
        }
    }

    /// What to do, until it is `None`.
    pub fn poll_output(&mut self) -> Option<TakerOutput> {
        self.out.pop_front()
    }
}
