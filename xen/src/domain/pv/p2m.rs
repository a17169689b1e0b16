//! A 64-bit PV guest's physical-to-machine table: finds, maps and reads it.
//!
//! ```text
//!   linear list (p2m_cr3 ≠ 0)                       tree (p2m_cr3 = 0)
//!   page tables at p2m_cr3                          frame_list_list ─► frame lists ─► leaves
//!     └ map p2m_vaddr … ─► leaves                   512 × 512 × 512 pfns
//!
//!   leaf: 512 entries of 8 bytes, entry = the machine frame of a pfn
//! ```
//!
//! Leaves are in the guest's memory and change while it runs. The guest may also move them; then the generation in
//! shared info changes.

use super::super::peek;
use super::m2p::M2p;
use super::shared_info::SharedInfo;
use crate::{Access, DomId, Gfn, Mapping, Mfn, Xen, XenError};
use std::collections::HashMap;
use understudy_checkpoint::domain::DomainError;
use understudy_checkpoint::stream::limits::PFNS_MAX;
use understudy_checkpoint::{PAGE_SIZE, Page, Pfn};

pub(super) const ENTRIES_PER_LEAF: u64 = (PAGE_SIZE / 8) as u64;

/// Marks of entries that are not frames of the guest's own: foreign (bit 63) and identity-mapped (bit 62) frames, as
/// Linux sets them. An invalid entry has both.
const NOT_OWN: u64 = 3 << 62;

const PRESENT: u64 = 1;
const FRAME_MASK: u64 = 0x000F_FFFF_FFFF_F000;

/// The leaves of a guest's table, mapped read-only.
pub(in crate::domain) struct P2m {
    leaves: Mapping,
    leaf_frames: Vec<Mfn>,
    pfn_count: u64,
}

impl P2m {
    /// Finds and maps the table.
    pub(in crate::domain) fn map(xen: &Xen, domain: DomId, shared: &SharedInfo) -> Result<Self, DomainError> {
        let claimed = shared.pfn_count();
        if !(1..=PFNS_MAX).contains(&claimed) {
            return Err(DomainError::Failed(format!(
                "The guest says that it has {claimed} page frames; it has not set up its shared info, or is beyond the limit of {PFNS_MAX}"
            )));
        }
        let count = claimed.div_ceil(ENTRIES_PER_LEAF) as usize;
        let mut tables = Tables { xen, domain, copies: HashMap::new() };
        let mut leaf_frames = if shared.p2m_cr3() != 0 {
            linear_leaves(&mut tables, shared, count)?
        } else {
            tree_leaves(&mut tables, shared, count)?
        };
        // A sparse tail is one shared leaf over and over.
        while leaf_frames.len() > 1
            && leaf_frames[leaf_frames.len() - 1] == leaf_frames[leaf_frames.len() - 2]
        {
            leaf_frames.pop();
        }
        let pfn_count = claimed.min(leaf_frames.len() as u64 * ENTRIES_PER_LEAF);
        let leaf_gfns: Vec<Gfn> = leaf_frames.iter().map(|mfn| Gfn::of_pv(*mfn)).collect();
        let leaves = xen.map_whole(domain, &leaf_gfns, Access::Read).map_err(super::failed)?;
        Ok(Self { leaves, leaf_frames, pfn_count })
    }

    /// The number of pfns.
    pub(in crate::domain) fn pfn_count(&self) -> u64 {
        self.pfn_count
    }

    /// The machine frame of a pfn.
    pub(in crate::domain) fn frame(&self, pfn: Pfn) -> Option<Mfn> {
        if pfn.0 >= self.pfn_count {
            return None;
        }
        let (leaf, entry) = (pfn.0 / ENTRIES_PER_LEAF, pfn.0 % ENTRIES_PER_LEAF);
        let word = peek::word(&self.leaves, leaf as usize, entry as usize * 8);
        word.filter(|frame| frame & NOT_OWN == 0).map(Mfn)
    }

    /// The pfn of a machine frame of this guest. Both tables must agree.
    pub(super) fn pfn_of(&self, m2p: &M2p, frame: Mfn) -> Option<Pfn> {
        m2p.pfn(frame).filter(|pfn| self.frame(*pfn) == Some(frame))
    }

    /// The machine frames that hold the table.
    pub(super) fn leaf_frames(&self) -> &[Mfn] {
        &self.leaf_frames
    }
}

/// Pages of tables, each copied once.
struct Tables<'x> {
    xen: &'x Xen,
    domain: DomId,
    copies: HashMap<Mfn, Box<Page>>,
}

impl Tables<'_> {
    fn entry(&mut self, frame: Mfn, index: u64) -> Result<u64, XenError> {
        if !self.copies.contains_key(&frame) {
            let mapping = self.xen.map_whole(self.domain, &[Gfn::of_pv(frame)], Access::Read)?;
            let mut page = Box::new([0; PAGE_SIZE]);
            mapping.copy_page(0, &mut page);
            self.copies.insert(frame, page);
        }
        let words = self.copies[&frame].as_chunks::<8>().0;
        Ok(u64::from_le_bytes(words[index as usize]))
    }
}

/// Walks four levels of page tables for each leaf of the linear list.
fn linear_leaves(
    tables: &mut Tables<'_>,
    shared: &SharedInfo,
    count: usize,
) -> Result<Vec<Mfn>, DomainError> {
    let (root, base) = (Mfn::at(shared.p2m_cr3()), shared.p2m_address());
    let mut leaves = Vec::new();
    for leaf in 0..count as u64 {
        let address = base.wrapping_add(leaf * PAGE_SIZE as u64);
        let mut frame = root;
        for level in (0..4).rev() {
            let index = address >> (12 + 9 * level) & 0x1FF;
            let entry = tables.entry(frame, index).map_err(super::failed)?;
            if entry & PRESENT == 0 {
                return Err(DomainError::Failed(format!(
                    "The guest's page tables do not map its P2M list at {address:#x}"
                )));
            }
            frame = Mfn::at(entry & FRAME_MASK);
        }
        leaves.push(frame);
    }
    Ok(leaves)
}

/// Follows the three-level tree.
fn tree_leaves(tables: &mut Tables<'_>, shared: &SharedInfo, count: usize) -> Result<Vec<Mfn>, DomainError> {
    let root = shared.frame_list_list();
    (0..count as u64)
        .map(|leaf| {
            let list = tables.entry(root, leaf / ENTRIES_PER_LEAF).map_err(super::failed)?;
            tables.entry(Mfn(list), leaf % ENTRIES_PER_LEAF).map(Mfn).map_err(super::failed)
        })
        .collect()
}
