//! A running domain as a [`Source`].
//!
//! ```text
//!   suspend ──► drain_dirty ──────────────► copy_pages ─────────────► capture_state ──► resume
//!   toolstack   CLEAN|FINAL into a buffer   from kept mappings, by    few hypercalls    toolstack
//!               that is never allocated,    several threads                             then: survey
//!               or all is compared
//! ```
//!
//! Not here: how a guest is suspended ([`Toolstack`]), what becomes of the pages.

use super::compare::{CompareError, Shadow};
use super::frames::Frames;
use super::hvm::HvmState;
use super::pv::PvGuest;
use super::toolstack::Toolstack;
use super::{error, gone};
use crate::{CpuPolicy, DomId, DomainInfo, HypercallBuffer, Xen};
use understudy_checkpoint::domain::{Description, DomainError, DomainState, GuestKind, Source};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::{DirtyBitmap, copy_into_by};
use understudy_checkpoint::stream::libxc::{CpuidLeaf, MsrEntry, Record};
use understudy_checkpoint::{PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use zerocopy::{FromBytes, IntoBytes};

/// What is particular about a kind of guest.
enum Kind {
    /// HVM and PVH: a pfn is a gfn.
    Hvm(HvmState),
    Pv(Box<PvGuest>),
}

impl Kind {
    fn frame(&self, pfn: Pfn) -> u64 {
        match self {
            Self::Hvm(_) => pfn.0,
            Self::Pv(guest) => guest.frame(pfn),
        }
    }
}

/// How changed pages are found.
enum Changes {
    /// In Xen's log: what CLEAN writes into, a bit for each pfn.
    Logged(HypercallBuffer),
    /// By comparing, where Xen has no log.
    Compared(Box<Shadow>),
}

/// A domain that is saved or protected. Its mappings end with it; its dirty log ends with
/// [`end_log_dirty`](Source::end_log_dirty), or when the next source begins one.
pub struct XenSource<T> {
    xen: Xen,
    domain: DomId,
    toolstack: T,
    kind: Kind,
    frames: Frames,
    changes: Changes,
    page_count: u64,
    is_tracking: bool,
    is_suspended: bool,
    /// Page tables that named frames not the guest's own while it ran: they are dirty still.
    deferred: DirtyBitmap,
    /// The next drain that finds the guest suspended takes every page for dirty.
    all_dirty: bool,
    /// Pfns to look up before the next copy.
    unsure: Vec<Pfn>,
    /// What the hypervisor does not know: the kind as libxl tells kinds apart, and libxl's configuration.
    named: Option<(GuestKind, Vec<u8>)>,
}

impl<T: Toolstack> XenSource<T> {
    /// The domain as a source, suspended if it was found so. Maps nothing of its memory yet.
    pub fn open(xen: Xen, domain: DomId, toolstack: T) -> Result<Self, DomainError> {
        let info = info(&xen, domain)?;
        let (kind, page_count) = if info.is_hvm() {
            let page_count = xen.maximum_gpfn(domain).map_err(error)? + 1;
            (Kind::Hvm(HvmState::default()), page_count)
        } else {
            let guest = PvGuest::open(&xen, domain, &info)?;
            let page_count = guest.pfn_count();
            (Kind::Pv(Box::new(guest)), page_count)
        };
        let log = HypercallBuffer::new(page_count.div_ceil(64) as usize * 8).map_err(|why| {
            DomainError::Failed(format!("No memory for the dirty log of {page_count} pages: {why}"))
        })?;
        let frames = Frames::new(xen.clone(), domain, page_count, info.tot_pages);
        Ok(Self {
            xen,
            domain,
            toolstack,
            kind,
            frames,
            changes: Changes::Logged(log),
            page_count,
            is_tracking: false,
            is_suspended: info.is_suspended(),
            deferred: DirtyBitmap::new(page_count),
            all_dirty: false,
            unsure: Vec::new(),
            named: None,
        })
    }

    /// Told what libxl knows of it, for a stream that `xl` is to read.
    pub fn named(self, kind: GuestKind, config: Vec<u8>) -> Self {
        Self { named: Some((kind, config)), ..self }
    }

    /// Has the changes of a PV guest found by comparing all of it in each pause, for a Xen that cannot log them: takes as
    /// much memory as the guest has, which `bytes_max` bounds, and up to `threads` threads.
    pub fn comparing(self, bytes_max: u64, threads: usize) -> Result<Self, CompareError> {
        let Kind::Pv(_) = self.kind else { return Err(CompareError::NotPv { domain: self.domain }) };
        let shadow = Shadow::new(self.domain, self.page_count, bytes_max, threads)?;
        Ok(Self { changes: Changes::Compared(Box::new(shadow)), ..self })
    }

    /// How much of this host's memory comparing takes; 0 where Xen logs.
    pub fn compared_bytes(&self) -> u64 {
        match &self.changes {
            Changes::Logged(_) => 0,
            Changes::Compared(shadow) => shadow.bytes(),
        }
    }

    /// Pfns are below this.
    pub fn page_count(&self) -> u64 {
        self.page_count
    }

    /// The toolstack that suspends and resumes it.
    pub fn toolstack(&mut self) -> &mut T {
        &mut self.toolstack
    }

    /// A PV guest's memory is written by no device model, and libxl fails when asked about one.
    fn log_device_model(&mut self, on: bool) -> Result<(), DomainError> {
        match self.kind {
            Kind::Hvm(_) => self.toolstack.log_device_model(on),
            Kind::Pv(_) => Ok(()),
        }
    }

    /// Static records of the stream's head.
    fn static_records(&self) -> Result<Vec<u8>, DomainError> {
        let mut out = Vec::new();
        if let Kind::Pv(_) = self.kind {
            PvGuest::write_info(&mut out);
        }
        write_policy(&self.xen.cpu_policy(self.domain).map_err(error)?, &mut out);
        Record::StaticDataEnd.write(&mut out);
        if let Kind::Pv(guest) = &self.kind {
            guest.write_p2m_frames(&mut out)?;
        }
        Ok(out)
    }

    /// Looks up what is not sure of `wanted` from `from` on, as far as `room` entries reach. Types of a PV guest's
    /// frames change as it makes and drops page tables, so they are asked for each time.
    fn make_sure(&mut self, wanted: &DirtyBitmap, from: Pfn, room: usize) -> Result<(), DomainError> {
        let Self { kind, frames, unsure, .. } = self;
        unsure.clear();
        let pfns = wanted.runs(from).flatten().take(room).map(Pfn);
        match kind {
            Kind::Hvm(_) => unsure.extend(pfns.filter(|pfn| frames.sure_type(*pfn).is_none())),
            Kind::Pv(_) => unsure.extend(pfns),
        }
        frames.look_up(unsure, &|pfn| kind.frame(pfn)).map_err(error)
    }

    /// Marks what differs from what was staged of it last.
    fn compare(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        let Self { kind: Kind::Pv(guest), frames, changes: Changes::Compared(shadow), unsure, .. } = self
        else {
            return Ok(());
        };
        unsure.clear();
        unsure.extend((0..self.page_count).map(Pfn));
        frames.look_up(unsure, &|pfn| guest.frame(pfn)).map_err(error)?;
        let frames = &*frames;
        let is_same = |entry: PageEntry, expected: &Page| {
            let PageType::Table { .. } = entry.page_type() else {
                return frames.is_same(entry.pfn(), expected);
            };
            let mut table = [0; PAGE_SIZE];
            frames.copy(entry.pfn(), &mut table);
            // What cannot be sent is no change; copying it says why.
            matches!(guest.normalise(entry, &mut table), Ok(true)) && table == *expected
        };
        let changed = shadow.compare(|pfn| frames.found_type(pfn), is_same);
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

impl<T: Toolstack> Source for XenSource<T> {
    fn describe(&mut self) -> Result<Description, DomainError> {
        let (kind, config) = match (&self.named, &self.kind) {
            (Some(named), _) => named.clone(),
            // A libxc stream does not tell HVM and PVH apart.
            (None, Kind::Hvm(_)) => (GuestKind::Pvh, Vec::new()),
            (None, Kind::Pv(_)) => (GuestKind::Pv, Vec::new()),
        };
        Ok(Description {
            kind,
            page_count: self.page_count,
            libxc_version: 3,
            xen_version: self.xen.version(),
            config,
            static_records: self.static_records()?,
        })
    }

    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        if let Changes::Compared(shadow) = &mut self.changes {
            shadow.forget();
            return Ok(());
        }
        self.log_device_model(true)?;
        // From here on there is something to end, also if only half of it began.
        self.is_tracking = true;
        self.xen.enable_log_dirty(self.domain).map_err(error)
    }

    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        if std::mem::take(&mut self.is_tracking) {
            self.xen.disable_log_dirty(self.domain).map_err(error)?;
            self.log_device_model(false)?;
        }
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), DomainError> {
        self.toolstack.suspend()?;
        let info = info(&self.xen, self.domain)?;
        if !info.is_suspended() {
            return Err(gone(&info));
        }
        self.is_suspended = true;
        self.all_dirty |= self.frames.begin_pause(info.tot_pages);
        match &mut self.kind {
            Kind::Hvm(_) => Ok(()),
            Kind::Pv(guest) => guest.check_p2m(),
        }
    }

    fn resume(&mut self) -> Result<(), DomainError> {
        if !self.is_suspended {
            return Ok(());
        }
        self.frames.end_pause(info(&self.xen, self.domain)?.tot_pages);
        self.toolstack.resume()?;
        self.is_suspended = false;
        let Self { kind, frames, deferred, .. } = self;
        // The guest runs. What is not found now is found in the next round.
        if let Err(error) = frames.survey(&|pfn| kind.frame(pfn), |pfn| deferred.set(pfn)) {
            tracing::warn!(domain = %self.domain, %error, "Pages that the guest gave back are not looked for");
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), DomainError> {
        if self.is_suspended { Ok(()) } else { self.toolstack.settle().map(|_| ()) }
    }

    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        match &mut self.changes {
            Changes::Logged(log) => {
                let clean = self.xen.clean_log_dirty(self.domain, log, self.page_count, self.is_suspended);
                clean.map_err(error)?;
                into.merge_bytes(log.as_bytes());
            }
            Changes::Compared(_) if self.is_suspended => self.compare(into)?,
            // The pause finds everything anyway: there is nothing to be won by asking a running guest.
            Changes::Compared(_) => {}
        }
        self.deferred.drain_into(into);
        if !self.is_suspended {
            self.frames.look_live(info(&self.xen, self.domain)?.tot_pages);
        } else if self.all_dirty {
            tracing::info!(domain = %self.domain, "The guest took memory: all of it is copied once");
            let Self { kind, frames, .. } = self;
            frames.mark_present(into, &|pfn| kind.frame(pfn)).map_err(error)?;
            self.all_dirty = false;
        }
        Ok(())
    }

    fn copy_pages(
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
        copy_into_by(entries, pages, copiers, |pfn, page| frames.copy(pfn, page));
        let next = pfns.next();
        self.normalise(entries, pages)?;
        if let Changes::Compared(shadow) = &mut self.changes {
            shadow.keep(entries, pages);
        }
        Ok(next)
    }

    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        match &mut self.kind {
            Kind::Hvm(state) => state.capture(&self.xen, self.domain, &mut into.libxc).map_err(error),
            Kind::Pv(guest) => guest.capture(&mut into.libxc),
        }
    }

    fn capture_device_model(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        self.toolstack.save_device_model(&mut into.libxl)
    }
}

fn info(xen: &Xen, domain: DomId) -> Result<DomainInfo, DomainError> {
    let info = xen.domain_info(domain).map_err(error)?;
    info.ok_or_else(|| DomainError::Gone(format!("There is no domain {domain} any more")))
}

/// The policy's records; an empty part is left out.
fn write_policy(policy: &CpuPolicy, out: &mut Vec<u8>) {
    let leaves = <[CpuidLeaf]>::ref_from_bytes(&policy.leaves).expect("Xen gives whole leaves");
    let msrs = <[MsrEntry]>::ref_from_bytes(&policy.msrs).expect("Xen gives whole entries");
    if !leaves.is_empty() {
        Record::CpuidPolicy(leaves).write(out);
    }
    if !msrs.is_empty() {
        Record::MsrPolicy(msrs).write(out);
    }
}

#[cfg(test)]
mod tests;
