//! The scrub: a rotation over the guest's frames that has the peer compare pages which did not change, some in each
//! epoch. It finds what the dirty log did not tell, whoever lost it: a write that was not marked, a bit that another
//! reader of the log took, a log that was switched off, an image that lost a write. Where others than the guest write
//! without a mark, what differs on the primary already is taken out before the peer compares
//! ([`unmarked`](super::unmarked)).
//!
//! ```text
//!   cut N ── resume ── look: copy the next frames, hash them ──────── suspend, drain N+1 ── resume ── checks ─► encoder
//!                      (the guest runs)                               clean since cut N?
//! ```
//!
//! Why after the resume, and not in the pause: a frame that was written after drain N, before or after it was copied, is
//! marked at drain N+1 and left out. A frame that is not marked held at cut N+1 what was copied, unless its mark was
//! lost; just that is looked for. So nothing of the scrub is in the pause, and hashing is over before the next one.
//!
//! Pages are copied the way they are sent (page tables of PV guests with pfns, frames that were ballooned out as absent).
//! The rotation goes round in [`ROUND_EPOCHS`] epochs: two minutes at 40 a second.
//!
//! Not here: what is compared with what (the receiver), what a difference leads to (the session).

use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{LogTells, Source};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::{CHECKED_PAGES_MAX, Check, ContentHash, DirtyBitmap};

/// Epochs in which every frame of a guest is looked at once, up to [`CHECKED_PAGES_MAX`] in each.
const ROUND_EPOCHS: u64 = 4800;

/// Frames looked at in each epoch of a small guest.
const FRAMES_MIN: u64 = 64;

/// Where the rotation stands, and what was seen since the last cut.
#[derive(Debug)]
pub(super) struct Scrub {
    next: Pfn,
    frames: u64,
    wanted: DirtyBitmap,
    /// Made when it is first needed, on the guest's own thread.
    staging: Option<Staging>,
    seen: Vec<Check>,
}

impl Scrub {
    pub(super) fn new(page_count: u64) -> Self {
        let frames = page_count.div_ceil(ROUND_EPOCHS).max(FRAMES_MIN).min(CHECKED_PAGES_MAX as u64);
        Self {
            next: Pfn(0),
            frames: frames.min(page_count),
            wanted: DirtyBitmap::new(page_count),
            staging: None,
            seen: Vec::new(),
        }
    }

    /// Copies and hashes the next frames of a guest that runs; whether a round begins with them. To be called after a cut,
    /// before the next drain.
    pub(super) fn look(&mut self, source: &mut dyn Source) -> bool {
        self.seen.clear();
        if self.frames == 0 || source.log_tells() == LogTells::Nothing {
            return false;
        }
        let (first, page_count) = (self.next.0, self.wanted.page_count());
        let end = (first + self.frames).min(page_count);
        self.next = Pfn(if end == page_count { 0 } else { end });
        self.wanted.clear();
        (first..end).for_each(|pfn| self.wanted.set(Pfn(pfn)));
        let staging = self.staging.get_or_insert_with(|| Staging::new(self.frames as usize));
        staging.clear();
        if let Err(error) = source.look_at_pages(&self.wanted, Pfn(first), staging) {
            // The next capture meets the same and says so.
            tracing::debug!(%error, "Frames cannot be looked at between two checkpoints");
            return first == 0;
        }
        let mut pages = staging.pages().iter();
        self.seen.extend(staging.entries().iter().map(|entry| {
            let page = if entry.page_type().has_data() { pages.next() } else { None };
            Check { pfn: entry.pfn(), content: ContentHash::of(page) }
        }));
        first == 0
    }

    /// What was seen and is clean: `pending` is what was drained at the cut, and all that was left before.
    pub(super) fn clean(&mut self, pending: &DirtyBitmap) -> Vec<Check> {
        let mut clean = std::mem::take(&mut self.seen);
        clean.retain(|check| !pending.get(check.pfn));
        clean
    }

    /// Nothing that was seen counts: what it was seen against does not hold any more.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_checkpoint::domain::{Description, DomainError, DomainState, Sink};
    use understudy_checkpoint::epoch::Image;
    use understudy_checkpoint::{PAGE_SIZE, PageEntry, PageType};

    struct Still(Image, LogTells);

    impl Source for Still {
        fn describe(&mut self) -> Result<Description, DomainError> {
            Err(DomainError::EndOfRecording)
        }
        fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
            Ok(())
        }
        fn end_log_dirty(&mut self) -> Result<(), DomainError> {
            Ok(())
        }
        fn suspend(&mut self) -> Result<(), DomainError> {
            Ok(())
        }
        fn resume(&mut self) -> Result<(), DomainError> {
            Ok(())
        }
        fn drain_dirty(&mut self, _into: &mut DirtyBitmap) -> Result<(), DomainError> {
            Ok(())
        }
        fn copy_pages(
            &mut self,
            wanted: &DirtyBitmap,
            from: Pfn,
            staging: &mut Staging,
            copiers: usize,
        ) -> Result<Option<Pfn>, DomainError> {
            Ok(self.0.copy_pages(wanted, from, staging, copiers))
        }
        fn capture_state(&mut self, _into: &mut DomainState) -> Result<(), DomainError> {
            Ok(())
        }
        fn log_tells(&self) -> LogTells {
            self.1
        }
    }

    /// Every third frame holds a page.
    fn guest(page_count: u64) -> Still {
        let mut image = Image::new(page_count);
        for pfn in (0..page_count).step_by(3) {
            image.apply_page(PageEntry::new(Pfn(pfn), PageType::Normal), Some(&[pfn as u8; PAGE_SIZE]));
        }
        Still(image, LogTells::Everything)
    }

    #[test]
    fn a_round_looks_at_every_frame_once_and_leaves_out_what_is_dirty() {
        for page_count in [1, 63, 64, 65, 1000] {
            let (mut guest, mut scrub) = (guest(page_count), Scrub::new(page_count));
            let mut pending = DirtyBitmap::new(page_count);
            pending.set(Pfn(page_count / 2));
            let mut checks = Vec::new();
            for step in 0..page_count.div_ceil(64) {
                assert_eq!(scrub.look(&mut guest), step == 0, "a round begins once");
                checks.extend(scrub.clean(&pending));
            }
            let expected: Vec<Check> = (0..page_count)
                .filter(|pfn| *pfn != page_count / 2)
                .map(|pfn| Check { pfn: Pfn(pfn), content: ContentHash::of(guest.0.page(Pfn(pfn))) })
                .collect();
            assert_eq!(checks, expected, "{page_count} frames");
        }
    }

    #[test]
    fn the_rotation_covers_4_gib_in_120_s_at_40_epochs_a_second() {
        let scrub = Scrub::new(1 << 20);
        assert!((1u64 << 20).div_ceil(scrub.frames) <= 120 * 40);
        assert_eq!(Scrub::new(1 << 28).frames, CHECKED_PAGES_MAX as u64, "bounded for any guest");
    }

    #[test]
    fn a_guest_that_is_compared_anyway_is_not_looked_at() {
        let (mut guest, mut scrub) = (guest(100), Scrub::new(100));
        guest.1 = LogTells::Nothing;
        assert!(!scrub.look(&mut guest));
        assert_eq!(scrub.clean(&DirtyBitmap::new(100)), []);
    }
}
