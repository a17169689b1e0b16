//! When the copy's host is told which of the copy's frames it need not keep any more, because what they say has left.
//!
//! ```text
//!   used up     ═══════════════════════╗
//!   told        ════════════╗          ║         told: along with input, after so many frames, or after a moment
//!                           ╚══════════╝
//!                            kept in vain: the guest would send these again after a takeover
//! ```
//!
//! Each word wakes the copy's host, so it goes with the guest's input where there is any. What it waits for is bounded, since that
//! host has room for so many frames, and clients would get what is kept in vain a second time.
//!
//! Not here: which frames are used up ([`Comparer::used_through`](understudy_colo::Comparer::used_through)).

use understudy_colo::comparer::CopyNumber;
use understudy_session::{Span, Time};

/// The longest wait.
const AFTER: Span = Span::from_ms(1);

/// The most frames that wait.
const UNTOLD_MAX: usize = 64;

/// What the host of one live copy was told.
#[derive(Debug)]
pub(super) struct Used {
    /// How many of its frames need not be kept.
    told: u64,
    tell_at: Option<Time>,
    untold_max: u64,
}

impl Used {
    /// Nothing is told yet to a host that keeps so many frames.
    pub(super) fn new(kept_max: usize) -> Self {
        let mut new = Self { told: 0, tell_at: None, untold_max: UNTOLD_MAX as u64 };
        new.limit(kept_max);
        new
    }

    /// The host keeps no more than so many.
    pub(super) fn limit(&mut self, kept_max: usize) {
        self.untold_max = self.untold_max.min(kept_max as u64 / 4).max(1);
    }

    /// A copy begins, whose frames are numbered anew.
    pub(super) fn begin(&mut self) {
        (self.told, self.tell_at) = (0, None);
    }

    /// Nothing is told any more of this copy.
    pub(super) fn end(&mut self) {
        self.tell_at = None;
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.tell_at
    }

    /// The copy's frames are used up to `through`: what its host is told now, if anything. `goes_along`: something else is sent to it
    /// in any case.
    pub(super) fn tell(
        &mut self,
        through: Option<CopyNumber>,
        goes_along: bool,
        now: Time,
    ) -> Option<CopyNumber> {
        let used = through.map_or(0, |CopyNumber(number)| number + 1);
        let untold = used.saturating_sub(self.told);
        if untold == 0 {
            return None;
        }
        let at = *self.tell_at.get_or_insert(now + AFTER);
        if !goes_along && untold < self.untold_max && now < at {
            return None;
        }
        (self.told, self.tell_at) = (used, None);
        through
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn through(number: u64) -> Option<CopyNumber> {
        Some(CopyNumber(number))
    }

    #[test]
    fn the_word_goes_with_input_or_after_a_moment_or_after_many_frames() {
        let mut used = Used::new(1 << 16);
        let (now, later) = (Time(5), Time(5) + AFTER);
        assert_eq!(used.tell(None, true, now), None, "nothing is used up");
        assert_eq!(used.tell(through(0), false, now), None);
        assert_eq!(used.next_timeout(), Some(later));
        assert_eq!(used.tell(through(1), true, now), through(1));
        assert_eq!((used.tell(through(1), true, now), used.next_timeout()), (None, None), "it is told once");
        assert_eq!(used.tell(through(2), false, now), None);
        assert_eq!(used.tell(through(3), false, later), through(3));
        assert_eq!(used.tell(through(3 + 63), false, later), None);
        assert_eq!(used.tell(through(3 + 64), false, later), through(3 + 64));
    }

    #[test]
    fn a_host_with_little_room_is_told_sooner_and_another_copy_begins_anew() {
        let mut used = Used::new(1 << 16);
        used.limit(8);
        assert_eq!(used.tell(through(0), false, Time(0)), None);
        assert_eq!(used.tell(through(1), false, Time(0)), through(1));
        used.limit(0);
        assert_eq!(used.tell(through(2), false, Time(0)), through(2));
        used.begin();
        assert_eq!(used.tell(through(0), false, Time(0)), through(0));
    }
}
