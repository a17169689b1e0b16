//! Records that only PV guests have, and the TSC record that all guests have.

use crate::PAGE_SIZE;
use crate::stream::fault::{Defect, Rule};
use crate::stream::frame;
use crate::stream::limits::{PFNS_MAX, VCPU_EXTENDED_BYTES_MAX, VCPUS_MAX};
use std::fmt;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Word size of a PV guest, which determines the depth of its page tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestWidth {
    /// 4 bytes, 3 levels.
    Bits32,
    /// 8 bytes, 4 levels.
    Bits64,
}

impl GuestWidth {
    /// Bytes of a guest word.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }

    /// Levels of the guest's page tables.
    pub fn levels(self) -> u8 {
        match self {
            Self::Bits32 => 3,
            Self::Bits64 => 4,
        }
    }

    /// Entries of a P2M frame.
    pub fn frames_per_page(self) -> u64 {
        (PAGE_SIZE / self.bytes()) as u64
    }

    /// Bytes of a vCPU's basic context (`vcpu_guest_context` of that width).
    pub fn vcpu_basic_bytes(self) -> usize {
        match self {
            Self::Bits32 => 2800,
            Self::Bits64 => 5168,
        }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WirePvInfo {
    guest_width: u8,
    pt_levels: u8,
    reserved: [u8; 6],
}

pub(super) fn parse_pv_info(body: &[u8]) -> Result<GuestWidth, Defect> {
    let wire: &WirePvInfo = frame::exactly(body, "X86_PV_INFO")?;
    if wire.reserved != [0; 6] {
        return frame::reserved(1, "X86_PV_INFO").map(|()| GuestWidth::Bits64);
    }
    match (wire.guest_width, wire.pt_levels) {
        (4, 3) => Ok(GuestWidth::Bits32),
        (8, 4) => Ok(GuestWidth::Bits64),
        (width, levels) => {
            let detail = format!("Width {width} with {levels} page table levels; (4, 3) and (8, 4) exist");
            Err(Defect::new(Rule::PvInfo, detail))
        }
    }
}

pub(super) fn write_pv_info(width: GuestWidth, out: &mut Vec<u8>) {
    let wire = WirePvInfo { guest_width: width.bytes() as u8, pt_levels: width.levels(), reserved: [0; 6] };
    frame::write(out, super::kind::X86_PV_INFO, &[wire.as_bytes()]);
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireP2mHeader {
    start: U32,
    end: U32,
}

/// X86_PV_P2M_FRAMES: the guest frames that hold the P2M table for a range of pfns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct P2mFrames<'a> {
    /// First pfn of the range.
    pub start: u32,
    /// Last pfn of the range: the guest's max_pfn.
    pub end: u32,
    /// Pfns of the frames that hold the table.
    pub frames: &'a [U64],
}

impl<'a> P2mFrames<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Defect> {
        let (header, frames): (&WireP2mHeader, _) = frame::prefix(body, "X86_PV_P2M_FRAMES")?;
        let (start, end) = (header.start.get(), header.end.get());
        if start > end {
            return Err(Defect::new(Rule::P2mFrames, format!("The range {start:#x}..={end:#x} is empty")));
        }
        if u64::from(end) >= PFNS_MAX {
            let detail = format!("The guest's last frame {end:#x} is not below the limit of {PFNS_MAX:#x}");
            return Err(Defect::new(Rule::P2mFrames, detail));
        }
        Ok(Self { start, end, frames: frame::elements(frames, "X86_PV_P2M_FRAMES")? })
    }

    /// The number of frames for the range, for a guest of this width.
    pub fn frames_expected(&self, width: GuestWidth) -> u64 {
        let per_page = width.frames_per_page();
        u64::from(self.end) / per_page - u64::from(self.start) / per_page + 1
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let header = WireP2mHeader { start: U32::new(self.start), end: U32::new(self.end) };
        let parts = [header.as_bytes(), self.frames.as_bytes()];
        frame::write(out, super::kind::X86_PV_P2M_FRAMES, &parts);
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireVcpu {
    vcpu_id: U32,
    reserved: U32,
}

/// The part of a PV vCPU's state in a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum VcpuPart {
    /// Registers: `vcpu_guest_context`, frame numbers as pfns. 5,168 or 2,800 bytes by the guest's width.
    Basic,
    /// `xen_domctl_ext_vcpucontext`, at most 128 bytes.
    Extended,
    /// `XEN_DOMCTL_getvcpuextstate`: xcr0, xcr0_accum, xsave area. At least 16 bytes.
    Xsave,
    /// Model specific registers, 16 bytes each.
    Msrs,
}

impl fmt::Display for VcpuPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic => "basic state",
            Self::Extended => "extended state",
            Self::Xsave => "xsave state",
            Self::Msrs => "MSRs",
        })
    }
}

impl VcpuPart {
    fn kind(self) -> u32 {
        match self {
            Self::Basic => super::kind::X86_PV_VCPU_BASIC,
            Self::Extended => super::kind::X86_PV_VCPU_EXTENDED,
            Self::Xsave => super::kind::X86_PV_VCPU_XSAVE,
            Self::Msrs => super::kind::X86_PV_VCPU_MSRS,
        }
    }

    /// Whether a blob of this size is valid. Empty blobs are: Xen 4.6 to 4.8 wrote them.
    fn admits(self, length: usize) -> bool {
        length == 0
            || match self {
                Self::Basic => [GuestWidth::Bits32, GuestWidth::Bits64]
                    .map(GuestWidth::vcpu_basic_bytes)
                    .contains(&length),
                Self::Extended => length <= VCPU_EXTENDED_BYTES_MAX,
                Self::Xsave => length >= 16,
                Self::Msrs => length.is_multiple_of(size_of::<VcpuMsr>()),
            }
    }
}

/// One part of a PV vCPU's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vcpu<'a> {
    /// The number of the vCPU.
    pub vcpu_id: u32,
    /// The part.
    pub part: VcpuPart,
    /// The state; may be empty, and then means nothing.
    pub blob: &'a [u8],
}

/// A model specific register of a PV vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct VcpuMsr {
    /// The number of the register.
    pub index: U32,
    /// Zero.
    pub reserved: U32,
    /// Its value.
    pub value: U64,
}

impl<'a> Vcpu<'a> {
    pub(super) fn parse(part: VcpuPart, body: &'a [u8]) -> Result<Self, Defect> {
        let (header, blob): (&WireVcpu, _) = frame::prefix(body, "vCPU record")?;
        let vcpu_id = header.vcpu_id.get();
        frame::reserved(header.reserved.get().into(), "a vCPU record")?;
        if vcpu_id >= VCPUS_MAX {
            return Err(Defect::new(
                Rule::Vcpu,
                format!("vCPU {vcpu_id} is beyond the limit of {VCPUS_MAX}"),
            ));
        }
        if !part.admits(blob.len()) {
            let detail = format!("The {part} of vCPU {vcpu_id} cannot have {} bytes", blob.len());
            return Err(Defect::new(Rule::Vcpu, detail));
        }
        let vcpu = Self { vcpu_id, part, blob };
        if part == VcpuPart::Msrs {
            vcpu.msrs().iter().try_for_each(|msr| frame::reserved(msr.reserved.get().into(), "an MSR"))?;
        }
        Ok(vcpu)
    }

    /// The registers of an [`VcpuPart::Msrs`] record; nothing for other parts.
    pub fn msrs(&self) -> &'a [VcpuMsr] {
        match self.part {
            VcpuPart::Msrs => <[VcpuMsr]>::ref_from_bytes(self.blob).unwrap_or_default(),
            VcpuPart::Basic | VcpuPart::Extended | VcpuPart::Xsave => &[],
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let header = WireVcpu { vcpu_id: U32::new(self.vcpu_id), reserved: U32::new(0) };
        frame::write(out, self.part.kind(), &[header.as_bytes(), self.blob]);
    }
}

/// X86_TSC_INFO, in wire order (the domctl and the legacy chunk have other orders).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TscInfo {
    /// 0 default, 1 always emulate, 2 never emulate, 3 PVRDTSCP (retired).
    pub mode: U32,
    /// Frequency in kHz.
    pub khz: U32,
    /// Elapsed nanoseconds.
    pub nsec: U64,
    /// Increases with every restore.
    pub incarnation: U32,
    /// Zero.
    pub reserved: U32,
}

impl TscInfo {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Defect> {
        let tsc: &Self = frame::exactly(body, "X86_TSC_INFO")?;
        frame::reserved(tsc.reserved.get().into(), "X86_TSC_INFO")?;
        if tsc.mode.get() > 3 {
            return Err(Defect::new(Rule::Tsc, format!("TSC mode {} is unknown", tsc.mode)));
        }
        Ok(*tsc)
    }
}
