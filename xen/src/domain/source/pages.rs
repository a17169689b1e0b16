//! The pages of a source: looked up, compared, copied to staging, machine frames replaced by pfns.
//!
//! ```text
//!   wanted ──► look up what is not sure ──► copy, by several threads ──► PV: page tables name pfns ──► staging
//! ```
//!
//! A page that Xen has but that cannot be copied fails the capture, or, while the guest runs, is left to the pause.
//!
//! Not here: mapping frames ([`Frames`](super::super::frames)).

use super::super::frames::Unmapped;
use super::{Changes, Kind, XenSource, error};
use crate::Gfn;
use crate::domain::toolstack::Toolstack;
use std::sync::atomic::{AtomicU64, Ordering};
use understudy_checkpoint::domain::DomainError;
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::{DirtyBitmap, copy_into_by};
use understudy_checkpoint::{PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use zerocopy::IntoBytes;

/// How often a batch is looked up: mapping one pfn may make others unsure.
const LOOK_UPS_MAX: usize = 4;

/// In place of a pfn that could not be copied: all were copied.
const NONE: u64 = u64::MAX;

impl<T: Toolstack> XenSource<T> {
    /// Copies wanted pages from `from` on, as far as there is room. Returns where to continue.
    pub(super) fn stage(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        let room = staging.room();
        self.make_sure(wanted, from, room)?;
        let mut pfns = wanted.runs(from).flatten().map(Pfn);
        let frames = &self.frames;
        let wanted = pfns.by_ref().take(room).map(|pfn| PageEntry::new(pfn, frames.found_type(pfn)));
        let (entries, pages) = staging.extend_split(wanted);
        let missed = AtomicU64::new(NONE);
        copy_into_by(entries, pages, copiers, |pfn, page| {
            if !frames.copy(pfn, page) {
                missed.store(pfn.0, Ordering::Relaxed);
            }
        });
        match missed.into_inner() {
            NONE => {}
            missed => return Err(error(frames.copy_error(Pfn(missed)))),
        }
        let next = pfns.next();
        self.normalise(entries, pages)?;
        if let Changes::Compared(reference) = &mut self.changes {
            reference.keep(entries, pages);
        }
        Ok(next)
    }

    /// Looks up the unsure pfns of `wanted` from `from` on, as many as `room` entries reach. The types of a PV guest's
    /// frames change as it makes and drops page tables, so they are asked for each time.
    fn make_sure(&mut self, wanted: &DirtyBitmap, from: Pfn, room: usize) -> Result<(), DomainError> {
        let Self { kind, frames, unsure, deferred, is_suspended, .. } = self;
        for _ in 0..LOOK_UPS_MAX {
            unsure.clear();
            let pfns = wanted.runs(from).flatten().take(room).map(Pfn);
            match kind {
                Kind::Hvm(_) => unsure.extend(pfns.filter(|pfn| frames.sure_type(*pfn).is_none())),
                Kind::Pv(_) => unsure.extend(pfns),
            }
            let unmapped = if *is_suspended { Unmapped::Fails } else { Unmapped::Waits(deferred) };
            if frames.look_up(unsure, &|pfn| kind.frame(pfn), unmapped).map_err(error)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Marks the pages that differ from what was last staged of them. The guest is suspended.
    pub(super) fn compare(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        let Self { kind: Kind::Pv(guest), frames, changes: Changes::Compared(reference), unsure, .. } = self
        else {
            return Ok(());
        };
        unsure.clear();
        unsure.extend((0..self.page_count).map(Pfn));
        for _ in 0..LOOK_UPS_MAX {
            if frames
                .look_up(unsure, &|pfn| guest.frame(pfn).map(Gfn::of_pv), Unmapped::Fails)
                .map_err(error)?
            {
                break;
            }
        }
        let frames = &*frames;
        let is_same = |entry: PageEntry, expected: &Page| {
            let PageType::Table { .. } = entry.page_type() else {
                return frames.is_same(entry.pfn(), expected);
            };
            let mut table = [0; PAGE_SIZE];
            // What cannot be copied or sent is no change less; copying it says why.
            frames.copy(entry.pfn(), &mut table)
                && matches!(guest.normalise(entry, &mut table), Ok(true))
                && table == *expected
        };
        let changed = reference.compare(|pfn| frames.found_type(pfn), is_same);
        into.merge_bytes(changed.as_bytes());
        // Nothing was missed, whatever the guest took.
        self.all_dirty = false;
        Ok(())
    }

    /// Translates the page tables among freshly staged pages.
    fn normalise(&mut self, entries: &[PageEntry], pages: &mut [Page]) -> Result<(), DomainError> {
        let Kind::Pv(guest) = &self.kind else { return Ok(()) };
        let with_data = entries.iter().filter(|entry| entry.page_type().has_data());
        for (entry, page) in with_data.zip(pages) {
            if guest.normalise(*entry, page)? {
                continue;
            }
            if self.is_suspended {
                return Err(DomainError::Failed(format!(
                    "The page table at pfn {} maps memory that is not the guest's own; such a guest cannot be saved",
                    entry.pfn()
                )));
            }
            self.deferred.set(entry.pfn());
        }
        Ok(())
    }
}
