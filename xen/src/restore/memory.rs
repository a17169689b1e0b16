//! Memory of a domain being rebuilt: populated where the stream has pages, written through kept mappings.
//!
//! ```text
//!   pfn ──► frame: HVM the pfn itself; PV the machine frame that populating gave
//!       └─► window (pfn / 4096) ──► mapped once, places added as they are populated
//! ```

use super::journal::Journal;
use crate::{Access, DomId, Mapping, Xen, XenError};
use understudy_checkpoint::stream::limits::PFNS_MAX;
use understudy_checkpoint::{OutOfMemory, Page, Pfn, room};

/// Pfns in one mapping: 16 MiB.
const WINDOW_PFNS: u64 = 4096;

/// Pfns of a superpage of 2 MiB.
pub(crate) const SUPERPAGE_PFNS: u64 = 512;
const SUPERPAGE_ORDER: u32 = 9;

/// Stands for no frame.
pub(crate) const NO_FRAME: u64 = u64::MAX;

/// Why a page cannot be put in place.
#[derive(thiserror::Error, Debug)]
pub enum MemoryError {
    /// The hypervisor refused.
    #[error(transparent)]
    Xen(#[from] XenError),
    /// This host has no memory for the lists of the guest's frames.
    #[error(transparent)]
    NoRoom(#[from] OutOfMemory),
    /// Not all frames could be had.
    #[error(
        "Xen gave {done} of {wanted} pages to domain {domain}: this host lacks memory, or the guest's configuration allows less than the stream brings"
    )]
    NoMemory {
        /// The domain.
        domain: DomId,
        /// Pages populated.
        done: usize,
        /// Pages wanted.
        wanted: usize,
    },
    /// Frames cannot be given back.
    #[error("Xen took back only {done} of {wanted} pages of domain {domain}; destroy the domain")]
    Kept {
        /// The domain.
        domain: DomId,
        /// Pages taken back.
        done: usize,
        /// Pages that should have been.
        wanted: usize,
    },
    /// A frame cannot be mapped.
    #[error(
        "Frame {pfn} of domain {domain} cannot be mapped (errno {errno}); the domain is not as libxl should have built it"
    )]
    Unmapped {
        /// The domain.
        domain: DomId,
        /// The frame.
        pfn: Pfn,
        /// Why.
        errno: i32,
    },
}

/// The memory of one domain.
pub(crate) struct GuestMemory {
    xen: Xen,
    domain: DomId,
    /// Frames behind pfns, [`NO_FRAME`] where nothing is populated.
    frames: Vec<u64>,
    is_hvm: bool,
    windows: Vec<Option<Mapping>>,
    scratch: Vec<u64>,
    /// What pages held before, while it is to be undone.
    journal: Option<Journal>,
}

/// What there is of pages as they were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Undone {
    /// The memory is as it was.
    Whole,
    /// The domain has it in use; [`before`](GuestMemory::before) has what was overwritten, the rest can be read.
    Readable,
    /// Nothing that could be relied on.
    Lost,
}

impl GuestMemory {
    pub(crate) fn new(xen: Xen, domain: DomId, is_hvm: bool) -> Self {
        Self {
            xen,
            domain,
            frames: Vec::new(),
            is_hvm,
            windows: Vec::new(),
            scratch: Vec::new(),
            journal: None,
        }
    }

    /// From here on keeps what pages hold before they are overwritten.
    pub(crate) fn begin_journal(&mut self) {
        self.journal = Some(Journal::default());
    }

    /// What a page held when the journal began, if it was overwritten since.
    pub(crate) fn before(&self, pfn: Pfn) -> Option<&Page> {
        self.journal.as_ref()?.before(pfn)
    }

    /// Makes it again what it was when the journal began, as far as the domain still lets it.
    pub(crate) fn undo(&mut self) -> Undone {
        let Some(journal) = self.journal.take().filter(Journal::is_whole) else { return Undone::Lost };
        let is_mapped = !self.windows.is_empty();
        if is_mapped && journal.iter().all(|(pfn, page)| self.write(pfn, page).is_ok()) {
            return Undone::Whole;
        }
        self.journal = Some(journal);
        if is_mapped || self.map_for_reading().is_ok() { Undone::Readable } else { Undone::Lost }
    }

    /// Maps everything that is populated. Frames that are page tables by now cannot be mapped for more than reading.
    fn map_for_reading(&mut self) -> Result<(), XenError> {
        let map = |frames: &[u64]| {
            let mut frames = frames.to_vec();
            frames.resize(WINDOW_PFNS as usize, NO_FRAME);
            let is_there = frames.iter().any(|frame| *frame != NO_FRAME);
            is_there.then(|| self.xen.map(self.domain, &frames, Access::Read)).transpose()
        };
        self.windows = self.frames.chunks(WINDOW_PFNS as usize).map(map).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The frame behind a pfn.
    pub(crate) fn frame(&self, pfn: Pfn) -> u64 {
        self.frames.get(pfn.0 as usize).copied().unwrap_or(NO_FRAME)
    }

    /// Frames behind pfns from 0 on.
    pub(crate) fn frames(&self) -> &[u64] {
        &self.frames
    }

    /// Populates those of `pfns`, ascending or not, that are not yet.
    pub(crate) fn populate(&mut self, pfns: impl Iterator<Item = Pfn>) -> Result<(), MemoryError> {
        let mut missing: Vec<u64> =
            pfns.filter(|pfn| self.frame(*pfn) == NO_FRAME).map(|pfn| pfn.0).collect();
        missing.sort_unstable();
        missing.dedup();
        let Some(last) = missing.last() else { return Ok(()) };
        assert!(*last < PFNS_MAX, "the reader bounds pfns");
        if self.frames.len() <= *last as usize {
            let count = *last as usize + 1;
            let windows_count = count.div_ceil(WINDOW_PFNS as usize);
            let more = windows_count.saturating_sub(self.windows.len());
            room::reserve(&mut self.windows, more)?;
            room::lengthen(&mut self.frames, count, NO_FRAME)?;
            self.windows.resize_with(windows_count, || None);
        }
        let populated = self.populate_all(&missing);
        // Where that failed, some are there all the same.
        missing.retain(|pfn| self.frames[*pfn as usize] != NO_FRAME);
        self.map_new(&missing)?;
        populated
    }

    /// Populates pfns, ascending, none of which is yet.
    fn populate_all(&mut self, pfns: &[u64]) -> Result<(), MemoryError> {
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

    /// Populates the aligned 2 MiB that `rest` begins with, if it does and Xen has such a piece.
    fn populate_superpage(&mut self, rest: &[u64]) -> Result<bool, XenError> {
        if !starts_superpage(rest) {
            return Ok(false);
        }
        let first = rest[0];
        if self.xen.populate_physmap(self.domain, SUPERPAGE_ORDER, &mut [first])? != 1 {
            return Ok(false);
        }
        (first..first + SUPERPAGE_PFNS).for_each(|pfn| self.frames[pfn as usize] = pfn);
        Ok(true)
    }

    fn populate_singles(&mut self, pfns: &[u64]) -> Result<(), MemoryError> {
        self.scratch.clear();
        self.scratch.extend_from_slice(pfns);
        let done = self.xen.populate_physmap(self.domain, 0, &mut self.scratch)?;
        for (pfn, frame) in pfns.iter().zip(&self.scratch).take(done) {
            self.frames[*pfn as usize] = if self.is_hvm { *pfn } else { *frame };
        }
        if done != pfns.len() {
            return Err(MemoryError::NoMemory { domain: self.domain, done, wanted: pfns.len() });
        }
        Ok(())
    }

    /// Maps freshly populated pfns, ascending.
    fn map_new(&mut self, pfns: &[u64]) -> Result<(), MemoryError> {
        let mut rest = pfns;
        while let Some(first) = rest.first().copied() {
            let run = rest.iter().zip(first..).take_while(|(pfn, next)| *pfn == next).count();
            let in_window = (WINDOW_PFNS - first % WINDOW_PFNS) as usize;
            let run = run.min(in_window);
            self.map_run(first, run)?;
            rest = &rest[run..];
        }
        Ok(())
    }

    fn map_run(&mut self, first: u64, run: usize) -> Result<(), MemoryError> {
        let window = (first / WINDOW_PFNS) as usize;
        match &mut self.windows[window] {
            Some(mapping) => {
                let frames = &self.frames[first as usize..first as usize + run];
                mapping.remap((first % WINDOW_PFNS) as usize, frames)?;
            }
            none => {
                let start = window as u64 * WINDOW_PFNS;
                let frames: Vec<u64> = (start..start + WINDOW_PFNS)
                    .map(|pfn| self.frames.get(pfn as usize).copied().unwrap_or(NO_FRAME))
                    .collect();
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

    /// A populated page of a domain that stands still; `None` if nothing is populated there.
    ///
    /// # Safety
    /// As for [`Mapping::still_page`]: nobody writes to it meanwhile.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn still_page(&self, pfn: Pfn) -> Option<&Page> {
        if self.frame(pfn) == NO_FRAME {
            return None;
        }
        let (mapping, index) = self.place(pfn);
        // SAFETY: the caller's promise.
        unsafe { mapping.still_page(index) }
    }

    /// Gives frames back to the host: `pfns` ascend and are populated.
    pub(crate) fn release(&mut self, pfns: &[u64]) -> Result<(), MemoryError> {
        let window_of = |pfn: &u64| (pfn / WINDOW_PFNS) as usize;
        for run in pfns.chunk_by(|one, next| window_of(one) == window_of(next)) {
            // A frame that is mapped here is not free before it is unmapped.
            let places: Vec<(usize, u64)> =
                run.iter().map(|pfn| ((pfn % WINDOW_PFNS) as usize, NO_FRAME)).collect();
            self.place(Pfn(run[0])).0.remap_each(&places)?;
        }
        let frames: Vec<u64> = pfns.iter().map(|pfn| self.frames[*pfn as usize]).collect();
        let done = self.xen.decrease_reservation(self.domain, &frames)?;
        pfns.iter().take(done).for_each(|pfn| self.frames[*pfn as usize] = NO_FRAME);
        if done < pfns.len() {
            return Err(MemoryError::Kept { domain: self.domain, done, wanted: pfns.len() });
        }
        Ok(())
    }

    /// Unmaps everything. A frame that is mapped writable cannot become a PV guest's page table.
    pub(crate) fn unmap_all(&mut self) {
        self.windows.clear();
    }

    fn place(&self, pfn: Pfn) -> (&Mapping, usize) {
        let window = self.windows.get((pfn.0 / WINDOW_PFNS) as usize).and_then(Option::as_ref);
        (window.expect("pages are populated before they are used"), (pfn.0 % WINDOW_PFNS) as usize)
    }
}

/// How many of the first pfns have to come one by one: up to the next that begins a whole superpage.
fn singles(pfns: &[u64], is_hvm: bool) -> usize {
    if !is_hvm {
        return pfns.len();
    }
    (1..pfns.len()).find(|index| starts_superpage(&pfns[*index..])).unwrap_or(pfns.len())
}

/// Whether ascending pfns begin with all of an aligned superpage.
fn starts_superpage(pfns: &[u64]) -> bool {
    let last = pfns.get(SUPERPAGE_PFNS as usize - 1);
    pfns[0].is_multiple_of(SUPERPAGE_PFNS) && last == Some(&(pfns[0] + SUPERPAGE_PFNS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superpages_are_whole_and_aligned() {
        let pfns: Vec<u64> = (500..1536).collect();
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
