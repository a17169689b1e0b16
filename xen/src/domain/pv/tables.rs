//! Replaces machine frames by pfns in the page tables of a 64-bit PV guest (`normalise_pagetable` in
//! `tools/libs/guest/xg_sr_save_x86_pv.c`).

use super::m2p::M2p;
use super::p2m::P2m;
use crate::Mfn;
use understudy_checkpoint::{Page, Pfn};

const PRESENT: u64 = 1 << 0;
/// The superpage bit in tables of level 2 and up.
const PSE: u64 = 1 << 7;
const FRAME_MASK: u64 = 0x000F_FFFF_FFFF_F000;

/// Slots of a level 4 table that belong to Xen.
const XEN_SLOTS: std::ops::RangeInclusive<usize> = 256..=271;

/// Why a table cannot be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Obstacle {
    /// An entry maps a superpage.
    Superpage,
    /// An entry names a frame that both tables do not agree is the guest's own. If the guest runs, a change is under
    /// way.
    NotOwn {
        /// The machine frame that the entry names.
        frame: Mfn,
    },
}

/// Replaces frames by pfns in the copy of a table of `level`. An entry that cannot be translated is emptied and the
/// rest is translated; the first such entry is reported.
pub(super) fn normalise(page: &mut Page, level: u8, p2m: &P2m, m2p: &M2p) -> Result<(), Obstacle> {
    let pfn_of = |frame| p2m.pfn_of(m2p, frame);
    normalise_with(page, level, &pfn_of)
}

fn normalise_with(page: &mut Page, level: u8, pfn_of: &dyn Fn(Mfn) -> Option<Pfn>) -> Result<(), Obstacle> {
    let mut first = Ok(());
    for (slot, bytes) in page.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let entry = u64::from_le_bytes(*bytes);
        let new =
            if level == 4 && XEN_SLOTS.contains(&slot) { Ok(0) } else { normal_entry(entry, level, pfn_of) };
        let new = new.unwrap_or_else(|obstacle| {
            first = first.and(Err(obstacle));
            0
        });
        *bytes = new.to_le_bytes();
    }
    first
}

fn normal_entry(entry: u64, level: u8, pfn_of: &dyn Fn(Mfn) -> Option<Pfn>) -> Result<u64, Obstacle> {
    if entry & PRESENT == 0 {
        return Ok(entry);
    }
    if level > 1 && entry & PSE != 0 {
        return Err(Obstacle::Superpage);
    }
    let frame = Mfn::at(entry & FRAME_MASK);
    let pfn = pfn_of(frame).ok_or(Obstacle::NotOwn { frame })?;
    Ok(entry & !FRAME_MASK | pfn.0 << 12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_checkpoint::PAGE_SIZE;

    fn page(entries: &[(usize, u64)]) -> Page {
        let mut page = [0; PAGE_SIZE];
        for (slot, entry) in entries {
            page[slot * 8..slot * 8 + 8].copy_from_slice(&entry.to_le_bytes());
        }
        page
    }

    /// The pfn of a frame: frames from 0x1000 on are pfns from 0 on.
    fn pfn_of(frame: Mfn) -> Option<Pfn> {
        frame.0.checked_sub(0x1000).filter(|pfn| *pfn < 0x100).map(Pfn)
    }

    #[test]
    fn present_entries_name_pfns_and_keep_their_flags() {
        let nx = 1 << 63;
        let mut table =
            page(&[(0, nx | 0x1005 << 12 | 0x67), (1, 0x1005 << 12 | 0x66), (511, 0x10FF << 12 | 1)]);
        assert_eq!(normalise_with(&mut table, 1, &pfn_of), Ok(()));
        assert_eq!(table, page(&[(0, nx | 5 << 12 | 0x67), (1, 0x1005 << 12 | 0x66), (511, 0xFF << 12 | 1)]));
    }

    #[test]
    fn only_a_top_table_loses_xens_slots() {
        let entries = [
            (255, 0x1001 << 12 | 1),
            (256, 0x9999 << 12 | 1),
            (271, 0x9999 << 12 | 1),
            (272, 0x1002 << 12 | 1),
        ];
        let mut top = page(&entries);
        assert_eq!(normalise_with(&mut top, 4, &pfn_of), Ok(()));
        assert_eq!(top, page(&[(255, 1 << 12 | 1), (272, 2 << 12 | 1)]));
        let mut lower = page(&entries);
        assert_eq!(normalise_with(&mut lower, 3, &pfn_of), Err(Obstacle::NotOwn { frame: Mfn(0x9999) }));
    }

    #[test]
    fn an_obstacle_empties_its_entry_and_nothing_else() {
        let mut table = page(&[
            (3, 0x1003 << 12 | 1),
            (4, 0x1004 << 12 | PSE | 1),
            (5, 0x77 << 12 | 1),
            (6, 0x1006 << 12 | 1),
        ]);
        assert_eq!(normalise_with(&mut table, 2, &pfn_of), Err(Obstacle::Superpage));
        assert_eq!(table, page(&[(3, 3 << 12 | 1), (6, 6 << 12 | 1)]));
        let mut leaf = page(&[(4, 0x1004 << 12 | PSE | 1)]);
        assert_eq!(normalise_with(&mut leaf, 1, &pfn_of), Ok(()), "in level 1 the bit is PAT");
    }
}
