//! Xen's machine-to-physical table, mapped read-only: which pfn a machine frame is to its domain.

use super::super::peek;
use crate::{Access, DomId, Mapping, Xen, XenError};
use understudy_checkpoint::{PAGE_SIZE, Pfn};

/// The pseudo-domain that owns Xen's own frames (`DOMID_XEN`, `xen/include/public/xen.h`).
const DOMID_XEN: DomId = DomId(0x7FF2);

/// Xen gives the table out in pieces of 2 MiB.
const PIECE_FRAMES: u64 = 512;

const ENTRIES_PER_FRAME: u64 = (PAGE_SIZE / 8) as u64;

/// The mapped table.
pub(in crate::domain) struct M2p {
    table: Mapping,
    entries: u64,
}

impl M2p {
    /// Maps the table of all of this host's memory.
    pub(in crate::domain) fn map(xen: &Xen) -> Result<Self, XenError> {
        let entries = xen.maximum_ram_page()? + 1;
        let frames = entries.div_ceil(ENTRIES_PER_FRAME);
        let pieces = xen.machphys_frames(frames.div_ceil(PIECE_FRAMES) as usize)?;
        let frames: Vec<u64> =
            pieces.iter().flat_map(|piece| *piece..*piece + PIECE_FRAMES).take(frames as usize).collect();
        Ok(Self { table: xen.map_whole(DOMID_XEN, &frames, Access::Read)?, entries })
    }

    /// What `mfn` is to its domain; `None` beyond the host's memory. Frames that are no domain's memory have
    /// entries that are beyond any guest.
    pub(in crate::domain) fn pfn(&self, mfn: u64) -> Option<Pfn> {
        if mfn >= self.entries {
            return None;
        }
        let (frame, entry) = (mfn / ENTRIES_PER_FRAME, mfn % ENTRIES_PER_FRAME);
        peek::word(&self.table, frame as usize, entry as usize * 8).map(Pfn)
    }
}
