//! libxc stream v2 and v3: memory, vCPUs and platform state of a domain.
//!
//! Bodies are views of the input (little-endian, unaligned); nothing is copied. A body that was parsed is written back
//! byte for byte, except for padding, which is always written as zero.

mod header;
mod hvm;
mod pages;
mod pv;

pub use header::{DomainType, HEADER_BYTES, LibxcHeader, MARKER};
pub use hvm::{HvmContext, HvmEntry, HvmParam};
pub use pages::{PageData, write_page_data, write_page_data_head};
pub use pv::{GuestWidth, P2mFrames, TscInfo, Vcpu, VcpuMsr, VcpuPart};

pub use super::kinds::libxc as kind;
pub use super::kinds::libxc::name as kind_name;

use super::fault::{Defect, Rule};
use super::frame::{self, Frame};
use super::kinds::OPTIONAL;
use super::limits::{HVM_CONTEXT_BYTES_MAX, RECORD_BYTES_MAX, SMALL_RECORD_BYTES_MAX};
use crate::{PAGE_SIZE, Page};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most body bytes of a record type.
pub(super) fn body_bytes_max(kind: u32) -> usize {
    match kind {
        kind::PAGE_DATA | kind::X86_PV_P2M_FRAMES | kind::CHECKPOINT_DIRTY_PFN_LIST => RECORD_BYTES_MAX,
        kind::HVM_CONTEXT => HVM_CONTEXT_BYTES_MAX,
        optional if optional & OPTIONAL != 0 => RECORD_BYTES_MAX,
        _ => SMALL_RECORD_BYTES_MAX,
    }
}

/// Fails unless a type may occur in a forward stream: known, or unknown and optional.
pub(super) fn check_kind(kind: u32) -> Result<(), Defect> {
    match kind {
        kind::TOOLSTACK => {
            Err(Defect::new(Rule::RecordType, "TOOLSTACK records are dead; no receiver takes them"))
        }
        kind::CHECKPOINT_DIRTY_PFN_LIST => {
            let detail = "CHECKPOINT_DIRTY_PFN_LIST belongs to the back channel";
            Err(Defect::new(Rule::RecordPlace, detail))
        }
        known if known <= kind::X86_MSR_POLICY => Ok(()),
        optional if optional & OPTIONAL != 0 => Ok(()),
        unknown => {
            let detail = format!("Record type {unknown:#x} is unknown and mandatory; a newer Xen wrote this");
            Err(Defect::new(Rule::RecordType, detail))
        }
    }
}

/// A leaf of the CPUID policy (`xen_cpuid_leaf_t`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CpuidLeaf {
    /// Leaf.
    pub leaf: U32,
    /// Subleaf; all ones if the leaf has none.
    pub subleaf: U32,
    /// eax, ebx, ecx, edx.
    pub registers: [U32; 4],
}

/// An entry of the MSR policy (`xen_msr_entry_t`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MsrEntry {
    /// The number of the register.
    pub index: U32,
    /// Zero.
    pub flags: U32,
    /// Its value.
    pub value: U64,
}

/// A libxc record with its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// Ends a stream.
    End,
    /// Pages.
    PageData(PageData<'a>),
    /// Width of a PV guest.
    PvInfo(GuestWidth),
    /// The frames of a PV guest's P2M table.
    P2mFrames(P2mFrames<'a>),
    /// Part of a PV vCPU's state.
    Vcpu(Vcpu<'a>),
    /// A PV guest's shared info page.
    SharedInfo(&'a Page),
    /// Time stamp counter.
    TscInfo(TscInfo),
    /// Platform and vCPU state of an HVM guest.
    HvmContext(HvmContext<'a>),
    /// Parameters of an HVM guest.
    HvmParams(&'a [HvmParam]),
    /// All pages follow once more, to be compared (for debugging).
    Verify,
    /// libxc's part of a checkpoint is complete; libxl's follows.
    Checkpoint,
    /// Static data are complete (v3).
    StaticDataEnd,
    /// CPUID policy (v3).
    CpuidPolicy(&'a [CpuidLeaf]),
    /// MSR policy (v3).
    MsrPolicy(&'a [MsrEntry]),
    /// An optional record of unknown type. Receivers skip it; stock ones do so only before the first CHECKPOINT, and
    /// fail afterwards.
    Optional {
        /// Its type, bit 31 set.
        kind: u32,
        /// Its body.
        body: &'a [u8],
    },
}

impl<'a> Record<'a> {
    /// Parses a record of the libxc layer of a forward stream.
    pub fn parse(frame: Frame<'a>) -> Result<Self, Defect> {
        check_kind(frame.kind)?;
        frame.check_padding()?;
        let name = kind_name(frame.kind);
        let body = frame.body;
        let vcpu = |part| Vcpu::parse(part, body).map(Self::Vcpu);
        match frame.kind {
            kind::END => frame::empty(body, name).map(|()| Self::End),
            kind::PAGE_DATA => PageData::parse(body).map(Self::PageData),
            kind::X86_PV_INFO => pv::parse_pv_info(body).map(Self::PvInfo),
            kind::X86_PV_P2M_FRAMES => P2mFrames::parse(body).map(Self::P2mFrames),
            kind::X86_PV_VCPU_BASIC => vcpu(VcpuPart::Basic),
            kind::X86_PV_VCPU_EXTENDED => vcpu(VcpuPart::Extended),
            kind::X86_PV_VCPU_XSAVE => vcpu(VcpuPart::Xsave),
            kind::X86_PV_VCPU_MSRS => vcpu(VcpuPart::Msrs),
            kind::SHARED_INFO => frame::exactly::<[u8; PAGE_SIZE]>(body, name).map(Self::SharedInfo),
            kind::X86_TSC_INFO => TscInfo::parse(body).map(Self::TscInfo),
            kind::HVM_CONTEXT => HvmContext::parse(body).map(Self::HvmContext),
            kind::HVM_PARAMS => hvm::parse_params(body).map(Self::HvmParams),
            kind::VERIFY => frame::empty(body, name).map(|()| Self::Verify),
            kind::CHECKPOINT => frame::empty(body, name).map(|()| Self::Checkpoint),
            kind::STATIC_DATA_END => frame::empty(body, name).map(|()| Self::StaticDataEnd),
            kind::X86_CPUID_POLICY => policy(body, name).map(Self::CpuidPolicy),
            kind::X86_MSR_POLICY => parse_msrs(body, name).map(Self::MsrPolicy),
            kind => Ok(Self::Optional { kind, body }),
        }
    }

    /// Appends the record as Xen writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::End => frame::write(out, kind::END, &[]),
            Self::PageData(pages) => pages.write(out),
            Self::PvInfo(width) => pv::write_pv_info(*width, out),
            Self::P2mFrames(frames) => frames.write(out),
            Self::Vcpu(vcpu) => vcpu.write(out),
            Self::SharedInfo(page) => frame::write(out, kind::SHARED_INFO, &[*page]),
            Self::TscInfo(tsc) => frame::write(out, kind::X86_TSC_INFO, &[tsc.as_bytes()]),
            Self::HvmContext(context) => frame::write(out, kind::HVM_CONTEXT, &[context.blob]),
            Self::HvmParams(params) => hvm::write_params(params, out),
            Self::Verify => frame::write(out, kind::VERIFY, &[]),
            Self::Checkpoint => frame::write(out, kind::CHECKPOINT, &[]),
            Self::StaticDataEnd => frame::write(out, kind::STATIC_DATA_END, &[]),
            Self::CpuidPolicy(leaves) => frame::write(out, kind::X86_CPUID_POLICY, &[leaves.as_bytes()]),
            Self::MsrPolicy(entries) => frame::write(out, kind::X86_MSR_POLICY, &[entries.as_bytes()]),
            Self::Optional { kind, body } => frame::write(out, *kind, &[body]),
        }
    }
}

fn policy<'a, T>(body: &'a [u8], name: &str) -> Result<&'a [T], Defect>
where
    T: FromBytes + Immutable + Unaligned,
    [T]: FromBytes + KnownLayout + Immutable,
{
    if body.is_empty() {
        return Err(Defect::new(
            Rule::Policy,
            format!("{name} is empty; it is left out if there is nothing"),
        ));
    }
    frame::elements(body, name)
}

fn parse_msrs<'a>(body: &'a [u8], name: &str) -> Result<&'a [MsrEntry], Defect> {
    let entries: &[MsrEntry] = policy(body, name)?;
    entries.iter().try_for_each(|entry| frame::reserved(entry.flags.get().into(), name))?;
    Ok(entries)
}
