//! [`XenSource`]: a running domain as a [`Source`].
//!
//! ```text
//!   suspend ──► drain_dirty ──────────────► copy_pages ─────────────► capture_state ──► resume
//!   toolstack   CLEAN|FINAL into a buffer   from kept mappings, by    few hypercalls    toolstack
//!               that is never allocated,    several threads                             later: survey
//!               or all is compared
//!               is the log still on?
//! ```
//!
//! Xen alone knows whether the guest is suspended, and is asked again whenever suspending or resuming failed. If a
//! running guest were taken for suspended, its vCPU would be rewritten while it runs; if a suspended guest were taken
//! for running, it would never continue.
//!
//! Not here: how a guest is suspended ([`Toolstack`]), and how pages are found and copied (`pages`).

mod checks;
mod head;
mod kind;
mod pages;
mod tripwire;
mod unmarked;

use super::compare::{CompareError, Reference};
use super::frames::Frames;
use super::toolstack::{Settled, Toolstack};
use super::{error, gone};
use crate::{DomId, DomainInfo, HypercallBuffer, Xen, calls};
use kind::{Kind, kind_of};
use tripwire::Tripwire;
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{
    Calls, Description, DomainError, DomainState, GuestKind, LogTells, Source,
};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::DirtyBitmap;

/// How changed pages are found.
enum Changes {
    /// In Xen's log. CLEAN writes into this buffer, a bit for each pfn.
    Logged(HypercallBuffer),
    /// By comparing, because Xen has no log.
    Compared(Box<Reference>),
}

/// The memory and threads that comparing may use.
#[derive(Clone, Copy)]
struct CompareBounds {
    bytes_max: u64,
    threads: usize,
}

/// A domain that is saved or protected. Dropping it unmaps the domain's memory. The dirty log ends with
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
    /// Page tables that named frames not the guest's own while it ran. They count as dirty.
    deferred: DirtyBitmap,
    /// The next drain that finds the guest suspended counts every page as dirty.
    all_dirty: bool,
    /// Pfns to look up before the next copy.
    unsure: Vec<Pfn>,
    /// The guest has run since the log was last read.
    has_run: bool,
    /// Resuming the guest left something to do.
    is_behind: bool,
    /// The guest has more pfns, or other tables, than [`describe`](Source::describe) returned.
    is_outgrown: bool,
    /// How many frames others than the guest may write; see `unmarked`.
    others_frames_max: u64,
    tripwire: Tripwire,
    compare: Option<CompareBounds>,
    /// The guest's kind and configuration, which libxl knows and the hypervisor does not.
    named: Option<(GuestKind, Vec<u8>)>,
    /// The caller's value, dropped last; see [`holding`](Self::holding).
    _held: Option<Box<dyn Send>>,
}

impl<T: Toolstack> XenSource<T> {
    /// Opens a domain as a source; it may be suspended already. Maps none of its memory yet.
    pub fn open(xen: Xen, domain: DomId, toolstack: T) -> Result<Self, DomainError> {
        let info = info(&xen, domain)?;
        let (kind, page_count) = kind_of(&xen, domain, &info)?;
        Ok(Self {
            frames: Frames::new(xen.clone(), domain, page_count, info.tot_pages)?,
            xen,
            domain,
            toolstack,
            kind,
            changes: Changes::Logged(log_of(page_count)?),
            page_count,
            is_tracking: false,
            is_suspended: info.is_suspended(),
            deferred: DirtyBitmap::try_new(page_count)?,
            all_dirty: false,
            unsure: Vec::new(),
            has_run: true,
            is_behind: false,
            is_outgrown: false,
            others_frames_max: unmarked::frames_max(&info),
            tripwire: Tripwire::default(),
            compare: None,
            named: None,
            _held: None,
        })
    }

    /// Finds the guest's tables and number of pfns again. Nothing counts as copied afterwards.
    fn find_anew(&mut self) -> Result<(), DomainError> {
        let info = info(&self.xen, self.domain)?;
        let (kind, page_count) = kind_of(&self.xen, self.domain, &info)?;
        let changes = match self.compare {
            None => Changes::Logged(log_of(page_count)?),
            Some(bounds) => {
                // Both together may be more memory than may be had.
                self.changes = Changes::Logged(log_of(1)?);
                Changes::Compared(Box::new(self.reference(page_count, bounds).map_err(compare_error)?))
            }
        };
        let deferred = DirtyBitmap::try_new(page_count)?;
        self.frames = Frames::new(self.xen.clone(), self.domain, page_count, info.tot_pages)?;
        self.deferred = deferred;
        (self.kind, self.page_count, self.changes) = (kind, page_count, changes);
        (self.all_dirty, self.is_outgrown) = (false, false);
        Ok(())
    }

    fn reference(&self, page_count: u64, bounds: CompareBounds) -> Result<Reference, CompareError> {
        Reference::new(self.domain, page_count, bounds.bytes_max, bounds.threads)
    }

    /// Sets the kind and configuration that libxl knows, for a stream that `xl` will read.
    pub fn named(self, kind: GuestKind, config: Vec<u8>) -> Self {
        Self { named: Some((kind, config)), ..self }
    }

    /// Keeps `what` alive as long as the source; for example a lock that shows others that the log is in use.
    pub fn holding(self, what: impl Send + 'static) -> Self {
        Self { _held: Some(Box::new(what)), ..self }
    }

    /// Finds the changes of a PV guest by comparing all its pages in each pause, for a Xen that cannot log them. Uses
    /// as much memory as the guest has, `bytes_max` at most, and up to `threads` threads.
    pub fn comparing(self, bytes_max: u64, threads: usize) -> Result<Self, CompareError> {
        let Kind::Pv(_) = self.kind else { return Err(CompareError::NotPv { domain: self.domain }) };
        let bounds = CompareBounds { bytes_max, threads };
        let reference = self.reference(self.page_count, bounds)?;
        Ok(Self { changes: Changes::Compared(Box::new(reference)), compare: Some(bounds), ..self })
    }

    /// Bytes of this host's memory that comparing uses; 0 if Xen logs.
    pub fn compared_bytes(&self) -> u64 {
        match &self.changes {
            Changes::Logged(_) => 0,
            Changes::Compared(reference) => reference.bytes(),
        }
    }

    /// The number of pfns.
    pub fn page_count(&self) -> u64 {
        self.page_count
    }

    /// The toolstack that suspends and resumes the guest.
    pub fn toolstack(&mut self) -> &mut T {
        &mut self.toolstack
    }

    /// Switches the device model's reporting. Not for PV guests: no device model writes their memory, and libxl fails
    /// when asked about one.
    fn log_device_model(&mut self, on: bool) -> Result<(), DomainError> {
        match self.kind {
            Kind::Hvm(_) => self.toolstack.log_device_model(on),
            Kind::Pv(_) => Ok(()),
        }
    }
}

impl<T: Toolstack> Source for XenSource<T> {
    fn describe(&mut self) -> Result<Description, DomainError> {
        if self.is_outgrown {
            self.find_anew()?;
        }
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
            disks_bytes: Vec::new(),
        })
    }

    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        if let Changes::Compared(reference) = &mut self.changes {
            reference.forget();
            return Ok(());
        }
        self.log_device_model(true)?;
        // From here on there is something to end, also if only half of it began.
        self.is_tracking = true;
        self.tripwire.lower();
        self.xen.enable_log_dirty(self.domain).map_err(error)?;
        self.frames.forget(|| info(&self.xen, self.domain).map(|info| info.tot_pages))
    }

    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        self.toolstack.leave_alone();
        if self.is_tracking {
            self.xen.disable_log_dirty(self.domain).map_err(error)?;
            self.log_device_model(false)?;
            self.is_tracking = false;
        }
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), DomainError> {
        self.after_resume();
        if let Err(error) = self.toolstack.suspend() {
            // It may have suspended itself all the same, and is to be resumed then.
            self.look_whether_suspended();
            return Err(error);
        }
        // Where Xen does not say it is to be resumed; resuming asks again.
        let info = info(&self.xen, self.domain).inspect_err(|_| self.is_suspended = true)?;
        if !info.is_suspended() {
            return Err(gone(&info));
        }
        self.is_suspended = true;
        self.all_dirty |= self.frames.begin_pause(info.tot_pages);
        self.check_size()
    }

    fn resume(&mut self) -> Result<(), DomainError> {
        if !self.is_suspended {
            return Ok(());
        }
        match info(&self.xen, self.domain) {
            Ok(info) => self.frames.end_pause(info.tot_pages),
            // Whatever it is: a guest that stands still must go on.
            Err(_) => self.frames.end_pause_unseen(),
        }
        self.has_run = true;
        if let Err(error) = self.toolstack.resume() {
            // It may run all the same, and nothing of it may be touched then.
            self.look_whether_suspended();
            return Err(error);
        }
        (self.is_suspended, self.is_behind) = (false, true);
        Ok(())
    }

    fn after_resume(&mut self) {
        if self.is_suspended || !std::mem::take(&mut self.is_behind) {
            return;
        }
        self.toolstack.after_resume();
        let Self { kind, frames, deferred, .. } = self;
        // What is not found now is found in the next round.
        if let Err(error) = frames.survey(&|pfn| kind.frame(pfn), |pfn| deferred.set(pfn)) {
            tracing::warn!(domain = %self.domain, %error, "Pages that the guest gave back are not looked for");
        }
    }

    fn log_tells(&self) -> LogTells {
        match self.changes {
            Changes::Logged(_) => LogTells::GuestWrites { others_frames_max: self.others_frames_max },
            Changes::Compared(_) => LogTells::Nothing,
        }
    }

    fn settle(&mut self) -> Result<bool, DomainError> {
        if self.is_suspended {
            return Ok(false);
        }
        self.has_run = true;
        Ok(self.toolstack.settle()? != Settled::Later)
    }

    fn look_after(&mut self) -> Result<(), DomainError> {
        if self.is_suspended || !self.toolstack.is_asked_to_suspend() {
            return Ok(());
        }
        self.look_whether_suspended();
        if !self.is_suspended {
            return Ok(());
        }
        tracing::warn!(domain = %self.domain, "The guest followed a request to suspend that nobody waited for; it goes on");
        self.resume()?;
        self.after_resume();
        Ok(())
    }

    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        match &mut self.changes {
            Changes::Logged(_) => self.drain_log(into)?,
            Changes::Compared(_) if self.is_suspended => self.compare(into)?,
            // The pause finds everything anyway: there is nothing to be won by asking a running guest.
            Changes::Compared(_) => {}
        }
        self.deferred.drain_into(into);
        if !self.is_suspended {
            self.frames.look_live(info(&self.xen, self.domain)?.tot_pages);
            return Ok(());
        }
        let Self { kind, frames, .. } = self;
        if self.all_dirty {
            tracing::info!(domain = %self.domain, "The guest took memory: all of it is copied once");
            frames.mark_present(into, &|pfn| kind.frame(pfn)).map_err(error)?;
            self.all_dirty = false;
        } else if let Err(error) = frames.map_dropped(&|pfn| kind.frame(pfn)) {
            tracing::warn!(domain = %self.domain, %error, "Memory cannot be mapped again; all of it is copied once");
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
        self.stage(wanted, from, staging, copiers)
    }

    fn next_held(&self, from: Pfn, end: Pfn) -> Option<Pfn> {
        self.frames.next_held(from, end)
    }

    fn look_at_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
    ) -> Result<Option<Pfn>, DomainError> {
        self.look_at(wanted, from, staging)
    }

    fn calls(&self) -> Calls {
        calls::of_this_thread()
    }

    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        if !self.is_suspended {
            return Err(DomainError::Failed(format!(
                "Domain {} runs: its state is captured only while it is suspended",
                self.domain
            )));
        }
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

/// A buffer for Xen's log of `page_count` pfns.
fn log_of(page_count: u64) -> Result<HypercallBuffer, DomainError> {
    HypercallBuffer::new(page_count.div_ceil(64) as usize * 8).map_err(|why| {
        DomainError::Failed(format!("No memory for the dirty log of {page_count} pages: {why}"))
    })
}

fn compare_error(error: CompareError) -> DomainError {
    DomainError::Failed(error.to_string())
}

#[cfg(test)]
mod logged;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
