//! Judges PAGE_DATA records: ranges, duplicates, PV page tables, and the final type of each frame.

use super::Faults;
use super::frames::Frames;
use crate::stream::fault::Rule;
use crate::stream::libxc::{DomainType, GuestWidth, PageData};
use crate::stream::limits::PFNS_MAX;
use crate::{PAGE_SIZE, Page, PageType};
use std::ops::Range;
use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

const PTE_PRESENT: u64 = 1 << 0;
const PTE_SUPERPAGE: u64 = 1 << 7;
const PTE_FRAME: u64 = 0x000F_FFFF_FFFF_F000;

/// Entries of a 32-bit guest's top table of level 2 that belong to Xen.
const XEN_SLOTS: Range<usize> = 428..512;

#[derive(Debug, Default)]
pub(super) struct Pages {
    frames: Frames,
    /// 64-bit tools before Xen 4.6 sent Xen's slots of 32-bit guests as they found them: present, of size bit and frame 0.
    /// Xen writes them anew when it takes the table.
    xen_slots_may_map: bool,
    /// PV only: the guest's last pfn, once X86_PV_P2M_FRAMES has come.
    pfn_max: Option<u64>,
    width: Option<GuestWidth>,
    /// Reused for records whose pfns do not ascend.
    sorted: Vec<u64>,
}

impl Pages {
    pub(super) fn frames(&self) -> &Frames {
        &self.frames
    }

    /// The guest's last pfn; the limit as long as the stream does not say less.
    pub(super) fn pfn_max(&self) -> u64 {
        self.pfn_max.unwrap_or(PFNS_MAX - 1)
    }

    /// The stream was converted from a legacy one.
    pub(super) fn set_converted(&mut self, converted: bool) {
        self.xen_slots_may_map = converted;
    }

    pub(super) fn set_width(&mut self, width: GuestWidth) {
        self.width = Some(width);
    }

    pub(super) fn raise_pfn_max(&mut self, pfn_max: u64) {
        self.pfn_max = self.pfn_max.max(Some(pfn_max));
    }

    /// The range could not be read, so any pfn below the limit may come.
    pub(super) fn any_pfn(&mut self) {
        self.pfn_max = Some(PFNS_MAX - 1);
    }

    pub(super) fn data(
        &mut self,
        data: &PageData<'_>,
        domain_type: DomainType,
        applies: bool,
        faults: &mut Faults,
    ) {
        if domain_type == DomainType::Pv && self.pfn_max.is_none() {
            faults.note(Rule::Order, "Pages come before X86_PV_P2M_FRAMES");
            self.any_pfn(); // said once
        }
        self.check_pfns(data, faults);
        if applies {
            self.frames.set(data.entries());
        }
        if domain_type == DomainType::Pv {
            self.check_tables(data, faults);
        }
    }

    fn check_pfns(&mut self, data: &PageData<'_>, faults: &mut Faults) {
        let pfn_max = self.pfn_max();
        let mut ascending = true;
        let mut highest = None;
        for entry in data.entries() {
            let pfn = entry.pfn().0;
            ascending &= highest < Some(pfn);
            highest = highest.max(Some(pfn));
        }
        if let Some(pfn) = highest.filter(|pfn| *pfn > pfn_max) {
            faults.note(Rule::PageRange, format!("Pfn {pfn:#x} is above the guest's last, {pfn_max:#x}"));
        }
        if !ascending {
            self.sorted.clear();
            self.sorted.extend(data.entries().map(|entry| entry.pfn().0));
            self.sorted.sort_unstable();
            if let Some(pair) = self.sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                faults.note(Rule::PageDuplicate, format!("Pfn {:#x} comes twice in one record", pair[0]));
            }
        }
    }

    fn check_tables(&self, data: &PageData<'_>, faults: &mut Faults) {
        for (entry, page) in data.iter() {
            if let (PageType::Table { level, .. }, Some(page)) = (entry.page_type(), page) {
                let levels = self.width.map_or(4, GuestWidth::levels);
                if level > levels {
                    let detail =
                        format!("Frame {:#x} is a table of level {level} of {levels}", entry.pfn().0);
                    faults.note(Rule::PageTable, detail);
                }
                let xen_slots = self.xen_slots_may_map && (level, levels) == (2, 3);
                let xen_slots = if xen_slots { XEN_SLOTS } else { 0..0 };
                if let Some(broken) = check_table(page, level, self.pfn_max(), &xen_slots) {
                    let detail = format!("Table {:#x} of level {level}: {broken}", entry.pfn().0);
                    faults.note(Rule::PageTable, detail);
                }
            }
        }
    }

    pub(super) fn check_size(&self, bytes_max: u64, faults: &mut Faults) {
        let bytes = self.frames.data_pages() * PAGE_SIZE as u64;
        if bytes > bytes_max {
            let detail =
                format!("The pages take {bytes} bytes; the guest's configuration allows {bytes_max}");
            faults.note(Rule::ImageSize, detail);
        }
    }
}

/// The fault of the first wrong entry. Xen ignores entries that are not present. Those in `xen_slots` may be what Xen
/// left there.
fn check_table(page: &Page, level: u8, pfn_max: u64, xen_slots: &Range<usize>) -> Option<String> {
    let entries = <[U64; PAGE_SIZE / 8]>::ref_from_bytes(page).expect("a page holds 512 entries");
    let wrong = |pte: u64| {
        pte & PTE_PRESENT != 0
            && ((level > 1 && pte & PTE_SUPERPAGE != 0) || (pte & PTE_FRAME) >> 12 > pfn_max)
    };
    let is_xens = |index: usize, pte: u64| xen_slots.contains(&index) && pte & PTE_FRAME == 0;
    let mut all = entries.iter().enumerate();
    let (index, _) = all.find(|(index, pte)| wrong(pte.get()) && !is_xens(*index, pte.get()))?;
    let pte = entries[index].get();
    if level > 1 && pte & PTE_SUPERPAGE != 0 {
        return Some(format!("entry {index} maps a superpage"));
    }
    let pfn = (pte & PTE_FRAME) >> 12;
    Some(format!("entry {index} refers to pfn {pfn:#x} above the guest's last, {pfn_max:#x}"))
}
