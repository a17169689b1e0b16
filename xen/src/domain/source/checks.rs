//! What a source checks instead of assuming: whether the guest is suspended, whether it has outgrown its description,
//! and whether its dirty log is on.
//!
//! Not here: what follows from the answers, which the source's caller decides.

use super::tripwire::read_by_others;
use super::{Changes, Kind, XenSource, error, info};
use crate::domain::toolstack::Toolstack;
use understudy_checkpoint::domain::DomainError;
use understudy_checkpoint::pages::DirtyBitmap;

impl<T: Toolstack> XenSource<T> {
    /// Asks Xen whether the guest is suspended, because an error of the toolstack does not tell.
    pub(super) fn look_whether_suspended(&mut self) {
        // Where Xen does not say, it is what it was.
        let Ok(info) = info(&self.xen, self.domain) else { return };
        if info.is_suspended() && !std::mem::replace(&mut self.is_suspended, true) {
            self.all_dirty |= self.frames.begin_pause(info.tot_pages);
        }
        self.is_suspended = info.is_suspended();
    }

    /// Fails if the guest has outgrown its description.
    pub(super) fn check_size(&mut self) -> Result<(), DomainError> {
        let why = match &mut self.kind {
            Kind::Hvm(_) => {
                let page_count = self.xen.maximum_gpfn(self.domain).map_err(error)?.0 + 1;
                (page_count > self.page_count)
                    .then(|| format!("it has {page_count} page frames now, and had {}", self.page_count))
            }
            Kind::Pv(guest) => guest.changed()?,
        };
        match why {
            None if !self.is_outgrown => Ok(()),
            why => {
                self.is_outgrown = true;
                Err(DomainError::Outgrown(why.unwrap_or_else(|| "it was not described anew".into())))
            }
        }
    }

    /// Reads the log into `into`, and checks that it was on. Others may switch it off (`xl migrate` does so at its
    /// end), and then Xen answers that nothing was written.
    pub(super) fn drain_log(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        let Changes::Logged(log) = &mut self.changes else { return Ok(()) };
        let stats = self.xen.clean_log_dirty(self.domain, log, self.page_count, self.is_suspended);
        let stats = stats.map_err(error)?;
        into.merge_bytes(log.as_bytes());
        let was_whole = self.tripwire.is_in(log.as_bytes());
        if was_whole == Some(false) {
            return Err(read_by_others(self.domain));
        }
        if !self.is_suspended {
            // The marks were just taken. Those of a PV guest can be set only while it is suspended.
            return if let Kind::Hvm(_) = self.kind { self.set_tripwire(into) } else { Ok(()) };
        }
        self.set_tripwire(into)?;
        self.xen.check_log_dirty(self.domain).map_err(error)?;
        let has_run = std::mem::take(&mut self.has_run);
        if has_run && was_whole.is_none() && stats.dirty_count == 0 && self.toolstack.guest_took_part() {
            return Err(DomainError::LogLost(format!(
                "domain {} wrote nothing since it ran, which cannot be: another tool (xl migrate, xl save, remus) reads \
                 its log",
                self.domain
            )));
        }
        Ok(())
    }
}
