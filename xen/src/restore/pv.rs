//! The part of rebuilding that is specific to 64-bit PV guests: page tables name machine frames again, the P2M table is
//! written, vCPUs are set and page tables pinned at the end (`tools/libs/guest/xg_sr_restore_x86_pv.c`).
//!
//! ```text
//!   PAGE_DATA  table entries: pfn ──► mfn, populating what is not there yet
//!   complete   start info, P2M ──► written │ unmap all │ vCPUs set │ tables pinned │ grants seeded
//!                                            └ a frame that is mapped writable cannot become a page table
//! ```

mod check;
mod shared_info;

use super::memory::{GuestMemory, MemoryError};
use super::{RestoreError, RingFrames, Rings};
use crate::domain::pv::vcpu::{
    CR1, CR3, GDT_ENTRIES, GDT_ENTRIES_MAX, GDT_ENTRIES_PER_FRAME, GDT_FRAMES, RDX, set_word, word,
};
use crate::{Access, DomId, Gfn, Mfn, PinLevel, Xen};
use std::collections::BTreeMap;
use understudy_checkpoint::stream::libxc::{GuestWidth, P2mFrames, Record, Vcpu, VcpuPart};
use understudy_checkpoint::{PAGE_SIZE, Page, PageEntry, PageType, Pfn, room};

const PRESENT: u64 = 1;
const FRAME_MASK: u64 = 0x000F_FFFF_FFFF_F000;

/// The P2M entry of a pfn without a frame.
const INVALID_P2M_ENTRY: u64 = u64::MAX;

/// Offset of `flags` in a vCPU's context, and the bit *online* (`arch-x86/xen.h`).
const CONTEXT_FLAGS: usize = 512;
const VGCF_ONLINE: u64 = 1 << 5;

/// Offsets in start info (`xen/include/public/xen.h`).
pub(crate) mod start_info {
    pub(super) const NR_PAGES: usize = 32;
    pub(super) const SHARED_INFO: usize = 40;
    pub(super) const FLAGS: usize = 48;
    pub(crate) const STORE_MFN: usize = 56;
    pub(super) const STORE_EVTCHN: usize = 64;
    pub(crate) const CONSOLE_MFN: usize = 72;
    pub(super) const CONSOLE_EVTCHN: usize = 80;
}

/// The state of a vCPU, kept until the guest is complete.
#[derive(Debug, Default)]
struct VcpuState {
    basic: Vec<u8>,
    extended: Vec<u8>,
    xsave: Vec<u8>,
    msrs: Vec<u8>,
}

/// A PV guest being rebuilt.
#[derive(Debug)]
pub(super) struct PvRebuild {
    max_vcpu_id: u32,
    shared_info_frame: Gfn,
    width: Option<GuestWidth>,
    /// The highest pfn, once the frames of the P2M table are known.
    max_pfn: Option<u64>,
    p2m_frames: Vec<Pfn>,
    /// The type of each pfn, as the stream last said.
    types: Vec<PageType>,
    vcpus: BTreeMap<u32, VcpuState>,
}

impl PvRebuild {
    pub(super) fn new(max_vcpu_id: u32, shared_info_frame: Gfn) -> Self {
        Self {
            max_vcpu_id,
            shared_info_frame,
            width: None,
            max_pfn: None,
            p2m_frames: Vec::new(),
            types: Vec::new(),
            vcpus: BTreeMap::new(),
        }
    }

    pub(super) fn apply(
        &mut self,
        xen: &Xen,
        domain: DomId,
        record: &Record<'_>,
    ) -> Result<(), RestoreError> {
        match record {
            Record::PvInfo(_) if self.width.is_some() => {
                return Err(RestoreError::Order("X86_PV_INFO comes twice"));
            }
            Record::PvInfo(GuestWidth::Bits64) => self.width = Some(GuestWidth::Bits64),
            Record::PvInfo(GuestWidth::Bits32) => {
                return Err(RestoreError::Order(
                    "it is a 32-bit PV guest; only 64-bit PV guests can be restored",
                ));
            }
            Record::P2mFrames(_) | Record::SharedInfo(_) if self.width.is_none() => {
                return Err(RestoreError::Order(
                    "X86_PV_INFO has to come before the P2M table and shared info",
                ));
            }
            Record::P2mFrames(frames) => self.set_p2m_frames(frames)?,
            Record::SharedInfo(page) => self.set_shared_info(xen, domain, page)?,
            Record::Vcpu(vcpu) => self.set_vcpu(vcpu)?,
            _ => return Err(RestoreError::Order("a record of another kind of guest")),
        }
        Ok(())
    }

    fn set_p2m_frames(&mut self, frames: &P2mFrames<'_>) -> Result<(), RestoreError> {
        if frames.frames.len() as u64 != frames.frames_expected(GuestWidth::Bits64) || frames.start != 0 {
            return Err(RestoreError::Order("X86_PV_P2M_FRAMES has not a frame for each part of the table"));
        }
        let end = u64::from(frames.end);
        self.types.truncate(end as usize + 1);
        room::lengthen(&mut self.types, end as usize + 1, PageType::Absent).map_err(MemoryError::from)?;
        self.max_pfn = Some(self.max_pfn.map_or(end, |max| max.max(end)));
        self.p2m_frames = frames.frames.iter().map(|pfn| Pfn(pfn.get())).collect();
        Ok(())
    }

    fn set_vcpu(&mut self, vcpu: &Vcpu<'_>) -> Result<(), RestoreError> {
        if vcpu.vcpu_id > self.max_vcpu_id {
            return Err(RestoreError::Order("it has more vCPUs than the domain"));
        }
        let state = self.vcpus.entry(vcpu.vcpu_id).or_default();
        let blob = match vcpu.part {
            VcpuPart::Basic => &mut state.basic,
            VcpuPart::Extended => &mut state.extended,
            VcpuPart::Xsave => &mut state.xsave,
            VcpuPart::Msrs => &mut state.msrs,
        };
        blob.clear();
        blob.extend_from_slice(vcpu.blob);
        Ok(())
    }

    /// Keeps what survives a move: vCPU info and the architecture's part. Event channels start anew.
    fn set_shared_info(&self, xen: &Xen, domain: DomId, old: &Page) -> Result<(), RestoreError> {
        let mapping = xen.map_whole(domain, &[self.shared_info_frame], Access::ReadWrite)?;
        let mut new = [0; PAGE_SIZE];
        mapping.copy_page(0, &mut new);
        shared_info::write(&mut new, old);
        mapping.write_page(0, &new);
        Ok(())
    }

    /// Records the type that an entry gives its pfn.
    pub(super) fn note_type(&mut self, entry: PageEntry) -> Result<(), RestoreError> {
        let Some(known) = self.types.get_mut(entry.pfn().0 as usize) else {
            return Err(RestoreError::BadFrame {
                what: "a page",
                pfn: entry.pfn(),
                why: "is beyond the guest",
            });
        };
        *known = entry.page_type();
        Ok(())
    }

    /// Writes a page. A page table is made to name machine frames.
    pub(super) fn write(
        &self,
        memory: &mut GuestMemory,
        entry: PageEntry,
        page: &Page,
    ) -> Result<(), RestoreError> {
        let PageType::Table { .. } = entry.page_type() else {
            return Ok(memory.write(entry.pfn(), page)?);
        };
        let named = |entry: u64| (entry & PRESENT != 0).then_some(Pfn((entry & FRAME_MASK) >> 12));
        let words = || page.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        if let Some(pfn) = words().filter_map(named).find(|pfn| pfn.0 >= self.types.len() as u64) {
            return Err(beyond(pfn));
        }
        memory.populate(words().filter_map(named))?;
        let mut local = *page;
        for (bytes, entry) in local.as_chunks_mut::<8>().0.iter_mut().zip(words()) {
            if let Some(pfn) = named(entry) {
                let mfn = memory.pv_mfn(pfn).expect("all that is named was just populated");
                *bytes = (entry & !FRAME_MASK | mfn.address()).to_le_bytes();
            }
        }
        Ok(memory.write(entry.pfn(), &local)?)
    }

    fn set_types(&mut self, page_type: impl Fn(Pfn) -> PageType) {
        self.types.iter_mut().zip(0..).for_each(|(known, pfn)| *known = page_type(Pfn(pfn)));
    }

    /// Makes the page tables in memory name machine frames.
    pub(super) fn localise_tables(
        &mut self,
        memory: &mut GuestMemory,
        page_type: impl Fn(Pfn) -> PageType,
    ) -> Result<(), RestoreError> {
        self.set_types(page_type);
        let mut page = [0; PAGE_SIZE];
        for pfn in (0..self.types.len() as u64).map(Pfn) {
            let kind = self.types[pfn.0 as usize];
            if let PageType::Table { .. } = kind {
                memory.read(pfn, &mut page)?;
                self.write(memory, PageEntry::new(pfn, kind), &page)?;
            }
        }
        Ok(())
    }

    pub(super) fn complete(
        mut self,
        xen: &Xen,
        domain: DomId,
        memory: &mut GuestMemory,
        rings: Rings,
    ) -> Result<RingFrames, RestoreError> {
        let mut vcpus = std::mem::take(&mut self.vcpus);
        if vcpus.get(&0).is_none_or(|first| first.basic.is_empty()) {
            return Err(RestoreError::Early);
        }
        for (vcpu_id, state) in &mut vcpus {
            self.localise(memory, *vcpu_id, &mut state.basic)?;
        }
        let start_info = word(&vcpus[&0].basic, RDX);
        let frames = self.fix_start_info(memory, rings, Mfn(start_info))?;
        self.write_p2m(memory)?;
        let pins = self.pins(memory)?;
        memory.unmap_all();
        for (vcpu_id, state) in &vcpus {
            set_vcpu(xen, domain, *vcpu_id, state)?;
        }
        xen.pin_tables(domain, &pins)?;
        Ok(frames)
    }

    /// The frame of a pfn that must be populated and must not be a page table.
    fn plain_frame(&self, memory: &GuestMemory, what: &'static str, pfn: Pfn) -> Result<Mfn, RestoreError> {
        self.typed_frame(memory, what, pfn, |kind| kind == PageType::Normal)
    }

    fn typed_frame(
        &self,
        memory: &GuestMemory,
        what: &'static str,
        pfn: Pfn,
        admits: impl Fn(PageType) -> bool,
    ) -> Result<Mfn, RestoreError> {
        let bad = |why| RestoreError::BadFrame { what, pfn, why };
        let kind = self.types.get(pfn.0 as usize).ok_or_else(|| bad("is beyond the guest"))?;
        if !admits(*kind) {
            return Err(bad("is not of the type it should be"));
        }
        memory.pv_mfn(pfn).ok_or_else(|| bad("is not there"))
    }

    /// Makes a vCPU's context name machine frames.
    fn localise(&self, memory: &GuestMemory, vcpu_id: u32, context: &mut [u8]) -> Result<(), RestoreError> {
        if context.is_empty() {
            return Ok(());
        }
        if context.len() != GuestWidth::Bits64.vcpu_basic_bytes() {
            return Err(RestoreError::Order("a vCPU's context has not the size of a 64-bit guest's"));
        }
        if vcpu_id == 0 {
            let frame = self.plain_frame(memory, "start info", Pfn(word(context, RDX)))?;
            set_word(context, RDX, frame.0);
        }
        let flags = word(context, CONTEXT_FLAGS);
        set_word(context, CONTEXT_FLAGS, flags | VGCF_ONLINE);
        let entries = word(context, GDT_ENTRIES);
        if entries > GDT_ENTRIES_MAX {
            return Err(RestoreError::Order("a vCPU's GDT has more entries than there can be"));
        }
        for index in 0..entries.div_ceil(GDT_ENTRIES_PER_FRAME) as usize {
            let offset = GDT_FRAMES + index * 8;
            let frame = self.plain_frame(memory, "a GDT", Pfn(word(context, offset)))?;
            set_word(context, offset, frame.0);
        }
        let is_top = |kind| matches!(kind, PageType::Table { level: 4, .. });
        let cr3 = Pfn(word(context, CR3) >> 12);
        let frame = self.typed_frame(memory, "a vCPU's page table", cr3, is_top)?;
        set_word(context, CR3, frame.address());
        let user = word(context, CR1);
        if user & PRESENT != 0 {
            let frame = self.typed_frame(memory, "a vCPU's user page table", Pfn(user >> 12), is_top)?;
            set_word(context, CR1, frame.address());
        }
        Ok(())
    }

    /// Updates start info for this host. `frame` is the machine frame of the start info page.
    fn fix_start_info(
        &self,
        memory: &mut GuestMemory,
        rings: Rings,
        frame: Mfn,
    ) -> Result<RingFrames, RestoreError> {
        let is_it = |(_, known): &(Pfn, Gfn)| *known == Gfn::of_pv(frame);
        let (pfn, _) = memory.populated().find(is_it).expect("it was found by its pfn");
        let mut page = [0; PAGE_SIZE];
        memory.read(pfn, &mut page)?;
        let store = self.plain_frame(memory, "the xenstore ring", Pfn(word(&page, start_info::STORE_MFN)))?;
        let console =
            self.plain_frame(memory, "the console ring", Pfn(word(&page, start_info::CONSOLE_MFN)))?;
        set_word(&mut page, start_info::NR_PAGES, self.types.len() as u64);
        set_word(&mut page, start_info::SHARED_INFO, self.shared_info_frame.pv_mfn().address());
        let mut set_u32 =
            |offset: usize, value: u32| page[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        set_u32(start_info::FLAGS, 0);
        set_u32(start_info::STORE_EVTCHN, rings.store.port);
        set_u32(start_info::CONSOLE_EVTCHN, rings.console.port);
        set_word(&mut page, start_info::STORE_MFN, store.0);
        set_word(&mut page, start_info::CONSOLE_MFN, console.0);
        memory.write(pfn, &page)?;
        Ok(RingFrames { store: Gfn::of_pv(store), console: Gfn::of_pv(console) })
    }

    fn write_p2m(&self, memory: &mut GuestMemory) -> Result<(), RestoreError> {
        let per_leaf = GuestWidth::Bits64.frames_per_page();
        for (leaf, pfn) in self.p2m_frames.iter().enumerate() {
            self.plain_frame(memory, "the P2M table", *pfn)?;
            let mut page = [0xFF; PAGE_SIZE];
            for (bytes, entry) in page.as_chunks_mut::<8>().0.iter_mut().zip(leaf as u64 * per_leaf..) {
                *bytes = memory.pv_mfn(Pfn(entry)).map_or(INVALID_P2M_ENTRY, |mfn| mfn.0).to_le_bytes();
            }
            memory.write(*pfn, &page)?;
        }
        Ok(())
    }

    fn pins(&self, memory: &GuestMemory) -> Result<Vec<(PinLevel, Mfn)>, RestoreError> {
        let pinned = |(kind, pfn): (&PageType, u64)| match kind {
            PageType::Table { level, pinned: true } => {
                let frame = self.typed_frame(memory, "a pinned page table", Pfn(pfn), |_| true);
                Some(frame.map(|frame| (pin_level(*level), frame)))
            }
            _ => None,
        };
        self.types.iter().zip(0..).filter_map(pinned).collect()
    }
}

fn beyond(pfn: Pfn) -> RestoreError {
    RestoreError::BadFrame { what: "what a page table maps", pfn, why: "is beyond the guest" }
}

fn pin_level(level: u8) -> PinLevel {
    match level {
        1 => PinLevel::L1,
        2 => PinLevel::L2,
        3 => PinLevel::L3,
        _ => PinLevel::L4,
    }
}

fn set_vcpu(xen: &Xen, domain: DomId, vcpu_id: u32, state: &VcpuState) -> Result<(), RestoreError> {
    if state.basic.is_empty() {
        return Ok(());
    }
    xen.set_vcpu_context(domain, vcpu_id, &state.basic)?;
    if !state.extended.is_empty() {
        xen.set_ext_vcpu_context(domain, vcpu_id, &state.extended)?;
    }
    if !state.xsave.is_empty() {
        xen.set_vcpu_xsave(domain, vcpu_id, &state.xsave)?;
    }
    if !state.msrs.is_empty() {
        xen.set_vcpu_msrs(domain, vcpu_id, &state.msrs)?;
    }
    Ok(())
}
