//! Finds a guest's rings in the state of an epoch: in HVM parameters, or in a PV guest's start info.
//!
//! ```text
//!   PVH   HVM_PARAMS: STORE_PFN, CONSOLE_PFN
//!   PV    vCPU 0: rdx ──► start info: store_mfn, console_mfn, which a suspended guest has as pfns
//! ```

use super::pages::{RingPfns, StandbyPages};
use crate::domain::pv::vcpu::{RDX, word};
use crate::restore::pv::start_info;
use crate::restore::{RestoreError, records};
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{DomainState, GuestKind};
use understudy_checkpoint::stream::libxc::{GuestWidth, HvmParam, Record, VcpuPart};

pub(super) fn find(
    kind: GuestKind,
    state: &DomainState,
    pages: &StandbyPages,
) -> Result<RingPfns, RestoreError> {
    match kind {
        GuestKind::Pv => of_pv(state, pages),
        GuestKind::Pvh | GuestKind::Hvm => of_hvm(state),
    }
}

fn of_hvm(state: &DomainState) -> Result<RingPfns, RestoreError> {
    let (mut store, mut console) = (None, None);
    records(&state.libxc, |record| {
        if let Record::HvmParams(params) = record {
            for param in params.iter() {
                match param.index.get() {
                    HvmParam::STORE_PFN => store = Some(Pfn(param.value.get())),
                    HvmParam::CONSOLE_PFN => console = Some(Pfn(param.value.get())),
                    _ => {}
                }
            }
        }
        Ok(())
    })?;
    let missing = RestoreError::Order("its HVM parameters do not say where its rings are");
    store.zip(console).map(|(store, console)| RingPfns { store, console }).ok_or(missing)
}

fn of_pv(state: &DomainState, pages: &StandbyPages) -> Result<RingPfns, RestoreError> {
    let mut at = None;
    records(&state.libxc, |record| {
        match record {
            Record::Vcpu(vcpu) if vcpu.vcpu_id == 0 && vcpu.part == VcpuPart::Basic => {
                let whole = vcpu.blob.len() == GuestWidth::Bits64.vcpu_basic_bytes();
                at = whole.then(|| Pfn(word(vcpu.blob, RDX)));
            }
            _ => {}
        }
        Ok(())
    })?;
    let page = at.and_then(|pfn| pages.page(pfn));
    let page = page.ok_or(RestoreError::Order("its first vCPU does not say where its start info is"))?;
    Ok(RingPfns {
        store: Pfn(word(page, start_info::STORE_MFN)),
        console: Pfn(word(page, start_info::CONSOLE_MFN)),
    })
}
