//! Xen's machine-to-physical table, mapped read-only: the pfn of each machine frame in its domain.

use super::super::peek;
use crate::{Access, DomId, Gfn, Mapping, Mfn, Xen, XenError};
use understudy_checkpoint::{PAGE_SIZE, Pfn};

/// Frames of one piece of the table, which Xen hands out in 2 MiB.
const PIECE_FRAMES: u64 = 512;

const ENTRIES_PER_FRAME: u64 = (PAGE_SIZE / 8) as u64;

/// The table for all of this host's memory, mapped read-only.
pub(in crate::domain) struct M2p {
    table: Mapping,
    entries: u64,
}

impl M2p {
    /// Maps the table for all of this host's memory.
    pub(in crate::domain) fn map(xen: &Xen) -> Result<Self, XenError> {
        let entries = xen.maximum_ram_page()?.0 + 1;
        let frames = entries.div_ceil(ENTRIES_PER_FRAME);
        let pieces = xen.machphys_frames(frames.div_ceil(PIECE_FRAMES) as usize)?;
        let of_piece = |piece: &Mfn| (piece.0..piece.0 + PIECE_FRAMES).map(|mfn| Gfn::of_pv(Mfn(mfn)));
        let frames: Vec<Gfn> = pieces.iter().flat_map(of_piece).take(frames as usize).collect();
        Ok(Self { table: xen.map_whole(DomId::XEN, &frames, Access::Read)?, entries })
    }

    /// The pfn of `mfn` in its domain; `None` beyond the host's memory. Frames that belong to no domain have entries
    /// larger than any guest's pfn.
    pub(in crate::domain) fn pfn(&self, mfn: Mfn) -> Option<Pfn> {
        if mfn.0 >= self.entries {
            return None;
        }
        let (frame, entry) = (mfn.0 / ENTRIES_PER_FRAME, mfn.0 % ENTRIES_PER_FRAME);
        peek::word(&self.table, frame as usize, entry as usize * 8).map(Pfn)
    }
}
