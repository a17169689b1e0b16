//! Tripwire marks in the dirty log: as long as they are there, nobody else has read the log.
//!
//! ```text
//!   pause N   CLEAN ─► marks at 4 pages ─┐ the guest runs ┌─► pause N+1   CLEAN: all are in it     the log is whole
//!                                        └────────────────┘
//!             others CLEAN, or switch it off and on ─────────────────►   CLEAN: one is not in it   the log is lost
//! ```
//!
//! Other readers are `xl migrate`, `xl save` and `remus`. They take the log over, and switch it off when they end
//! normally, which the source notices. One that is killed, as `xl migrate` is when its connection breaks, leaves the
//! log on after taking an unknown part of it.
//!
//! The guest may write a marked page itself after somebody took its mark (seen with the page it writes most). So there
//! are several marks, at other pages each time, and at pages that were not written last.
//!
//! Marks are made at pages that the guest has. A page that is given back later keeps its mark. One that is given back
//! in the moment between the look and the mark gets none, and the log counts as lost; that can happen only while the guest
//! runs, and costs a full sync.
//!
//! Reading the log takes the marks, and new ones are made at once. Those of a PV guest are made only while it is suspended,
//! so what others take between a reading while it runs and the next pause goes unnoticed.
//!
//! Not here: what follows from a lost log.

use super::{Kind, XenSource, error};
use crate::domain::toolstack::Toolstack;
use crate::{DomId, Gfn, XenError};
use understudy_checkpoint::domain::DomainError;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{PageType, Pfn};

/// Pages marked in each pause.
const MARKS: usize = 4;

/// Pfns considered for marks in each pause.
const CANDIDATES: usize = 16;

/// Step of the seed from one sample of pages to the next.
const SEED_STEP: usize = 1_000_003;

/// Where the marks are.
#[derive(Debug, Default)]
pub(super) struct Tripwire {
    marked: [Pfn; MARKS],
    /// Marks in the log, unless somebody else took them.
    count: usize,
    seed: usize,
    /// Xen cannot make marks for us.
    is_refused: bool,
}

impl Tripwire {
    /// Forgets the marks: a log that begins has none.
    pub(super) fn lower(&mut self) {
        self.count = 0;
    }

    /// Whether the marks are in a log that was just read, and so removed from Xen's; `None` if there were none.
    pub(super) fn is_in(&mut self, log: &[u8]) -> Option<bool> {
        let count = std::mem::take(&mut self.count);
        let is_in = |pfn: &Pfn| log[pfn.0 as usize / 8] & 1 << (pfn.0 % 8) != 0;
        (count > 0).then(|| self.marked[..count].iter().all(is_in))
    }
}

/// Fills `places` from `items`, as far as there is room. Returns how many were filled.
fn fill<T>(places: &mut [T], items: impl Iterator<Item = T>) -> usize {
    let mut count = 0;
    for (place, item) in places.iter_mut().zip(items) {
        *place = item;
        count += 1;
    }
    count
}

/// The error for a mark that is gone.
pub(super) fn read_by_others(domain: DomId) -> DomainError {
    DomainError::LogLost(format!(
        "the dirty log of domain {domain} was read by another tool (xl migrate, xl save, remus), which took from it what the \
         guest wrote; end that tool"
    ))
}

impl<T: Toolstack> XenSource<T> {
    /// Sets the next marks, at pages that were not `written`. A PV guest is suspended.
    pub(super) fn set_tripwire(&mut self, written: &DirtyBitmap) -> Result<(), DomainError> {
        if self.tripwire.is_refused {
            return Ok(());
        }
        self.tripwire.seed = self.tripwire.seed.wrapping_add(SEED_STEP);
        let (pages, count) = self.pages_to_mark(written).map_err(error)?;
        if count == 0 {
            return Ok(());
        }
        let marked = match &self.kind {
            Kind::Hvm(_) => self.xen.mark_dirty(self.domain, &pages.map(|(pfn, _)| pfn)[..count]),
            Kind::Pv(_) => {
                let pages = pages.map(|(pfn, gfn)| (pfn, gfn.pv_mfn()));
                self.xen.mark_dirty_pv(self.domain, &pages[..count])
            }
        };
        match marked {
            Ok(()) => (self.tripwire.marked, self.tripwire.count) = (pages.map(|(pfn, _)| pfn), count),
            Err(gone @ XenError::Gone { .. }) => return Err(error(gone)),
            Err(why) => {
                tracing::warn!(domain = %self.domain, %why, "Other tools that read the dirty log are not noticed; use none");
                self.tripwire.is_refused = true;
            }
        }
        Ok(())
    }

    /// Pages that the guest has, with their frames, and their number.
    fn pages_to_mark(&self, written: &DirtyBitmap) -> Result<([(Pfn, Gfn); MARKS], usize), XenError> {
        let mut pfns = [Pfn(0); CANDIDATES];
        // Xen refuses to mark the highest pfn.
        let is_wanted =
            |pfn: Pfn| !written.get(pfn) && pfn.0 + 1 < self.page_count && self.kind.frame(pfn).is_some();
        let sampled = self.frames.sample(self.tripwire.seed, is_wanted, &mut pfns);
        let with_frame = |pfn: &Pfn| self.kind.frame(*pfn).map(|gfn| (*pfn, gfn));
        let mut candidates = [(Pfn(0), Gfn(0)); CANDIDATES];
        let count = fill(&mut candidates, pfns[..sampled].iter().filter_map(with_frame));
        let (gfns, mut types) = (candidates.map(|(_, gfn)| gfn), [0; CANDIDATES]);
        self.xen.page_types(self.domain, &gfns[..count], &mut types[..count])?;
        let is_normal = |nibble: u8| PageType::from_nibble(nibble) == Some(PageType::Normal);
        let normal = candidates[..count].iter().zip(types).filter(|(_, nibble)| is_normal(*nibble));
        let mut pages = [(Pfn(0), Gfn(0)); MARKS];
        let count = fill(&mut pages, normal.map(|(page, _)| *page));
        Ok((pages, count))
    }
}
