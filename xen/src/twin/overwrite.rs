//! [`Twin`]: the domain that is overwritten.

use super::capture::{Capture, mapped, table};
use super::shape::{Layout, Shape};
use super::{TwinError, cards, grants};
use crate::abi::{SHARED_INFO_WALLCLOCK, SHARED_INFO_WALLCLOCK_BYTES, sched};
use crate::vifs::Vif;
use crate::xenstore::Xenstore;
use crate::{Access, DomId, DomainInfo, Mapping, Xen};
use std::hash::{BuildHasher, RandomState};
use std::thread::sleep;
use std::time::{Duration, Instant};
use understudy_checkpoint::{PAGE_SIZE, Page, Pfn};

/// How long a domain may take to stop, and the pause between two looks.
const STOP_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// Bytes of a frame number in an entry of a grant table.
const MARK_BYTES: usize = 4;

/// A domain that runs as a guest's twin.
#[derive(Debug)]
pub struct Twin {
    xen: Xen,
    domain: DomId,
    layout: Layout,
    cards: Vec<Vif>,
}

/// What overwriting a twin changed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Overwritten {
    /// Pages that differed.
    pub pages: usize,
    /// Bytes of the grant table that differed.
    pub grant_bytes: usize,
}

impl Twin {
    /// Fails if the domain cannot be a twin, whatever the guest.
    pub fn find(xen: &Xen, store: &mut Xenstore, domain: DomId) -> Result<Self, TwinError> {
        let cards = cards::of(store, domain)?;
        Ok(Self { xen: xen.clone(), domain, layout: Layout::of(xen, domain)?, cards })
    }

    /// Fails unless the domain is the twin of the guest. Changes nothing.
    pub fn check(&self, store: &mut Xenstore, guest: &Capture) -> Result<(), TwinError> {
        let unlike = |why| TwinError::Unlike { domain: self.domain, why };
        guest.shape.compare(&Shape::of(&self.xen, store, self.domain)?).map_err(unlike)?;
        guest.layout.compare(&self.layout).map_err(unlike)?;
        if !guest.rings.are_named_as(&cards::RingKeys::of(store, self.domain)?) {
            return Err(TwinError::Cards { domain: self.domain });
        }
        Ok(())
    }

    /// Stops the domain, whatever it does, and takes its cards from netback. What it was doing is lost.
    pub fn stop(&self, vcpus: u32) -> Result<(), TwinError> {
        self.xen.shutdown(self.domain, sched::SHUTDOWN_SUSPEND)?;
        let begun = Instant::now();
        loop {
            if self.info()?.is_suspended() {
                break;
            }
            if begun.elapsed() > STOP_MAX {
                return Err(TwinError::DoesNotStop { domain: self.domain });
            }
            sleep(LOOK_EVERY);
        }
        (0..vcpus).try_for_each(|vcpu| self.xen.reset_vcpu(self.domain, vcpu))?;
        cards::detach(self.domain, &self.cards)
    }

    fn info(&self) -> Result<DomainInfo, TwinError> {
        self.xen.domain_info(self.domain)?.ok_or(TwinError::Absent { domain: self.domain })
    }

    /// Gives the stopped domain the guest's memory, grants and registers.
    pub fn overwrite(&self, guest: &Capture) -> Result<Overwritten, TwinError> {
        self.layout.still_counts(&self.info()?)?;
        let grants = self.xen.grant_table(self.domain)?;
        let before = table(&grants);
        let after = grants::merged(&guest.grants, &before)
            .map_err(|why| TwinError::Grant { domain: self.domain, why })?;
        let pages = self.write_pages(guest, &marked(&grants))?;
        for (index, frame) in after.chunks_exact(PAGE_SIZE).enumerate() {
            grants.write(index, 0, frame);
        }
        self.xen.set_hvm_context(self.domain, &guest.context)?;
        let grant_bytes = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        Ok(Overwritten { pages, grant_bytes })
    }

    /// Gives its cards back to netback, with the guest's rings, and lets the domain run as the guest.
    pub fn resume(&self, store: &mut Xenstore, guest: &Capture) -> Result<(), TwinError> {
        guest.rings.write(store, self.domain)?;
        cards::attach(store, self.domain, &self.cards)?;
        self.xen.resume(self.domain)?;
        Ok(store.resume(self.domain)?)
    }

    /// Writes the pages that differ. `grants` is what the frames of the grant table hold: the domain has them among its
    /// memory, too, and there they stay as they are. Returns how many pages were written.
    fn write_pages(&self, guest: &Capture, grants: &[u8]) -> Result<usize, TwinError> {
        let mut written = 0;
        let mut page = [0; PAGE_SIZE];
        for window in self.layout.windows() {
            let memory = mapped(&self.xen, self.domain, &window, Access::ReadWrite)?;
            for (index, pfn) in window.enumerate() {
                if !memory.copy_page(index, &mut page) {
                    return Err(TwinError::NoFrame { domain: self.domain, frame: pfn });
                }
                if grants.chunks_exact(PAGE_SIZE).any(|frame| frame == page) {
                    continue;
                }
                let content = guest.pages.page(Pfn(pfn));
                let mut content = *content.ok_or(TwinError::NoPage { domain: self.domain, pfn })?;
                if pfn == guest.shape.shared_info.0 {
                    keep_wallclock(&mut content, &page);
                }
                if content != page {
                    memory.write_page(index, &content);
                    written += 1;
                }
            }
        }
        Ok(written)
    }
}

/// Puts a mark into each frame of a grant table, in the frame number of its last entry, and returns what the frames hold
/// then: no other page of the domain holds the same. (A domain that does not run uses no grant; flags are left alone.)
fn marked(grants: &Mapping) -> Vec<u8> {
    let random = RandomState::new();
    for index in 0..grants.len() {
        let mark = random.hash_one(index).to_ne_bytes();
        grants.write(index, PAGE_SIZE - MARK_BYTES, &mark[..MARK_BYTES]);
    }
    table(grants)
}

/// Xen writes there when this host's clock is set, and a guest adds it to the time since this host's boot.
fn keep_wallclock(into: &mut Page, of: &Page) {
    let wallclock = SHARED_INFO_WALLCLOCK..SHARED_INFO_WALLCLOCK + SHARED_INFO_WALLCLOCK_BYTES;
    into[wallclock.clone()].copy_from_slice(&of[wallclock]);
}

#[cfg(test)]
mod tests;
