//! [`Holder`]: a host that runs guests with shared disks renews its lease, and sets the watchdog after each renewal.

use super::Terms;
use crate::{Span, Time};
use alloc::collections::VecDeque;

/// What a driver does for a [`Holder`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HolderOutput {
    /// Swap the lease from the number before to this one. May be lost; it is said again.
    Renew {
        /// The number.
        number: u64,
    },
    /// Set the watchdog to run out at this time at the latest. It counts whole seconds, so at least one is left.
    Arm {
        /// By the driver's clock, which it reads again when it does this.
        until: Time,
    },
    /// The watchdog is near: stop the guests with shared disks, that they end in order.
    Stop,
    /// The lease is confirmed again in time.
    Go,
    /// Another host has taken the lease away: the watchdog is never set again.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is confirmed yet, and the watchdog is not armed.
    Beginning,
    /// The watchdog runs out at this time at the latest.
    Held {
        until: Time,
        is_stopped: bool,
    },
    Lost,
}

/// The machine.
#[derive(Debug)]
pub struct Holder {
    terms: Terms,
    phase: Phase,
    /// The newest number that is confirmed.
    confirmed: u64,
    /// When the next number was asked for first, if it was.
    asked: Option<Time>,
    ask_at: Time,
    out: VecDeque<HolderOutput>,
}

impl Holder {
    /// Of a lease that stands at `number`, by this host's own word of an earlier run; 0 if it never had one.
    pub fn new(terms: Terms, number: u64, now: Time) -> Self {
        let (phase, out) = (Phase::Beginning, VecDeque::new());
        Self { terms, phase, confirmed: number, asked: None, ask_at: now, out }
    }

    /// Whether guests with shared disks may run here: the watchdog is armed, and not near.
    pub fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Held { is_stopped: false, .. })
    }

    /// Whether any number was confirmed to this holder, and none was lost since.
    pub fn has_begun(&self) -> bool {
        matches!(self.phase, Phase::Held { .. })
    }

    /// The newest number that was confirmed, or that this holder began with.
    pub fn number(&self) -> u64 {
        self.confirmed
    }

    /// The arbiter has confirmed `number`.
    pub fn renewed(&mut self, now: Time, number: u64) {
        let Some(asked) = self.asked.filter(|_| number == self.confirmed + 1 && self.phase != Phase::Lost)
        else {
            return;
        };
        (self.confirmed, self.asked) = (number, None);
        // Counted from the question, as a taker may have seen the number a moment after it.
        let until = asked + self.terms.watchdog();
        if until - now < Span::from_ms(1_000) {
            // The watchdog that was set before is nearer than this one would be.
            self.ask_at = now;
            return;
        }
        self.out.push_back(HolderOutput::Arm { until });
        if matches!(self.phase, Phase::Held { is_stopped: true, .. }) {
            self.out.push_back(HolderOutput::Go);
        }
        self.phase = Phase::Held { until, is_stopped: false };
        self.ask_at = asked + self.every();
    }

    /// The arbiter says that the lease was taken away.
    pub fn taken(&mut self) {
        if self.phase != Phase::Lost {
            self.phase = Phase::Lost;
            self.out.push_back(HolderOutput::Lost);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        match self.phase {
            Phase::Lost => None,
            Phase::Held { until, is_stopped: false } => Some(self.ask_at.min(self.stop_at(until))),
            Phase::Beginning | Phase::Held { .. } => Some(self.ask_at),
        }
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.phase == Phase::Lost {
            return;
        }
        if self.ask_at <= now {
            self.asked.get_or_insert(now);
            self.ask_at = now + self.every();
            self.out.push_back(HolderOutput::Renew { number: self.confirmed + 1 });
        }
        if let Phase::Held { until, is_stopped } = &mut self.phase
            && !*is_stopped
            && now >= stop_at(*until, self.terms)
        {
            *is_stopped = true;
            self.out.push_back(HolderOutput::Stop);
        }
    }

    /// What to do, until it is `None`.
    pub fn poll_output(&mut self) -> Option<HolderOutput> {
        self.out.pop_front()
    }

    /// Four renewals fit into a watchdog.
    fn every(&self) -> Span {
        Span(self.terms.watchdog().0 / 4)
    }

    fn stop_at(&self, until: Time) -> Time {
        stop_at(until, self.terms)
    }
}

/// A quarter of the watchdog is left for guests to stop.
fn stop_at(until: Time, terms: Terms) -> Time {
    Time(until.0.saturating_sub(terms.watchdog().0 / 4))
}
