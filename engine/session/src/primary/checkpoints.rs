//! When a primary captures, how long output may wait for an ack, and how long it rests before the next full sync.
//!
//! ```text
//!   ack or a seed's cut ──── slow_max ────► Late ──── hold_max ────► the copy is given up (policy Stretch)
//!                                │
//!                                └► given up at once (policy Unprotect, or captures that fail)
//! ```
//!
//! The wait is measured from the last ack or the oldest epoch in flight, over any number of links.

use super::super::{Span, Time, ToSecondary};
use super::machine::Primary;
use super::phase::{Handover, Peer, Phase};
use super::{Capture, Event, GiveUp, Output, SlowPolicy};
use understudy_checkpoint::Generation;

/// The rest before the next full sync doubles this many times at most.
const DOUBLINGS_MAX: u32 = 3;

impl Primary {
    /// Offers this generation on a link that has not seen it. Without a witness, a new session first asks the peer what
    /// it knows, in generation 0, in which no guest ever runs.
    pub(super) fn offer(&mut self) {
        if self.beats() && self.peer() == Some(Peer::Unasked) {
            self.end_copy();
            self.peer = Peer::Offered;
            self.beat();
        }
    }

    /// Whether to send signs of life. A primary that can make no more checkpoints is silent while its copy is fresh, so
    /// that the secondary decides.
    pub(super) fn beats(&self) -> bool {
        match &self.phase {
            Phase::Asking { .. } => !matches!(self.peer(), Some(Peer::Present | Peer::Following)),
            // A guest that has ended must not be taken over.
            Phase::MarkingStale { why, .. } => self.can_capture || *why == GiveUp::GuestGone,
            // A primary at the other end would take silence for a dead link.
            Phase::Held(_) => !self.config.has_witness && self.generation > Generation(0),
            phase => phase.speaks(),
        }
    }

    /// Sends a sign of life. An offer is repeated until it is answered: the first one may have reached an older
    /// generation's primary, whose successor, a secondary, has not seen it.
    pub(super) fn beat(&mut self) {
        let generation = self.generation;
        let message = match self.peer() {
            Some(Peer::Offered) => ToSecondary::Offer { generation, acked: self.flow.acked() },
            _ => ToSecondary::Heartbeat { generation },
        };
        self.send(message);
    }

    pub(super) fn send(&mut self, message: ToSecondary) {
        if self.link.is_up() {
            self.link.sent(self.now);
            self.out.push(Output::Send(message));
        }
    }

    /// Begins the capture that is due, if any.
    pub(super) fn capture(&mut self) {
        let stretched = self.is_flowing() && self.flow.is_stretched(self.now);
        if stretched && !self.stretch_reported {
            self.out.push(Output::Report(Event::Stretched));
        }
        self.stretch_reported = stretched;
        if self.capture_at().is_none_or(|at| at > self.now) {
            return;
        }
        let closing = matches!(self.phase, Phase::SwitchingOver(Handover::Waiting));
        let paced_by = self.flow.due_at().and_then(|due| self.paced_by_copy(due).1);
        let (epoch, capture) = match self.phase {
            Phase::Unprotected { .. } => (self.flow.begin_seed(), Capture::Seed),
            _ => self.flow.begin_checkpoint(closing),
        };
        match self.phase {
            Phase::Unprotected { .. } => {
                self.peer = Peer::Following;
                self.is_diverged = false;
                self.phase = Phase::Seeding { epoch };
                self.out.push(Output::Report(Event::Seed));
            }
            Phase::SwitchingOver(_) => {
                let ends_at = self.now + self.config.hold_max;
                self.phase = Phase::SwitchingOver(Handover::Closing { epoch, ends_at });
            }
            _ => {}
        }
        paced_by.into_iter().for_each(|by| self.flow.was_paced_by(by));
        self.matching.captured(capture);
        if let Capture::Resync { base } = capture {
            self.out.push(Output::Report(Event::Resync { base }));
        }
        let generation = self.generation;
        self.out.push(Output::Capture { generation, epoch, capture, stay_paused: closing });
    }

    /// When the next capture may begin, if this phase wants one.
    pub(super) fn capture_at(&self) -> Option<Time> {
        match self.phase {
            // A guest that this session has paused would run again at the end of a capture.
            _ if !self.can_capture || self.guest_halted => None,
            Phase::Unprotected { seed_at } => {
                let wanted = self.protection_wished && self.peer() == Some(Peer::Present);
                (wanted && !self.guest_settles && self.flow.capturing().is_none()).then_some(seed_at)
            }
            Phase::SwitchingOver(Handover::Waiting) => self.flow.capturing().is_none().then_some(Time(0)),
            // The answer is a round trip away. If it does not come, output must not wait for it.
            Phase::MarkingStale { since, .. } if self.is_flowing() => {
                self.flow.due_at().map(|at| at.max(since + self.config.witness_retry))
            }
            _ if self.is_flowing() => self.flow.due_at().map(|due| self.paced_by_copy(due).0),
            _ => None,
        }
    }

    /// Whether this phase makes one checkpoint after the other.
    pub(super) fn is_flowing(&self) -> bool {
        let wanted = match self.phase {
            Phase::Seeding { .. } | Phase::Arming | Phase::Protected => true,
            Phase::MarkingStale { why, .. } => {
                !matches!(why, GiveUp::GuestGone | GiveUp::Leak | GiveUp::CaptureFails | GiveUp::Broken)
            }
            _ => false,
        };
        wanted && self.can_capture && self.flow.has_account() && self.peer() == Some(Peer::Following)
    }

    /// When to give the copy up, however often the link comes and goes. Without a witness a person does that.
    pub(super) fn too_slow_at(&self) -> Option<Time> {
        let fails = self.flow.is_failing();
        let wait_max = match self.config.slow_policy {
            _ if fails => self.config.slow_max,
            SlowPolicy::Unprotect => self.config.slow_max,
            SlowPolicy::Stretch => self.config.slow_max.max(self.config.hold_max),
        };
        let is_watched = matches!(
            self.phase,
            Phase::Seeding { .. }
                | Phase::Arming
                | Phase::Protected
                | Phase::LinkLost { .. }
                | Phase::SwitchingOver(Handover::Waiting)
        );
        let held_at = self.flow.held_at().filter(|_| is_watched && self.config.has_witness);
        held_at.map(|at| at + self.at_this_interval(wait_max))
    }

    /// When the newest commit is too old for a guest that is called protected.
    pub(super) fn late_at(&self) -> Option<Time> {
        let watched = matches!(self.phase, Phase::Protected) && !self.is_late;
        let held_at = self.flow.held_at().filter(|_| watched);
        held_at.map(|at| at + self.at_this_interval(self.config.slow_max))
    }

    /// Whether the next commit will be late as well.
    pub(super) fn late_again(&self) -> bool {
        let bound = self.at_this_interval(self.config.slow_max);
        self.flow.held_at().is_some_and(|at| at + bound <= self.now)
    }

    /// The bound for waiting for an ack. It grows with the interval, since an ack cannot come sooner.
    fn at_this_interval(&self, bound: Span) -> Span {
        let interval = self.flow.pacer().pacing().interval_max();
        let interval = self.matching.period().map_or(interval, |period| period.max(interval));
        bound.max(Span(interval.0.saturating_mul(2)))
    }

    /// Checks whether commits still come, and in time.
    pub(super) fn watch_commits(&mut self) {
        if self.late_at().is_some_and(|at| at <= self.now) {
            self.is_late = true;
        }
        if self.too_slow_at().is_some_and(|at| at <= self.now) {
            let why = if self.flow.is_failing() { GiveUp::CaptureFails } else { GiveUp::TooSlow };
            self.out.push(Output::Report(Event::TooSlow { why }));
            self.give_up(why);
        }
    }

    /// How long to wait before the next full sync: longer after each failure.
    pub(super) fn rest(&mut self, why: GiveUp) -> Span {
        match why {
            GiveUp::SeedFailed | GiveUp::TooSlow | GiveUp::Leak | GiveUp::CaptureFails | GiveUp::Broken => {
                let doublings = self.failures.min(DOUBLINGS_MAX);
                self.failures = self.failures.saturating_add(1);
                Span(self.config.slow_max.0.saturating_mul(1 << doublings))
            }
            _ => Span(0),
        }
    }
}
