//! Records of the vCPUs of a suspended 64-bit PV guest, with machine frames replaced by pfns (`xg_sr_save_x86_pv.c`;
//! offsets in `vcpu_guest_context` from `xen/include/public/arch-x86/xen.h`).

use super::m2p::M2p;
use super::p2m::P2m;
use crate::{DomId, Mfn, Xen, XenError};
use understudy_checkpoint::domain::DomainError;
use understudy_checkpoint::stream::libxc::{GuestWidth, Record, Vcpu, VcpuPart};

pub(crate) const RDX: usize = 616;
pub(crate) const GDT_FRAMES: usize = 4832;
pub(crate) const GDT_ENTRIES: usize = 4960;
pub(crate) const CR1: usize = 4992;
pub(crate) const CR3: usize = 5008;

/// Entries of a GDT that belong to the guest (`FIRST_RESERVED_GDT_ENTRY`).
pub(crate) const GDT_ENTRIES_MAX: u64 = 14 * 512;
pub(crate) const GDT_ENTRIES_PER_FRAME: u64 = 512;

pub(crate) fn word(context: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(context[offset..offset + 8].try_into().expect("eight bytes"))
}

pub(crate) fn set_word(context: &mut [u8], offset: usize, value: u64) {
    context[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

/// Appends the records of every online vCPU.
pub(super) fn write(
    xen: &Xen,
    domain: DomId,
    max_vcpu_id: u32,
    tables: (&P2m, &M2p),
    out: &mut Vec<u8>,
) -> Result<(), DomainError> {
    for vcpu_id in 0..=max_vcpu_id {
        if !xen.vcpu_info(domain, vcpu_id).map_err(super::failed)?.online {
            continue;
        }
        let basic_bytes = GuestWidth::Bits64.vcpu_basic_bytes();
        let mut basic = xen.vcpu_context(domain, vcpu_id, basic_bytes).map_err(super::failed)?;
        normalise(&mut basic, vcpu_id, tables)?;
        let parts = others(xen, domain, vcpu_id).map_err(super::failed)?;
        for (part, blob) in std::iter::once((VcpuPart::Basic, basic)).chain(parts) {
            if !blob.is_empty() {
                Record::Vcpu(Vcpu { vcpu_id, part, blob: &blob }).write(out);
            }
        }
    }
    Ok(())
}

fn others(xen: &Xen, domain: DomId, vcpu: u32) -> Result<[(VcpuPart, Vec<u8>); 3], XenError> {
    Ok([
        (VcpuPart::Extended, xen.ext_vcpu_context(domain, vcpu)?),
        (VcpuPart::Xsave, xen.vcpu_xsave(domain, vcpu)?),
        (VcpuPart::Msrs, xen.vcpu_msrs(domain, vcpu)?),
    ])
}

/// Replaces the machine frames in a context by pfns.
fn normalise(context: &mut [u8], vcpu_id: u32, (p2m, m2p): (&P2m, &M2p)) -> Result<(), DomainError> {
    let pfn_of = |frame: Mfn, what: &str| {
        p2m.pfn_of(m2p, frame).map(|pfn| pfn.0).ok_or_else(|| {
            DomainError::Failed(format!(
                "{what} of vCPU {vcpu_id} is in frame {frame:#x}, which is not the guest's own"
            ))
        })
    };
    if vcpu_id == 0 {
        // The guest passed its start info's frame when it suspended itself.
        let start_info = pfn_of(Mfn(word(context, RDX)), "The start info")?;
        set_word(context, RDX, start_info);
    }
    let entries = word(context, GDT_ENTRIES);
    if entries > GDT_ENTRIES_MAX {
        return Err(DomainError::Failed(format!("The GDT of vCPU {vcpu_id} has {entries} entries")));
    }
    for index in 0..entries.div_ceil(GDT_ENTRIES_PER_FRAME) as usize {
        let offset = GDT_FRAMES + index * 8;
        let pfn = pfn_of(Mfn(word(context, offset)), "The GDT")?;
        set_word(context, offset, pfn);
    }
    let cr3 = pfn_of(Mfn::at(word(context, CR3)), "The page table")?;
    set_word(context, CR3, cr3 << 12);
    let user = word(context, CR1);
    if user != 0 {
        // Bit 0 says that there is one.
        set_word(context, CR1, pfn_of(Mfn::at(user), "The user page table")? << 12 | 1);
    }
    Ok(())
}
