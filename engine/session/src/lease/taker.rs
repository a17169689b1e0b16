//! [`Taker`]: the other host takes a lease away once its holder cannot run any more.

use super::Terms;
use crate::{Span, Time};
use alloc::collections::VecDeque;

/// What the arbiter says of a host's lease. A record that is absent says nothing: the host may have run before it was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Its newest number.
    Held {
        /// The number.
        number: u64,
    },
    /// It was given back, with the watchdog stopped and no guest left.
    Released,
    /// It was taken away.
    Taken,
}

/// What a driver does for a [`Taker`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TakerOutput {
    /// Read the lease. May be lost; it is said again.
    Look,
    /// Swap the lease from this number to *taken*. What becomes of it is told as any other standing.
    TakeAway {
        /// The number.
        number: u64,
    },
    /// Nothing of the host runs any more.
    Fenced,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Looking,
    /// The newest number, and when it was seen first.
    Waiting {
        number: u64,
        since: Time,
    },
    Fenced,
}

/// The machine.
#[derive(Debug)]
pub struct Taker {
    terms: Terms,
    phase: Phase,
    look_at: Time,
    out: VecDeque<TakerOutput>,
}

impl Taker {
    /// Begins to take a host's lease away.
    pub fn new(terms: Terms, now: Time) -> Self {
        Self { terms, phase: Phase::Looking, look_at: now, out: VecDeque::new() }
    }

    /// The arbiter says how the lease stands; answers may come late and in any order.
    pub fn told(&mut self, now: Time, standing: Standing) {
        match (self.phase, standing) {
            (Phase::Fenced, _) => {}
            (_, Standing::Released | Standing::Taken) => {
                self.phase = Phase::Fenced;
                self.out.push_back(TakerOutput::Fenced);
            }
            // An older number is an answer that came late.
            (Phase::Waiting { number: seen, .. }, Standing::Held { number }) if number <= seen => {}
            (_, Standing::Held { number }) => self.phase = Phase::Waiting { number, since: now },
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
        self.look_at = now + Span(self.terms.wait().0 / 8);
        match self.phase {
            Phase::Waiting { number, since } if now >= since + self.terms.wait() => {
                self.out.push_back(TakerOutput::TakeAway { number });
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
