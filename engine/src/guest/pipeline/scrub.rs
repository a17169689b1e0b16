//! The scrub: lets the peer compare pages that did not change, some in each epoch, in a rotation over the guest's
//! frames. It finds what the dirty log missed, for whatever reason: a write that was not marked, a mark that another
//! reader of the log took, a log that was switched off, an image that lost a write. If others than the guest write
//! without a mark, what differs on the primary itself is removed before the peer compares
//! ([`unmarked`](super::unmarked)).
//!
//! ```text
//!   cut N ── resume ── look: copy the next frames, hash them ──────── suspend, drain N+1 ── resume ── checks ─► encoder
//!                      (the guest runs)                               clean since cut N?
//! ```
//!
//! It works after the resume, not in the pause. A frame that is written after drain N, before or after it was copied,
//! is marked at drain N+1 and left out. A frame that is not marked held at cut N+1 what was copied, unless its mark was
//! lost, and that is what the scrub looks for. So nothing of the scrub is in the pause, and hashing is over before the
//! next one.
//!
//! Pages are copied as they are sent (page tables of PV guests with pfns, ballooned frames as absent). The rotation
//! covers the frames that hold pages once in [`ROUND`], whether epochs are few or many. A PVH or HVM guest has frames
//! up to 4 GiB, however little memory it has. Something unreported may be where nothing was, so a second rotation
//! covers those frames, as many in each epoch.
//!
//! Not here: the comparison (the receiver), and what follows from a difference (the session).

use understudy_checkpoint::domain::{LogTells, Source};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::{CHECKED_PAGES_MAX, Check, ContentHash, DirtyBitmap};
use understudy_checkpoint::{OutOfMemory, Pfn};
use understudy_session::{Span, Time};

/// The time in which every frame that holds a page is examined once, as far as [`CHECKED_PAGES_MAX`] in an epoch
/// allows.
const ROUND: Span = Span::from_ms(120_000);

/// Frames of a small guest that are examined in a second. A guest of less than 1.2 GiB has shorter rounds.
const FRAMES_PER_S_MIN: u64 = 2560;

/// Fewest frames to examine together; fewer are not worth a mapping.
const FRAMES_MIN: u64 = 64;

/// Most frames skipped in an epoch in search of those without a page.
const WALK_MAX: u64 = 1024;

const NS_PER_S: u64 = 1_000_000_000;

/// The state of the rotation, and what was seen since the last cut.
#[derive(Debug)]
pub(in crate::guest) struct Scrub {
    next: Pfn,
    next_hole: Pfn,
    /// Frames of this round so far that held pages.
    held: u64,
    /// Frames with pages to examine in a second.
    frames_per_s: u64,
    /// The time up to which the debt is counted.
    counted_to: Option<Time>,
    /// Frames to examine by now, times nanoseconds a second.
    owed_frame_ns: u64,
    wanted: DirtyBitmap,
    /// Allocated when first needed, on the guest's own thread.
    staging: Option<Staging>,
    seen: Vec<Check>,
}

/// Frames to examine in a second, for a guest of `frames` frames.
fn pace_of(frames: u64) -> u64 {
    frames.saturating_mul(NS_PER_S).div_ceil(ROUND.0).max(FRAMES_PER_S_MIN)
}

impl Scrub {
    pub(in crate::guest) fn new(page_count: u64) -> Result<Self, OutOfMemory> {
        Ok(Self {
            next: Pfn(0),
            next_hole: Pfn(0),
            held: 0,
            frames_per_s: pace_of(page_count),
            counted_to: None,
            owed_frame_ns: 0,
            wanted: DirtyBitmap::try_new(page_count)?,
            staging: None,
            seen: Vec::new(),
        })
    }

    /// Copies and hashes the next frames of a running guest. Returns whether a round begins with them. Call it after a
    /// cut and before the next drain. `now` is the time of that cut's order.
    pub(in crate::guest) fn look(&mut self, source: &mut dyn Source, now: Time) -> bool {
        self.seen.clear();
        let page_count = self.wanted.page_count();
        let frames = self.take_owed(now);
        if frames == 0 || page_count == 0 || source.log_tells() == LogTells::Nothing {
            return false;
        }
        let begins = self.next == Pfn(0);
        self.wanted.clear();
        let held = self.want_held(source, frames);
        self.want_holes(source, frames.min(CHECKED_PAGES_MAX as u64 - held));
        let staging =
            self.staging.get_or_insert_with(|| Staging::new(CHECKED_PAGES_MAX.min(page_count as usize)));
        staging.clear();
        if let Err(error) = source.look_at_pages(&self.wanted, Pfn(0), staging) {
            // The next capture meets the same and says so.
            tracing::debug!(%error, "Frames cannot be looked at between two checkpoints");
            return begins;
        }
        let mut pages = staging.pages().iter();
        self.seen.extend(staging.entries().iter().map(|entry| {
            let page = if entry.page_type().has_data() { pages.next() } else { None };
            Check { pfn: entry.pfn(), content: ContentHash::of(page) }
        }));
        begins
    }

    /// Marks the next frames that hold pages, at most `frames`. Returns how many.
    fn want_held(&mut self, source: &dyn Source, frames: u64) -> u64 {
        let page_count = self.wanted.page_count();
        let held_from = |from: u64| source.next_held(Pfn(from), Pfn(page_count));
        let (mut next, mut count) = (held_from(self.next.0), 0);
        while let Some(pfn) = next.filter(|_| count < frames) {
            self.wanted.set(pfn);
            count += 1;
            next = held_from(pfn.0 + 1);
        }
        self.held += count;
        match next {
            Some(pfn) => self.next = pfn,
            None => {
                self.frames_per_s = pace_of(self.held);
                (self.next, self.held) = (Pfn(0), 0);
            }
        }
        count
    }

    /// Marks the next frames that hold no page, at most `frames`.
    fn want_holes(&mut self, source: &dyn Source, frames: u64) {
        let page_count = self.wanted.page_count();
        let (mut count, mut walked) = (0, 0);
        while count < frames && walked < WALK_MAX.min(page_count) {
            let from = self.next_hole.0;
            let end = page_count.min(from + frames - count);
            let end = source.next_held(Pfn(from), Pfn(end)).map_or(end, |pfn| pfn.0);
            (from..end).for_each(|pfn| self.wanted.set(Pfn(pfn)));
            count += end - from;
            walked += 1;
            let next = if end == from { from + 1 } else { end };
            self.next_hole = Pfn(if next >= page_count { 0 } else { next });
        }
    }

    /// Frames to examine now; 0 if they are still too few. What was missed for long is not made up for.
    fn take_owed(&mut self, now: Time) -> u64 {
        let since = now - self.counted_to.replace(now).unwrap_or(now);
        let most = CHECKED_PAGES_MAX as u64 * NS_PER_S;
        let owed = self.owed_frame_ns.saturating_add(since.0.saturating_mul(self.frames_per_s)).min(most);
        let frames = owed / NS_PER_S;
        let taken = if frames < FRAMES_MIN { 0 } else { frames };
        self.owed_frame_ns = owed - taken * NS_PER_S;
        taken
    }

    /// The frames seen that are clean. `pending` is what was drained at the cut and before.
    pub(in crate::guest) fn clean(&mut self, pending: &DirtyBitmap) -> Vec<Check> {
        let mut clean = std::mem::take(&mut self.seen);
        clean.retain(|check| !pending.get(check.pfn));
        clean
    }

    /// Discards what was seen, because it cannot be compared any more.
    pub(in crate::guest) fn forget(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::still::Still;
    use understudy_checkpoint::domain::Sink;
    use understudy_checkpoint::epoch::Image;
    use understudy_checkpoint::{PAGE_SIZE, PageEntry, PageType};

    /// Every third frame holds a page.
    fn guest(page_count: u64) -> Still {
        let mut image = Image::new(page_count);
        for pfn in (0..page_count).step_by(3) {
            image.apply_page(PageEntry::new(Pfn(pfn), PageType::Normal), Some(&[pfn as u8; PAGE_SIZE]));
        }
        Still::with(image)
    }

    /// Epochs of 25 ms.
    fn at(epoch: u64) -> Time {
        Time(0) + Span::from_ms(25 * epoch)
    }

    #[test]
    fn a_round_looks_at_every_frame_once_and_leaves_out_what_is_dirty() {
        for page_count in [1, 63, 64, 65, 1000] {
            let (mut guest, mut scrub) = (guest(page_count), Scrub::new(page_count).unwrap());
            assert!(!scrub.look(&mut guest, at(0)), "nothing is owed yet");
            let mut pending = DirtyBitmap::new(page_count);
            pending.set(Pfn(page_count / 2));
            let mut checks = Vec::new();
            for step in 0..page_count.div_ceil(64) {
                assert_eq!(scrub.look(&mut guest, at(step + 1)), step == 0, "a round begins once");
                checks.extend(scrub.clean(&pending));
            }
            let expected: Vec<Check> = (0..page_count)
                .filter(|pfn| *pfn != page_count / 2)
                .map(|pfn| Check { pfn: Pfn(pfn), content: ContentHash::of(guest.image.page(Pfn(pfn))) })
                .collect();
            assert_eq!(checks, expected, "{page_count} frames");
        }
    }

    /// A guest of 64 MiB whose frames go up to 4 GiB, as a PVH guest's.
    #[test]
    fn a_round_goes_by_what_a_guest_holds_and_where_it_holds_nothing_is_looked_at_as_well() {
        const PAGES: u64 = 16_384;
        const FRAMES: u64 = 1 << 20;
        let mut image = Image::new(FRAMES);
        for pfn in (0..PAGES - 1).chain([FRAMES - 1]) {
            image.apply_page(PageEntry::new(Pfn(pfn), PageType::Normal), Some(&[pfn as u8; PAGE_SIZE]));
        }
        let mut guest = Still::with(image);
        guest.held_below = Some(PAGES - 1);
        let (mut scrub, mut epoch) = (Scrub::new(FRAMES).unwrap(), 0);
        scrub.look(&mut guest, at(0));
        let mut round = |scrub: &mut Scrub| {
            let (mut held, mut holes, first) = (0, 0, epoch);
            loop {
                epoch += 1;
                assert_eq!(scrub.look(&mut guest, at(epoch)), epoch == first + 1, "a round begins once");
                for check in scrub.clean(&DirtyBitmap::new(FRAMES)) {
                    let counted = if guest.image.page(check.pfn).is_some() { &mut held } else { &mut holes };
                    *counted += 1;
                }
                if scrub.next == Pfn(0) {
                    return (held, holes, epoch - first);
                }
            }
        };
        let (held, holes, epochs) = round(&mut scrub);
        assert!(
            held == PAGES && holes > 0 && epochs < 80,
            "{held} pages and {holes} holes in {epochs} epochs"
        );
        // It has learnt how much it holds, and takes its time: 64 of each in an epoch.
        assert_eq!(round(&mut scrub), (PAGES, PAGES, PAGES / 64));
    }

    #[test]
    fn the_rotation_covers_a_guest_in_120_s_however_many_epochs_a_second() {
        for epoch_us in [150, 1_000, 25_000, 200_000] {
            let mut scrub = Scrub::new(1 << 20).unwrap();
            let epochs = 120_000_000 / epoch_us;
            let frames: u64 =
                (0..=epochs).map(|epoch| scrub.take_owed(Time(0) + Span::from_us(epoch * epoch_us))).sum();
            assert!((1 << 20..(1 << 20) + 10_000).contains(&(frames + FRAMES_MIN)), "{epoch_us}: {frames}");
        }
    }

    #[test]
    fn an_epoch_is_bounded_for_any_guest_and_any_gap() {
        let mut scrub = Scrub::new(1 << 28).unwrap();
        scrub.take_owed(Time(0));
        for at in [Time(1), Time(u64::MAX / 2), Time(u64::MAX)] {
            assert!(scrub.take_owed(at) <= CHECKED_PAGES_MAX as u64, "{at:?}");
        }
    }

    #[test]
    fn a_guest_that_is_compared_anyway_is_not_looked_at() {
        let (mut guest, mut scrub) = (guest(100), Scrub::new(100).unwrap());
        guest.tells = LogTells::Nothing;
        assert!(!scrub.look(&mut guest, at(0)));
        assert!(!scrub.look(&mut guest, at(1)));
        assert_eq!(scrub.clean(&DirtyBitmap::new(100)), []);
    }
}
