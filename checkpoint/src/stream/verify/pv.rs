//! What PV guests must have at each checkpoint, and the frames that their state refers to.
//!
//! Offsets are those of `vcpu_guest_context` (xen/include/public/arch-x86/xen.h) in both widths. Frame numbers in it
//! are pfns on the wire.

use super::Faults;
use super::frames::Frames;
use super::width::Width;
use crate::PageType;
use crate::stream::fault::{Defect, Rule};
use crate::stream::libxc::{GuestWidth, P2mFrames, Vcpu, VcpuPart};
use std::collections::BTreeMap;

/// GDT entries below those that Xen reserves to itself.
const GDT_ENTRIES_MAX: u64 = 14 * 512;

#[derive(Debug, Default)]
pub(super) struct PvState {
    p2m_frames: Vec<u64>,
    shared_info_seen: bool,
    /// By vCPU number; at most as many as a guest may have, however often records come.
    vcpus: BTreeMap<u32, Registers>,
    levels: u8,
}

/// Frames that a vCPU's registers refer to.
#[derive(Debug)]
struct Registers {
    /// vCPU 0 only.
    start_info: Option<u64>,
    gdt: Vec<u64>,
    cr3: u64,
    /// 64-bit guests: the user page table, if there is one.
    cr1: Option<u64>,
}

impl PvState {
    pub(super) fn p2m_frames(&mut self, frames: &P2mFrames<'_>, width: GuestWidth, faults: &mut Faults) {
        let (have, expected) = (frames.frames.len() as u64, frames.frames_expected(width));
        if have != expected {
            faults.note(Rule::P2mFrames, format!("{have} P2M frames for a range that takes {expected}"));
        }
        let pfn_max = u64::from(frames.end);
        if let Some(pfn) = frames.frames.iter().find(|pfn| pfn.get() > pfn_max) {
            faults
                .note(Rule::P2mFrames, format!("P2M frame {pfn:#x} is above the guest's last, {pfn_max:#x}"));
        }
        self.p2m_frames = frames.frames.iter().map(|pfn| pfn.get()).filter(|pfn| *pfn <= pfn_max).collect();
    }

    pub(super) fn shared_info(&mut self, width: Width, faults: &mut Faults) {
        faults.note_if(width == Width::Untold, Rule::Order, "SHARED_INFO comes before X86_PV_INFO");
        self.shared_info_seen = true;
    }

    pub(super) fn vcpu(&mut self, vcpu: Vcpu<'_>, width: Width) -> Result<(), Defect> {
        let width = match width {
            Width::Told(width) => width,
            Width::Broken => return Ok(()),
            Width::Untold => return Err(Defect::new(Rule::Order, "A vCPU comes before X86_PV_INFO")),
        };
        if vcpu.part != VcpuPart::Basic || vcpu.blob.is_empty() {
            return Ok(());
        }
        let expected = width.vcpu_basic_bytes();
        if vcpu.blob.len() != expected {
            let (id, have) = (vcpu.vcpu_id, vcpu.blob.len());
            let detail = format!("Registers of vCPU {id} have {have} bytes, not {expected}");
            return Err(Defect::new(Rule::Vcpu, detail));
        }
        self.levels = width.levels();
        self.vcpus.insert(vcpu.vcpu_id, Registers::read(vcpu, width)?);
        Ok(())
    }

    pub(super) fn end_epoch(&self, frames: &Frames, pfn_max: u64, faults: &mut Faults) {
        faults.note_if(!self.shared_info_seen, Rule::StateMissing, "SHARED_INFO is missing");
        faults.note_if(
            !self.vcpus.contains_key(&0),
            Rule::StateMissing,
            "The registers of vCPU 0 are missing",
        );
        let mut plain = |pfn: u64, what: &str| {
            if pfn > pfn_max || frames.get(pfn) != Some(PageType::Normal) {
                faults.note(Rule::Coverage, format!("Frame {pfn:#x} of {what} holds no plain page"));
            }
        };
        self.p2m_frames.iter().for_each(|pfn| plain(*pfn, "the P2M table"));
        for registers in self.vcpus.values() {
            registers.start_info.into_iter().for_each(|pfn| plain(pfn, "the start info"));
            registers.gdt.iter().for_each(|pfn| plain(*pfn, "a GDT"));
        }
        for pfn in self.vcpus.values().flat_map(|registers| registers.cr1.into_iter().chain([registers.cr3]))
        {
            let is_root =
                matches!(frames.get(pfn), Some(PageType::Table { level, .. }) if level == self.levels);
            if pfn > pfn_max || !is_root {
                let detail =
                    format!("Frame {pfn:#x}, a vCPU's page table, holds none of level {}", self.levels);
                faults.note(Rule::Coverage, detail);
            }
        }
    }

    pub(super) fn next_epoch(&mut self) {
        self.shared_info_seen = false;
        self.vcpus.clear();
    }
}

impl Registers {
    /// Reads the frames from a blob of the right size.
    fn read(vcpu: Vcpu<'_>, width: GuestWidth) -> Result<Self, Defect> {
        let offsets = Offsets::of(width);
        let word = |offset: usize| read_word(vcpu.blob, offset, width);
        let gdt_entries = word(offsets.gdt_entries);
        if gdt_entries > GDT_ENTRIES_MAX {
            let detail = format!("vCPU {} has {gdt_entries} GDT entries", vcpu.vcpu_id);
            return Err(Defect::new(Rule::Vcpu, detail));
        }
        let gdt_frames = gdt_entries.div_ceil(512) as usize;
        let (cr1, cr3) = (word(offsets.control + width.bytes()), word(offsets.control + 3 * width.bytes()));
        Ok(Self {
            start_info: (vcpu.vcpu_id == 0).then(|| word(offsets.start_info)),
            gdt: (0..gdt_frames).map(|frame| word(offsets.gdt_frames + frame * width.bytes())).collect(),
            cr3: match width {
                GuestWidth::Bits64 => cr3 >> 12,
                GuestWidth::Bits32 => u64::from((cr3 as u32).rotate_right(12)),
            },
            cr1: (width == GuestWidth::Bits64 && cr1 & 1 != 0).then_some(cr1 >> 12),
        })
    }
}

/// Byte offsets in `vcpu_guest_context`.
struct Offsets {
    /// (r)dx, which holds the frame of start info while a guest is suspended.
    start_info: usize,
    gdt_frames: usize,
    gdt_entries: usize,
    /// `ctrlreg[0]`
    control: usize,
}

impl Offsets {
    fn of(width: GuestWidth) -> Self {
        match width {
            GuestWidth::Bits64 => {
                Self { start_info: 616, gdt_frames: 4832, gdt_entries: 4960, control: 4984 }
            }
            GuestWidth::Bits32 => {
                Self { start_info: 524, gdt_frames: 2640, gdt_entries: 2704, control: 2716 }
            }
        }
    }
}

fn read_word(blob: &[u8], offset: usize, width: GuestWidth) -> u64 {
    let mut word = [0; 8];
    word[..width.bytes()].copy_from_slice(&blob[offset..offset + width.bytes()]);
    u64::from_le_bytes(word)
}
