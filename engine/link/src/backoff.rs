//! When to connect again after a connection failed: soon at first, then less and less often. Pure.

use understudy_session::{Span, Time};

/// The first wait, and the wait after a link that had been up. Short, so that a flap heals within a grace.
const FIRST: Span = Span::from_ms(10);

/// The longest wait. A host that returns is found within this time.
const LONGEST: Span = Span::from_ms(500);

/// How long to wait before the next attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    next: Span,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The wait after a refusal that only a person can lift.
    pub const REFUSED: Span = Span::from_ms(5_000);

    /// An attempt failed or a link ended; returns when to try again.
    pub fn failed(&mut self, now: Time) -> Time {
        let wait = self.next;
        self.next = Span((2 * wait.0).min(LONGEST.0));
        now + wait
    }

    /// A link came up: the next wait is the first one again.
    pub fn succeeded(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn waits_grow_to_a_bound_and_a_link_begins_them_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| (backoff.failed(Time(0)) - Time(0)).0 / 1_000_000).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 500, 500]);
        backoff.succeeded();
        assert_eq!(backoff.failed(Time(5)), Time(5) + FIRST);
    }
}
