//! The memory of a domain that is being rebuilt: populated where the stream has pages, written through kept mappings.
//!
//! ```text
//!   pfn ──► frame: HVM the pfn itself; PV the machine frame that populating gave
//!   pfn ──► frame: HVM the pfn itself; PV the machine frame that populating returned
//!       └─► window (pfn / 4096) ──► mapped once; places are added as they are populated
//! ```

use super::journal::Journal;
use crate::window::{self, WINDOW_PFNS, by_window, pfn_at, split};
use crate::{Access, DomId, Gfn, GfnSlot, Mapping, Mfn, Xen, XenError};
use understudy_checkpoint::stream::limits::PFNS_MAX;
use understudy_checkpoint::{OutOfMemory, Page, Pfn, room};

/// Pfns of a superpage of 2 MiB.
pub(crate) const SUPERPAGE_PFNS: u64 = 512;
const SUPERPAGE_ORDER: u32 = 9;

/// Why a page cannot be put in place.
#[derive(thiserror::Error, Debug)]
pub enum MemoryError {
    /// The hypervisor refused.
    #[error(transparent)]
    Xen(#[from] XenError),
    /// This host lacks memory for the list of the guest's frames.
    #[error(transparent)]
    NoRoom(#[from] OutOfMemory),
    /// Xen gave fewer frames than needed.
    #[error(
        "Xen gave {done} of {wanted} pages to domain {domain}: this host lacks memory, or the guest's configuration allows less than the stream brings"
    )]
    NoMemory {
        /// The domain being rebuilt.
        domain: DomId,
        /// Pages populated.
        done: usize,
        /// Pages wanted.
        wanted: usize,
    },
    /// Xen did not take frames back.
    #[error("Xen took back only {done} of {wanted} pages of domain {domain}; destroy the domain")]
    Kept {
        /// The domain being rebuilt.
        domain: DomId,
        /// Pages taken back.
        done: usize,
        /// Pages that should have been taken back.
        wanted: usize,
    },
    /// A frame cannot be mapped.
    #[error(
        "Frame {pfn} of domain {domain} cannot be mapped (errno {errno}); the domain is not as libxl should have built it"
    )]
    Unmapped {
        /// The domain being rebuilt.
        domain: DomId,
        /// The page to be read or written.
        pfn: Pfn,
        /// Why it did not map; 0 if the mapping is read-only.
        errno: i32,
    },
}

/// The memory of one domain.
pub(crate) struct GuestMemory {
    xen: Xen,
    domain: DomId,
    /// The frame of each pfn; empty if nothing is populated.
    frames: Vec<GfnSlot>,
    is_hvm: bool,
    windows: Vec<Option<Mapping>>,
    /// The former content of overwritten pages, while the changes may have to be undone.
    journal: Option<Journal>,
}

/// How much of the former memory is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Undone {
    /// The memory is as it was before.
    Whole,
    /// The domain uses the memory. [`before`](GuestMemory::before) has what was overwritten; the rest can be read.
    Readable,
    /// Nothing reliable.
    Lost,
}

impl GuestMemory {
    pub(crate) fn new(xen: Xen, domain: DomId, is_hvm: bool) -> Self {
        Self { xen, domain, frames: Vec::new(), is_hvm, windows: Vec::new(), journal: None }
    }

    /// Starts to keep the content of pages before they are overwritten.
    pub(crate) fn begin_journal(&mut self) {
        self.journal = Some(Journal::default());
    }

    /// The content of a page when the journal began, if it was overwritten since.
    pub(crate) fn before(&self, pfn: Pfn) -> Option<&Page> {
        self.journal.as_ref()?.before(pfn)
    }

    /// Restores the memory to what it was when the journal began, as far as the domain allows.
    pub(crate) fn undo(&mut self) -> Undone {
        let Some(journal) = self.journal.take().filter(Journal::is_whole) else { return Undone::Lost };
        let is_mapped = !self.windows.is_empty();
        if is_mapped && journal.iter().all(|(pfn, page)| self.write(pfn, page).is_ok()) {
            return Undone::Whole;
        }
        self.journal = Some(journal);
        if is_mapped || self.map_for_reading().is_ok() { Undone::Readable } else { Undone::Lost }
    }

    /// Maps everything that is populated, read-only: frames that have become page tables cannot be mapped writable.
    fn map_for_reading(&mut self) -> Result<(), XenError> {
        let map = |frames: &[GfnSlot]| {
            let mut frames = frames.to_vec();
            frames.resize(WINDOW_PFNS, GfnSlot::EMPTY);
            let is_there = frames.iter().any(|frame| frame.is_filled());
            is_there.then(|| self.xen.map(self.domain, &frames, Access::Read)).transpose()
        };
        self.windows = self.frames.chunks(WINDOW_PFNS).map(map).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The frame of a pfn, if it is populated.
    pub(crate) fn frame(&self, pfn: Pfn) -> Option<Gfn> {
        self.slot(pfn).get()
    }

    /// The machine frame of a PV guest's pfn, if it is populated.
    pub(crate) fn pv_mfn(&self, pfn: Pfn) -> Option<Mfn> {
        debug_assert!(!self.is_hvm, "of other guests Xen alone knows the machine frames");
        self.frame(pfn).map(Gfn::pv_mfn)
    }

    fn slot(&self, pfn: Pfn) -> GfnSlot {
        self.frames.get(pfn.0 as usize).copied().unwrap_or(GfnSlot::EMPTY)
    }

    /// Populated pfns, ascending, with their frames.
    pub(crate) fn populated(&self) -> impl Iterator<Item = (Pfn, Gfn)> {
        self.frames.iter().zip(0..).filter_map(|(frame, pfn)| Some((Pfn(pfn), frame.get()?)))
    }

    /// Populates those of `pfns` that are not populated yet. They need not ascend.
    pub(crate) fn populate(&mut self, pfns: impl Iterator<Item = Pfn>) -> Result<(), MemoryError> {
        let mut missing: Vec<Pfn> = pfns.filter(|pfn| self.frame(*pfn).is_none()).collect();
        missing.sort_unstable();
        missing.dedup();
        let Some(last) = missing.last() else { return Ok(()) };
        assert!(last.0 < PFNS_MAX, "the reader bounds pfns");
        let count = last.0 as usize + 1;
        if self.frames.len() < count {
            let windows_count = window::count(count);
            let more = windows_count.saturating_sub(self.windows.len());
            room::reserve(&mut self.windows, more)?;
            room::lengthen(&mut self.frames, count, GfnSlot::EMPTY)?;
            self.windows.resize_with(windows_count, || None);
        }
        let populated = self.populate_all(&missing);
        // Where that failed, some are there all the same.
        missing.retain(|pfn| self.frame(*pfn).is_some());
        self.map_new(&missing)?;
        populated
    }

    /// Populates pfns, which ascend and are not populated yet.
    fn populate_all(&mut self, pfns: &[Pfn]) -> Result<(), MemoryError> {
        let mut rest = pfns;
        while !rest.is_empty() {
            let taken = if self.is_hvm && self.populate_superpage(rest)? {
                SUPERPAGE_PFNS as usize
            } else {
                let single = singles(rest, self.is_hvm);
                self.populate_singles(&rest[..single])?;
                single
            };
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Populates an aligned superpage if `rest` begins with one and Xen has one.
    fn populate_superpage(&mut self, rest: &[Pfn]) -> Result<bool, XenError> {
        if !starts_superpage(rest) {
            return Ok(false);
        }
        let superpage = &rest[..SUPERPAGE_PFNS as usize];
        if self.xen.populate_physmap(self.domain, SUPERPAGE_ORDER, &superpage[..1], |_, _| ())? != 1 {
            return Ok(false);
        }
        superpage.iter().for_each(|pfn| self.frames[pfn.0 as usize] = Gfn::of_hvm(*pfn).into());
        Ok(true)
    }

    fn populate_singles(&mut self, pfns: &[Pfn]) -> Result<(), MemoryError> {
        let Self { xen, frames, is_hvm, .. } = self;
        let done = xen.populate_physmap(self.domain, 0, pfns, |pfn, gfn| {
            frames[pfn.0 as usize] = if *is_hvm { Gfn::of_hvm(pfn) } else { gfn }.into();
        })?;
        if done != pfns.len() {
            return Err(MemoryError::NoMemory { domain: self.domain, done, wanted: pfns.len() });
        }
        Ok(())
    }

    /// Maps freshly populated pfns, which ascend.
    fn map_new(&mut self, pfns: &[Pfn]) -> Result<(), MemoryError> {
        for (_, pfns) in by_window(pfns) {
            for run in pfns.chunk_by(|one, next| one.0 + 1 == next.0) {
                self.map_run(run[0], run.len())?;
            }
        }
        Ok(())
    }

    fn map_run(&mut self, first: Pfn, run: usize) -> Result<(), MemoryError> {
        let (window, index) = split(first);
        match &mut self.windows[window] {
            Some(mapping) => {
                let first = first.0 as usize;
                mapping.remap(index, &self.frames[first..first + run])?;
            }
            none => {
                let slot = |place| {
                    let pfn = pfn_at(window, place).0 as usize;
                    self.frames.get(pfn).copied().unwrap_or(GfnSlot::EMPTY)
                };
                let frames: Vec<GfnSlot> = (0..WINDOW_PFNS).map(slot).collect();
                *none = Some(self.xen.map(self.domain, &frames, Access::ReadWrite)?);
            }
        }
        Ok(())
    }

    /// Writes a populated page.
    pub(crate) fn write(&mut self, pfn: Pfn, page: &Page) -> Result<(), MemoryError> {
        if let Some(mut journal) = self.journal.take() {
            journal.keep(pfn, |page| self.read(pfn, page).is_ok());
            self.journal = Some(journal);
        }
        let (mapping, index) = self.place(pfn);
        if mapping.write_page(index, page) {
            return Ok(());
        }
        Err(MemoryError::Unmapped { domain: self.domain, pfn, errno: mapping.error(index).unwrap_or(0) })
    }

    /// Reads a populated page.
    pub(crate) fn read(&self, pfn: Pfn, page: &mut Page) -> Result<(), MemoryError> {
        let (mapping, index) = self.place(pfn);
        if mapping.copy_page(index, page) {
            return Ok(());
        }
        Err(MemoryError::Unmapped { domain: self.domain, pfn, errno: mapping.error(index).unwrap_or(0) })
    }

    /// A populated page of a domain that does not run; `None` if nothing is populated there.
    ///
    /// # Safety
    /// As for [`Mapping::still_page`]: nobody writes to it meanwhile.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn still_page(&self, pfn: Pfn) -> Option<&Page> {
        self.frame(pfn)?;
        let (mapping, index) = self.place(pfn);
        // SAFETY: the caller's promise.
        unsafe { mapping.still_page(index) }
    }

    /// Returns frames to the host. `pfns` ascend and are populated.
    pub(crate) fn release(&mut self, pfns: &[Pfn]) -> Result<(), MemoryError> {
        for (_, run) in by_window(pfns) {
            // A frame that is mapped here is not free before it is unmapped.
            let places: Vec<(usize, GfnSlot)> =
                run.iter().map(|pfn| (split(*pfn).1, GfnSlot::EMPTY)).collect();
            self.place(run[0]).0.remap_each(&places)?;
        }
        let frames: Vec<Gfn> =
            pfns.iter().map(|pfn| self.frame(*pfn).expect("what is released is populated")).collect();
        let done = self.xen.decrease_reservation(self.domain, &frames)?;
        pfns.iter().take(done).for_each(|pfn| self.frames[pfn.0 as usize] = GfnSlot::EMPTY);
        if done < pfns.len() {
            return Err(MemoryError::Kept { domain: self.domain, done, wanted: pfns.len() });
        }
        Ok(())
    }

    /// Unmaps everything, because a frame that is mapped writable cannot become a PV guest's page table.
    pub(crate) fn unmap_all(&mut self) {
        self.windows.clear();
    }

    fn place(&self, pfn: Pfn) -> (&Mapping, usize) {
        let (window, index) = split(pfn);
        let window = self.windows.get(window).and_then(Option::as_ref);
        (window.expect("pages are populated before they are used"), index)
    }
}

/// How many of the first pfns must be populated singly, before the next whole superpage.
fn singles(pfns: &[Pfn], is_hvm: bool) -> usize {
    if !is_hvm {
        return pfns.len();
    }
    (1..pfns.len()).find(|index| starts_superpage(&pfns[*index..])).unwrap_or(pfns.len())
}

/// Whether ascending pfns begin with a whole aligned superpage.
fn starts_superpage(pfns: &[Pfn]) -> bool {
    let (first, last) = (pfns[0].0, pfns.get(SUPERPAGE_PFNS as usize - 1));
    first.is_multiple_of(SUPERPAGE_PFNS) && last == Some(&Pfn(first + SUPERPAGE_PFNS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superpages_are_whole_and_aligned() {
        let pfns: Vec<Pfn> = (500..1536).map(Pfn).collect();
        assert!(!starts_superpage(&pfns));
        assert_eq!(singles(&pfns, true), 12, "up to pfn 512");
        assert_eq!(singles(&pfns, false), pfns.len());
        assert!(starts_superpage(&pfns[12..]));
        assert!(!starts_superpage(&pfns[13..]));
        let mut holed = pfns.clone();
        holed.remove(100);
        assert!(!starts_superpage(&holed[12..]));
        assert_eq!(singles(&holed, true), 523, "up to pfn 1024");
    }
}
