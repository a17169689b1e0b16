//! Finds, while the guest still runs elsewhere, what completing a PV guest would refuse. Writes nothing and asks Xen
//! nothing, because Xen takes a PV guest's state only once.
//!
//! Not here: what Xen itself would refuse.

use super::{FRAME_MASK, PRESENT, PvRebuild, start_info};
use crate::domain::pv::vcpu::{RDX, word};
use crate::restore::RestoreError;
use crate::restore::memory::GuestMemory;
use understudy_checkpoint::{PAGE_SIZE, PageType, Pfn};

impl PvRebuild {
    /// Checks the frames that vCPUs, start info, the P2M table and page tables name. `page_type` returns the type of a
    /// pfn.
    pub(in crate::restore) fn check(
        &mut self,
        memory: &GuestMemory,
        page_type: impl Fn(Pfn) -> PageType,
    ) -> Result<(), RestoreError> {
        self.set_types(page_type);
        let first = self.vcpus.get(&0).filter(|first| !first.basic.is_empty());
        let start_info = Pfn(word(&first.ok_or(RestoreError::Early)?.basic, RDX));
        for (vcpu_id, state) in &self.vcpus {
            self.localise(memory, *vcpu_id, &mut state.basic.clone())?;
        }
        let mut page = [0; PAGE_SIZE];
        memory.read(start_info, &mut page)?;
        self.plain_frame(memory, "the xenstore ring", Pfn(word(&page, start_info::STORE_MFN)))?;
        self.plain_frame(memory, "the console ring", Pfn(word(&page, start_info::CONSOLE_MFN)))?;
        for pfn in &self.p2m_frames {
            self.plain_frame(memory, "the P2M table", *pfn)?;
        }
        self.check_tables(memory)
    }

    fn check_tables(&self, memory: &GuestMemory) -> Result<(), RestoreError> {
        let mut page = [0; PAGE_SIZE];
        let tables = self.types.iter().zip(0..).filter(|(kind, _)| matches!(kind, PageType::Table { .. }));
        for (_, pfn) in tables {
            memory.read(Pfn(pfn), &mut page)?;
            let entries = page.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
            let mut named =
                entries.filter(|entry| entry & PRESENT != 0).map(|entry| (entry & FRAME_MASK) >> 12);
            if let Some(pfn) = named.find(|pfn| *pfn >= self.types.len() as u64) {
                return Err(super::beyond(Pfn(pfn)));
            }
        }
        Ok(())
    }
}
