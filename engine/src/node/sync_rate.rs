//! [`SyncRate`]: how many bytes a second all full syncs of a node together put on its links. Ordinary epochs never wait for it.
//!
//! ```text
//!   lots of full syncs, of any guest ──► turn: a moment for each
//!
//!   ─┬──────┬──────┬───────────► time        a lot takes bytes / rate of the time line. A line that lay idle has saved up
//!    lot 1  lot 2  lot 3                     BURST of it, so that a sleep that is a little too long loses nothing
//! ```
//!
//! Not here: who waits for its turn ([`epoch_sender`](super::epoch_sender)).

use parking_lot::Mutex;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an idle line may save up.
const BURST: Duration = Duration::from_millis(10);

/// A rate that several threads share.
#[derive(Clone, Debug)]
pub(super) struct SyncRate {
    bytes_per_s: NonZeroU64,
    /// From when on nobody has taken the time line.
    free_at: Arc<Mutex<Option<Instant>>>,
}

impl SyncRate {
    /// At most so many bytes a second.
    pub(super) fn new(bytes_per_s: NonZeroU64) -> Self {
        Self { bytes_per_s, free_at: Arc::default() }
    }

    /// Bytes a second.
    pub(super) fn bytes_per_s(&self) -> u64 {
        self.bytes_per_s.get()
    }

    /// Takes time for a lot of so many bytes, and returns when the lot may go.
    pub(super) fn turn(&self, bytes: u64, now: Instant) -> Instant {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock();
        let idle_since = now.checked_sub(BURST).unwrap_or(now);
        let at = free_at.map_or(idle_since, |free_at| free_at.max(idle_since));
        *free_at = Some(at.checked_add(takes).unwrap_or(at));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1 << 20;

    #[test]
    fn lots_of_all_who_share_a_rate_follow_each_other_at_it() {
        let rate = SyncRate::new(NonZeroU64::new(RATE).unwrap());
        let (other, now) = (rate.clone(), Instant::now());
        let first = rate.turn(RATE / 2, now);
        assert!(first <= now, "nobody has to wait for nothing");
        let second = other.turn(RATE / 2, now);
        assert_eq!(second - first, Duration::from_millis(500));
        assert_eq!(rate.turn(1, now) - second, Duration::from_millis(500));
    }

    #[test]
    fn an_idle_line_saves_up_no_more_than_a_moment() {
        let rate = SyncRate::new(NonZeroU64::new(RATE).unwrap());
        let began = Instant::now();
        rate.turn(1, began);
        let later = began + Duration::from_secs(60);
        let last = (0..RATE / 1024).fold(began, |_, _| rate.turn(1024, later));
        assert!(last >= later + Duration::from_millis(980), "a second's bytes take a second");
    }
}
