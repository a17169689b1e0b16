//! [`LabSource`]: a lab guest as the engine checkpoints it.

use crate::description::describe;
use crate::hypervisor::LabGuest;
use crate::vcpu::Inside;
use parking_lot::MutexGuard;
use understudy_checkpoint::domain::{Description, DomainError, DomainState, Source};
use understudy_checkpoint::epoch::{Image, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{PageEntry, Pfn};

/// Pages copied from a running guest before it gets its turn: 1 MiB, about as long as the guest's turn.
const LIVE_COPY_PAGES: usize = 256;

/// The source. It keeps its guest alive.
#[derive(Debug)]
pub struct LabSource {
    guest: LabGuest,
}

impl LabGuest {
    /// The guest as the engine checkpoints it. Use one source at a time.
    pub fn source(&self) -> LabSource {
        LabSource { guest: self.clone() }
    }
}

impl LabSource {
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
        copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        let mut next = Some(from);
        while let Some(from) = next
            && staging.room() > 0
        {
            let inside = alive(self.guest.take_turn())?;
            let image = inside.guest.ram().image();
            if inside.is_suspended() {
                return Ok(image.copy_pages(wanted, from, staging, copiers));
            }
            next = copy_some(image, wanted, from, staging);
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

/// Stages the next few wanted frames from `from` on. Returns where to continue, as `copy_pages` does.
fn copy_some(image: &Image, wanted: &DirtyBitmap, from: Pfn, staging: &mut Staging) -> Option<Pfn> {
    let mut pfns = wanted.runs(from).flatten().map(Pfn);
    let pages_max = LIVE_COPY_PAGES.min(staging.room());
    for pfn in pfns.by_ref().take(pages_max) {
        let page = staging.extend([PageEntry::new(pfn, image.page_type(pfn))]);
        page[0] = *image.page(pfn).expect("every frame of a lab guest is plain memory");
    }
    pfns.next()
}
