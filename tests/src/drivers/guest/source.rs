//! The simulator's guest as a Source: suspending, log and pages, each with what may fail.

use super::super::harm::Trouble;
use super::super::machine::DISK_BYTES;
use super::{SharedDomain, WORDS};
use understudy_checkpoint::domain::{Description, DomainError, DomainState, GuestKind, LogTells, Source};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{PageEntry, PageType, Pfn};

impl Source for SharedDomain {
    fn describe(&mut self) -> Result<Description, DomainError> {
        let domain = self.get();
        Ok(Description {
            kind: GuestKind::Pvh,
            page_count: WORDS as u64,
            libxc_version: 3,
            xen_version: (4, 19),
            config: super::super::names::guest_name(domain.guest).as_bytes().to_vec(),
            static_records: Vec::new(),
            disks_bytes: domain.disk.iter().map(|_| DISK_BYTES).collect(),
        })
    }

    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        let mut domain = self.get();
        domain.logs_from_here();
        if domain.trouble == Trouble::LogLost {
            domain.trouble = Trouble::None;
        }
        Ok(())
    }

    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        self.get().logs = false;
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), DomainError> {
        let mut domain = self.get();
        if domain.gone {
            return Err(DomainError::Gone("it has ended".to_owned()));
        }
        match domain.trouble {
            Trouble::None | Trouble::LogLost | Trouble::UnmappedPage => {}
            Trouble::SuspendsLate if !domain.suspended => {
                domain.trouble = Trouble::None;
                domain.suspends_in = Some(domain.state.counter % 8);
                return Err(DomainError::SuspendTimeout(1));
            }
            Trouble::SuspendsLate => domain.trouble = Trouble::None,
            Trouble::Once => {
                domain.trouble = Trouble::None;
                return Err(DomainError::SuspendTimeout(1));
            }
            Trouble::ForEver => return Err(DomainError::Failed("the toolstack does not answer".to_owned())),
        }
        (domain.suspended, domain.is_seen_suspended, domain.suspends_in) = (true, true, None);
        Ok(())
    }

    /// Does nothing to a guest that nobody has seen suspended.
    fn resume(&mut self) -> Result<(), DomainError> {
        let mut domain = self.get();
        if std::mem::take(&mut domain.is_seen_suspended) {
            domain.suspended = false;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<bool, DomainError> {
        let mut domain = self.get();
        if domain.paused {
            return Ok(false);
        }
        (domain.suspended, domain.suspends_in) = (false, None);
        Ok(true)
    }

    fn look_after(&mut self) -> Result<(), DomainError> {
        let mut domain = self.get();
        if !domain.wrongs.is_not_looked_after {
            domain.suspended = false;
        }
        Ok(())
    }

    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        let mut domain = self.get();
        if domain.trouble == Trouble::LogLost || !domain.logs {
            return Err(DomainError::LogLost("it is off".to_owned()));
        }
        domain.drain(into);
        Ok(())
    }

    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        _copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        let mut domain = self.get();
        // What is looked at while the guest runs is tried again by the next capture.
        let unmapped = domain.suspended && domain.trouble == Trouble::UnmappedPage;
        if unmapped {
            domain.trouble = Trouble::None;
        }
        for pfn in wanted.runs(from).flatten() {
            if unmapped && !domain.wrongs.unmapped_is_empty {
                return Err(DomainError::Failed(format!("page {pfn} cannot be mapped")));
            }
            if staging.room() == 0 {
                return Ok(Some(Pfn(pfn)));
            }
            let page = &mut staging.extend([PageEntry::new(Pfn(pfn), PageType::Normal)])[0];
            page.fill(0);
            if !unmapped {
                for (place, word) in
                    page.as_chunks_mut::<8>().0.iter_mut().zip(domain.state.page(pfn as usize))
                {
                    *place = word.to_le_bytes();
                }
            }
        }
        domain.steps_while_copied();
        Ok(None)
    }

    /// For the scrub, after a pause.
    fn look_at_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
    ) -> Result<Option<Pfn>, DomainError> {
        self.get().step_ahead = None;
        self.copy_pages(wanted, from, staging, 1)
    }

    fn log_tells(&self) -> LogTells {
        if self.get().logs_all_writes { LogTells::Everything } else { LogTells::Nothing }
    }

    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        let mut domain = self.get();
        domain.captured = Some(domain.state);
        into.libxc.extend_from_slice(&domain.state.counter.to_le_bytes());
        if let Some(chance) = domain.late_step {
            domain.step(chance | 1);
        }
        if domain.wrongs.cuts_disk_late {
            domain.writes_late();
        }
        Ok(())
    }
}
