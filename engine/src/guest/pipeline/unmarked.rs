//! Frames that changed without a mark in a log of the guest's own writes. They are sent again, whoever wrote them.
//! Their number tells whether marks were lost.
//!
//! ```text
//!   scrub: frame 7 is clean ─► encoder: not what was encoded of it last ─► Found ─► pending at the next capture
//!                                                                                     └─ not known yet? counted
//!   new ones in two rounds of the scrub  ≤ what hypervisor and backends may write   they are known from here on
//!                                        > that                                     the log is lost: a full sync
//! ```
//!
//! Hypervisor and backends write few frames, and always the same ones. A reader of the log that takes marks takes those
//! of whatever the guest wrote meanwhile. A single lost mark cannot be told from a write of the first kind; it is
//! repaired without an alarm.
//!
//! Not here: which frames are examined ([`scrub`](super::scrub)), and what was encoded of them (the encoder's
//! contents).

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{DomainError, LogTells};
use understudy_checkpoint::pages::{CHECKED_PAGES_MAX, DirtyBitmap};

/// Most frames found and not taken yet. Others are found again in the next round.
const FOUND_MAX: usize = 4 * CHECKED_PAGES_MAX;

/// Most known frames. If there are more, all are learnt again.
const KNOWN_MAX: usize = 4096;

/// Frames that the encode thread found, for the capture thread.
#[derive(Clone, Debug, Default)]
pub(in crate::guest) struct Found(Arc<Mutex<Vec<Pfn>>>);

impl Found {
    /// Adds frames that changed without a mark.
    pub(in crate::guest) fn add(&self, frames: impl IntoIterator<Item = Pfn>) {
        let mut found = self.0.lock();
        let room = FOUND_MAX.saturating_sub(found.len());
        found.extend(frames.into_iter().take(room));
    }
}

/// The capture thread's account of such frames.
#[derive(Debug)]
pub(in crate::guest) struct Unmarked {
    found: Found,
    /// Most new ones in two rounds; `None` if the peer judges.
    new_max: Option<u64>,
    known: BTreeSet<Pfn>,
    /// New ones in this round and in the last.
    new: [u64; 2],
}

impl Unmarked {
    /// For a source whose log records `tells`.
    pub(in crate::guest) fn new(tells: LogTells, found: Found) -> Self {
        let new_max = match tells {
            LogTells::GuestWrites { others_frames_max } => Some(others_frames_max),
            LogTells::Everything | LogTells::Nothing => None,
        };
        Self { found, new_max, known: BTreeSet::new(), new: [0; 2] }
    }

    /// Starts another round of the scrub.
    pub(in crate::guest) fn begin_round(&mut self) {
        self.new = [0, self.new[0]];
    }

    /// Starts over, because everything is copied again. Known frames stay known.
    pub(in crate::guest) fn begin_anew(&mut self) {
        self.found.0.lock().clear();
        self.new = [0; 2];
    }

    /// Marks what was found as pending, so that it is sent again. Fails if there is too much of it.
    pub(in crate::guest) fn mark(&mut self, pending: &mut DirtyBitmap) -> Result<(), DomainError> {
        let Some(new_max) = self.new_max else { return Ok(()) };
        let found = std::mem::take(&mut *self.found.0.lock());
        let page_count = pending.page_count();
        for pfn in found.into_iter().filter(|pfn| pfn.0 < page_count) {
            pending.set(pfn);
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            if self.known.insert(pfn) {
                self.new[0] += 1;
                tracing::info!(
                    frame = pfn.0,
                    "A page frame changed without a mark in the dirty log, as those do that Xen and backends write; it is \
                     sent again"
                );
            }
        }
        let new = self.new[0] + self.new[1];
        if new <= new_max {
            return Ok(());
        }
        self.begin_anew();
        Err(DomainError::LogLost(format!(
            "{new} page frames changed without a mark, and Xen and backends write {new_max} of their own at most: another tool \
             reads the dirty log of this guest (xl migrate, xl save, remus)"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: u64 = 100_000;

    fn of(others_frames_max: u64) -> (Found, Unmarked) {
        let found = Found::default();
        (found.clone(), Unmarked::new(LogTells::GuestWrites { others_frames_max }, found))
    }

    fn marked(unmarked: &mut Unmarked) -> Result<u64, DomainError> {
        let mut pending = DirtyBitmap::new(PAGES);
        unmarked.mark(&mut pending).map(|()| pending.count())
    }

    #[test]
    fn the_same_frames_again_and_again_are_marked_each_time_and_no_alarm() {
        let (found, mut unmarked) = of(3);
        for _ in 0..20 {
            found.add([1, 5, 9].map(Pfn));
            assert_eq!(marked(&mut unmarked).unwrap(), 3);
            unmarked.begin_round();
        }
        assert_eq!(marked(&mut unmarked).unwrap(), 0, "once each time");
    }

    #[test]
    fn more_new_ones_than_others_write_are_an_alarm_also_over_the_end_of_a_round() {
        let (found, mut unmarked) = of(3);
        found.add([1, 2].map(Pfn));
        marked(&mut unmarked).unwrap();
        unmarked.begin_round();
        found.add([3, 4].map(Pfn));
        let error = marked(&mut unmarked).unwrap_err();
        assert!(matches!(&error, DomainError::LogLost(why) if why.contains("4 page frames")), "{error}");
        // After the full sync what is known does not end protection again.
        unmarked.begin_anew();
        found.add([1, 2, 3, 4, 5].map(Pfn));
        assert_eq!(marked(&mut unmarked).unwrap(), 5);
    }

    #[test]
    fn rounds_far_apart_are_not_added_up() {
        let (found, mut unmarked) = of(3);
        for first in (0..30).step_by(3) {
            found.add([first, first + 1, first + 2].map(Pfn));
            assert_eq!(marked(&mut unmarked).unwrap(), 3);
            unmarked.begin_round();
            unmarked.begin_round();
        }
    }

    #[test]
    fn whatever_is_found_memory_is_bounded_and_frames_beyond_the_guest_are_left_out() {
        let (found, mut unmarked) = of(u64::MAX);
        found.add([PAGES, u64::MAX].map(Pfn));
        assert_eq!(marked(&mut unmarked).unwrap(), 0);
        found.add((0..PAGES).map(Pfn));
        assert_eq!(marked(&mut unmarked).unwrap(), FOUND_MAX as u64);
        assert!(unmarked.known.len() <= KNOWN_MAX);
    }

    #[test]
    fn where_the_log_tells_everything_the_other_side_judges() {
        let found = Found::default();
        let mut unmarked = Unmarked::new(LogTells::Everything, found.clone());
        found.add([Pfn(1)]);
        assert_eq!(marked(&mut unmarked).unwrap(), 0);
    }
}
