//! The fields of a 64-bit PV guest's shared info page (`xen/include/public/xen.h`, `arch-x86/xen.h`). The guest can
//! write the page, so every value is checked.

use super::super::peek;
use crate::{Access, DomId, DomainInfo, Mapping, Mfn, Xen, XenError};
use understudy_checkpoint::Page;

const MAX_PFN: usize = 3088;
const FRAME_LIST_LIST: usize = 3096;
const P2M_CR3: usize = 3112;
const P2M_VADDR: usize = 3120;
const P2M_GENERATION: usize = 3128;

/// A guest's shared info page, mapped read-only.
pub(in crate::domain) struct SharedInfo {
    page: Mapping,
}

impl SharedInfo {
    pub(in crate::domain) fn map(xen: &Xen, domain: DomId, info: &DomainInfo) -> Result<Self, XenError> {
        Ok(Self { page: xen.map_whole(domain, &[info.shared_info_frame], Access::Read)? })
    }

    fn word(&self, offset: usize) -> u64 {
        peek::word(&self.page, 0, offset).expect("the page was mapped as a whole")
    }

    /// The guest's number of pfns.
    pub(super) fn pfn_count(&self) -> u64 {
        self.word(MAX_PFN)
    }

    /// The frame of the root of the three-level P2M tree.
    pub(super) fn frame_list_list(&self) -> Mfn {
        Mfn(self.word(FRAME_LIST_LIST))
    }

    /// The machine address of the root page table that maps the linear P2M list; 0 if there is none.
    pub(super) fn p2m_cr3(&self) -> u64 {
        self.word(P2M_CR3)
    }

    /// The address of the linear P2M list in the guest's address space.
    pub(super) fn p2m_address(&self) -> u64 {
        self.word(P2M_VADDR)
    }

    /// A counter that the guest changes whenever it restructures its linear P2M list.
    pub(super) fn p2m_generation(&self) -> u64 {
        self.word(P2M_GENERATION)
    }

    /// Copies the page, which the guest may write meanwhile.
    pub(super) fn copy(&self, into: &mut Page) {
        assert!(self.page.copy_page(0, into), "the page was mapped as a whole");
    }
}
