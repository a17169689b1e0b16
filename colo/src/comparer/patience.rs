//! How long a frame waits for the copy's before a checkpoint is asked for: twice as long as others have waited lately.
//!
//! ```text
//!   waits       · ·· · 9 ms ·· ·· · ·· · · ·· · · ·· · · ·· ·
//!   patience    5 ms ──┘18 ms ──────────┘9 ms ─────────┘5 ms       each second without a longer wait halves it
//! ```
//!
//! A host with much to do does not answer a little later each time: the copy stands still for some time slices, and then answers
//! all that waits. No mean knows of that, and a checkpoint for it would only add to what there is to do. So the longest wait
//! counts; and that of a frame which was given up, if the copy sends the same all the same.
//!
//! Not here: which frames wait, and since when.

use super::limits::Limits;
use super::waiting::Said;
use understudy_checkpoint::time::{Span, Time};

/// After so long without a longer wait, half of it is expected.
const HALF_LIFE: Span = Span::from_ms(1_000);

pub(super) struct Patience {
    longest: Span,
    /// When that was seen, or halved.
    at: Time,
    /// The first frame that the live copy was given up for.
    given_up: Option<GivenUp>,
}

struct GivenUp {
    /// Its flow's.
    tenant: u64,
    said: Said,
    /// Since when it had waited for this copy.
    since: Time,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { longest: Span(0), at: Time(0), given_up: None }
    }

    pub(super) fn span(&self, limits: &Limits) -> Span {
        let Limits { match_min, match_max, .. } = limits;
        Span(self.longest.0.saturating_mul(2).clamp(match_min.0, match_max.0.max(match_min.0)))
    }

    /// A frame has waited so long, and the copy has sent the same.
    #[inline]
    pub(super) fn seen(&mut self, now: Time, waited: Span) {
        if waited >= self.longest {
            (self.longest, self.at) = (waited, now);
        } else if now >= self.at + HALF_LIFE {
            let halves = (now - self.at).0 / HALF_LIFE.0;
            self.longest = Span(self.longest.0 >> halves.min(63));
            self.at = now;
        }
    }

    /// Another copy is live.
    pub(super) fn begin(&mut self) {
        self.given_up = None;
    }

    /// The copy did not send what `said` says, which has waited `since` then.
    pub(super) fn give_up(&mut self, tenant: u64, said: Said, since: Time) {
        self.given_up.get_or_insert(GivenUp { tenant, said, since });
    }

    /// The copy sends something of a flow that is given up. If it is what was missed, that was late, and not different.
    pub(super) fn comes(&mut self, now: Time, tenant: u64, said: Said) {
        let is_missed = |missed: &mut GivenUp| missed.tenant == tenant && says(said, missed.said);
        if let Some(late) = self.given_up.take_if(is_missed) {
            self.seen(now, now - late.since);
        }
    }
}

/// Whether a frame of the copy says what was missed.
fn says(copy: Said, missed: Said) -> bool {
    match (copy, missed) {
        (Said::Segment(copy), Said::Segment(missed)) => !missed.end().is_past(copy.end()),
        (Said::Datagram { head, print }, Said::Datagram { head: other, print: missed }) => {
            (head, print) == (other, missed)
        }
        _ => false,
    }
}
