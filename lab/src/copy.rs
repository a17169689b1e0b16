//! [`LabCopy`]: a lab guest that COLO runs on the secondary beside its image, and sets to each commit.

use crate::conditions::Conditions;
use crate::guest::RestoreError;
use crate::hypervisor::LabGuest;
use crate::nic::Port;
use std::sync::Arc;
use understudy_checkpoint::domain::{DomainError, DomainState, LiveCopy};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Page, PageEntry};

/// A copy of a lab guest, halted at first. It shares nothing with the image it was made from.
#[derive(Debug)]
pub struct LabCopy {
    guest: LabGuest,
}

impl LabCopy {
    /// A copy in the state of `image`, which sends to `port` once it runs.
    pub fn new(conditions: Conditions, image: Image, port: Arc<dyn Port>) -> Result<Self, RestoreError> {
        Ok(Self { guest: LabGuest::stand(conditions, image, port)? })
    }

    /// The guest. After a takeover the copy continues as the guest.
    pub fn guest(&self) -> &LabGuest {
        &self.guest
    }

    fn alive(is_alive: bool) -> Result<(), DomainError> {
        if is_alive { Ok(()) } else { Err(DomainError::Gone("the copy has ended".into())) }
    }
}

impl LiveCopy for LabCopy {
    fn halt(&mut self) -> Result<(), DomainError> {
        Self::alive(self.guest.halt())
    }

    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        self.guest.visit().guest.ram_mut().drain_dirty(into);
        Ok(())
    }

    fn put_page(&mut self, entry: PageEntry, page: Option<&Page>) -> Result<(), DomainError> {
        let Some(page) = page else {
            return Err(DomainError::Failed(format!("frame {} of a lab guest has no page", entry.pfn())));
        };
        self.guest.visit().guest.ram_mut().put_page(entry.pfn(), page);
        Ok(())
    }

    fn put_state(&mut self, state: &DomainState) -> Result<(), DomainError> {
        self.guest.clear_ring();
        let put = self.guest.visit().guest.put_state(state);
        put.map_err(|error| DomainError::Failed(error.to_string()))
    }

    fn run(&mut self) -> Result<(), DomainError> {
        Self::alive(self.guest.resume())
    }

    fn deliver(&self, frame: &[u8]) -> bool {
        self.guest.inject(frame)
    }
}
