//! A lab guest as the engine checkpoints it.

use crate::config::describe;
use crate::hypervisor::{Inside, LabGuest};
use parking_lot::MutexGuard;
use understudy_checkpoint::domain::{Description, DomainError, DomainState, Source};
use understudy_checkpoint::epoch::{Image, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{PageEntry, Pfn};

/// Pages copied from a running guest before it gets its turn: 256 KiB, some tens of microseconds.
const LIVE_COPY_PAGES: usize = 64;

/// The source; keeps its guest alive.
#[derive(Debug)]
pub struct LabSource {
    guest: LabGuest,
}

impl LabSource {
    pub(crate) fn new(guest: LabGuest) -> Self {
        Self { guest }
    }

    fn visit(&self) -> Result<MutexGuard<'_, Inside>, DomainError> {
        alive(self.guest.visit())
    }
}

fn alive(inside: MutexGuard<'_, Inside>) -> Result<MutexGuard<'_, Inside>, DomainError> {
    if inside.is_off() { Err(gone()) } else { Ok(inside) }
}

fn gone() -> DomainError {
    DomainError::Gone("the lab guest was stopped".into())
}

impl Source for LabSource {
    fn describe(&mut self) -> Result<Description, DomainError> {
        Ok(describe(self.visit()?.guest.registers()))
    }

    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        self.visit()?.guest.ram_mut().begin_log_dirty();
        Ok(())
    }

    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        self.visit()?.guest.ram_mut().end_log_dirty();
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), DomainError> {
        if self.guest.suspend() { Ok(()) } else { Err(gone()) }
    }

    fn resume(&mut self) -> Result<(), DomainError> {
        if self.guest.resume() { Ok(()) } else { Err(gone()) }
    }

    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        self.visit()?.guest.ram_mut().drain_dirty(into);
        Ok(())
    }

    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        _copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        let mut next = Some(from);
        while let Some(from) = next
            && staging.room() > 0
        {
            let inside = alive(self.guest.take_turn())?;
            let pages_max = if inside.is_suspended() { usize::MAX } else { LIVE_COPY_PAGES };
            next = copy(inside.guest.ram().image(), wanted, from, staging, pages_max);
            MutexGuard::unlock_fair(inside);
        }
        Ok(next)
    }

    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        let inside = self.visit()?;
        if !inside.is_suspended() {
            return Err(DomainError::Failed(
                "The state of a running guest was asked for; suspend it first".into(),
            ));
        }
        into.clear();
        inside.guest.registers().write_state(into);
        Ok(())
    }
}

/// Stages up to `pages_max` wanted frames from `from` on; returns where to go on, as `copy_pages` does.
fn copy(
    image: &Image,
    wanted: &DirtyBitmap,
    from: Pfn,
    staging: &mut Staging,
    pages_max: usize,
) -> Option<Pfn> {
    let mut left = pages_max.min(staging.room()) as u64;
    for run in wanted.runs(from) {
        let end = run.end.min(run.start + left);
        let pages =
            staging.extend((run.start..end).map(|pfn| PageEntry::new(Pfn(pfn), image.page_type(Pfn(pfn)))));
        for (page, pfn) in pages.iter_mut().zip(run.start..end) {
            page.copy_from_slice(image.page(Pfn(pfn)).expect("every frame of a lab guest is plain memory"));
        }
        left -= end - run.start;
        if end < run.end {
            return Some(Pfn(end));
        }
    }
    None
}
