//! Copies dirty pages ahead of the pause, while the guest runs. The pause copies what has been written since.
//!
//! ```text
//!   guest runs │ drain: A │ copy A │   pause: suspend │ drain: B │ leave out A∩B │ copy B │ …   runs │ encode A∖B, B
//! ```
//!
//! A page that is written while it is copied, or later, is in B, since the log was cleared before the copy began: what is
//! staged of it ahead may be old or torn, and is left out. So a pause follows what the guest writes all the time, not
//! what it wrote in an epoch.
//!
//! It is not worth it where little is dirty, or where the guest writes most of it again at once; then the pause copies
//! everything. Only what the log has just told is copied ahead: frames that are pending for another reason, such as those
//! that change without a mark, are copied in the pause.
//!
//! Not here: when the pages are copied ([`capture`](super::capture)).

use super::failure::Failure;
use super::pool::{Abort, Pieces};
use understudy_checkpoint::domain::Source;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, OutOfMemory, Pfn};

/// With fewer dirty pages in the last checkpoint none is copied ahead: copying 512 takes some 200 µs, not much more than
/// a second look into the log and the guest's faults after it.
const PAGES_MIN: u64 = 512;

/// A part of staging, so that small stagings copy ahead as well.
const STAGING_PART: u64 = 8;

/// Most checkpoints without a copy ahead, after several were not worth it.
const REST_MAX: u32 = 64;

/// The pages that are copied ahead of one pause.
#[derive(Debug)]
pub(in crate::guest) struct Ahead {
    pages: DirtyBitmap,
    staging_pages: u64,
    worth: Worth,
}

impl Ahead {
    /// For a guest of `page_count` frames.
    pub(in crate::guest) fn new(page_count: u64, staging_pages: u64) -> Result<Self, OutOfMemory> {
        let pages_min = PAGES_MIN.min(staging_pages / STAGING_PART).max(1);
        Ok(Self { pages: DirtyBitmap::try_new(page_count)?, staging_pages, worth: Worth::new(pages_min) })
    }

    /// The same for a guest whose number of pfns has changed.
    pub(in crate::guest) fn resized(&self, page_count: u64) -> Result<Self, OutOfMemory> {
        Ok(Self { pages: DirtyBitmap::try_new(page_count)?, ..*self })
    }

    /// Copies what is dirty while the guest runs, if that is worth it: as much as there is staging for, also if all of it
    /// has to be copied again. The rest becomes `pending`.
    pub(in crate::guest) fn copy(
        &mut self,
        epoch: Epoch,
        abort: &Abort,
        (source, copiers): (&mut dyn Source, usize),
        pieces: &mut Pieces,
        pending: &mut DirtyBitmap,
    ) -> Result<(), Failure> {
        if !self.worth.is_due() {
            return Ok(());
        }
        pieces.wait_for_room(epoch)?;
        source.drain_dirty(&mut self.pages)?;
        let spare = self.staging_pages.saturating_sub(self.count() + pending.count());
        if let Some(first) = self.pages.runs(Pfn(0)).flatten().nth(spare as usize) {
            self.pages.split_off(Pfn(first), pending);
        }
        let mut next = self.pages.runs(Pfn(0)).next().map(|run| Pfn(run.start));
        while let Some(from) = next {
            abort.check(epoch)?;
            let Some(staging) = pieces.room_ahead() else {
                self.pages.split_off(from, pending);
                break;
            };
            next = source.copy_pages(&self.pages, from, staging, copiers)?;
        }
        Ok(())
    }

    /// Pages that were copied ahead.
    pub(in crate::guest) fn count(&self) -> u64 {
        self.pages.count()
    }

    /// The pause is over: what was copied ahead is as `pending` as what was copied in the pause, which copied `again` pages
    /// of it.
    pub(in crate::guest) fn join(&mut self, again: u64, pending: &mut DirtyBitmap) {
        let copied = self.count();
        self.give_back(pending);
        self.worth.learn(pending.count(), copied, again);
    }

    /// The capture failed: what was copied ahead is pending.
    pub(in crate::guest) fn give_back(&mut self, pending: &mut DirtyBitmap) {
        self.pages.drain_into(pending);
    }
}

/// Whether copying ahead is worth it, by the last checkpoints.
#[derive(Clone, Copy, Debug)]
struct Worth {
    pages_min: u64,
    /// Pages of the last checkpoint.
    dirty_pages: u64,
    /// Checkpoints to wait before it is tried again.
    rest: u32,
    /// How long to wait the next time.
    next_rest: u32,
}

impl Worth {
    fn new(pages_min: u64) -> Self {
        Self { pages_min, dirty_pages: 0, rest: 0, next_rest: 1 }
    }

    /// Whether to copy ahead now. Asked once for each checkpoint.
    fn is_due(&mut self) -> bool {
        let rests = self.rest > 0;
        self.rest = self.rest.saturating_sub(1);
        !rests && self.dirty_pages >= self.pages_min
    }

    /// A checkpoint had `dirty_pages`, of which so many were copied ahead, and some of these `again`.
    fn learn(&mut self, dirty_pages: u64, copied: u64, again: u64) {
        self.dirty_pages = dirty_pages;
        if copied == 0 {
            return;
        }
        if again > copied / 2 {
            self.rest = self.next_rest;
            self.next_rest = (self.next_rest * 2).min(REST_MAX);
        } else {
            self.next_rest = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so many checkpoints, how many copy ahead, where `again` of 1,000 pages are copied again.
    fn copies(worth: &mut Worth, checkpoints: u32, again: u64) -> u32 {
        let one = |worth: &mut Worth| {
            let is_due = worth.is_due();
            worth.learn(1000, if is_due { 1000 } else { 0 }, again);
            u32::from(is_due)
        };
        (0..checkpoints).map(|_| one(worth)).sum()
    }

    #[test]
    fn little_is_left_to_the_pause_and_much_is_copied_ahead() {
        let mut worth = Worth::new(512);
        assert!(!worth.is_due(), "nothing is known yet");
        worth.learn(511, 0, 0);
        assert!(!worth.is_due());
        assert_eq!(copies(&mut worth, 101, 100), 100);
    }

    #[test]
    fn a_guest_that_writes_everything_again_is_tried_rarely_and_one_that_calms_down_is_found() {
        let mut worth = Worth::new(512);
        let busy = copies(&mut worth, 1000, 900);
        assert!(busy < 24, "{busy}");
        let calm = copies(&mut worth, 1000, 100);
        assert!(calm > 1000 - 2 * REST_MAX, "{calm}");
    }
}
