//! How far the full sync of a guest is, for `status`: what has gone to the link of its memory, how fast, and how long the rest takes
//! at that rate; and what is still to be read of its disk. Pages that are written while it goes on are sent again, so it is an
//! estimate.

use crate::control::status::FullSyncStatus;
use crate::guest::Passed;
use understudy_session::Time;

/// A full sync that was begun.
#[derive(Debug)]
pub(in crate::node) struct FullSync {
    began: Time,
    passed: Passed,
}

impl FullSync {
    pub(super) fn new(began: Time, passed: Passed) -> Self {
        Self { began, passed }
    }

    /// Of a guest with so many pages.
    pub(super) fn status(&self, of_pages: u64, now: Time) -> FullSyncStatus {
        let (pages, link_bytes) = (self.passed.pages(), self.passed.link_bytes());
        let seconds = (now - self.began).0 as f64 / 1e9;
        let share = if of_pages == 0 { 0.0 } else { (pages as f64 / of_pages as f64).min(1.0) };
        let left_ms = (share > 0.0).then(|| (seconds * (1.0 - share) / share * 1e3) as u64);
        let bytes_per_s = if seconds > 0.0 { (link_bytes as f64 / seconds) as u64 } else { 0 };
        FullSyncStatus {
            share,
            pages,
            of_pages,
            link_bytes,
            bytes_per_s,
            left_ms,
            ..FullSyncStatus::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_session::Span;

    #[test]
    fn the_rest_takes_as_long_as_the_rate_so_far_says() {
        let passed = Passed::default();
        let sync = FullSync::new(Time(5), passed.clone());
        let begun = sync.status(400, Time(5));
        assert_eq!(
            (begun.share, begun.bytes_per_s, begun.left_ms),
            (0.0, 0, None),
            "nothing can be said yet"
        );
        passed.add(100, 3_000_000);
        let quarter = sync.status(400, Time(5) + Span::from_ms(2_000));
        assert_eq!((quarter.share, quarter.bytes_per_s, quarter.left_ms), (0.25, 1_500_000, Some(6_000)));
        passed.add(400, 0);
        let again = sync.status(400, Time(5) + Span::from_ms(3_000));
        assert_eq!((again.share, again.left_ms), (1.0, Some(0)), "pages that were sent twice");
    }
}
