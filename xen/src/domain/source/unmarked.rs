//! What an intact dirty log does not show: writes by others than the guest, and pages that moved.
//!
//! | frame | written by | marked |
//! |---|---|---|
//! | vCPU info that the guest has registered, one of each vCPU | Xen: pending events, time | no |
//! | control block of each vCPU and event words, with FIFO event channels | Xen | no |
//! | rings of network cards, each queue two, and those of console and xenstore | backends that have mapped them | when they unmap |
//! | run states, times of vCPUs registered by address | Xen | yes, like any copy to a guest |
//! | pages that a backend copies to (`GNTTABOP_copy`) | Xen | yes |
//! | shared info and grant table of PVH and HVM, PV's shared info | Xen | not pages of the guest: not looked at |
//!
//! Xen does not say which frames these are, but their number is bounded. A guest that was taken over does not need
//! their content: it registers and connects all of them again.
//!
//! Not here: what happens to frames that changed without a mark (the engine).

use super::{Kind, XenSource, error};
use crate::DomainInfo;
use crate::domain::toolstack::Toolstack;
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::DomainError;
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::DirtyBitmap;

/// Frames written for the guest as a whole: rings of console and xenstore, event words, a second card.
const FRAMES_OF_A_GUEST: u64 = 16;

/// Frames written for each vCPU: its info, its control block, and the two rings of the network queue that a card has
/// for it.
const FRAMES_OF_A_VCPU: u64 = 4;

/// The most frames of a domain that may be written without a mark.
pub(super) fn frames_max(info: &DomainInfo) -> u64 {
    let vcpus = u64::from(info.max_vcpu_id.wrapping_add(1).max(1));
    FRAMES_OF_A_GUEST + FRAMES_OF_A_VCPU * vcpus
}

impl<T: Toolstack> XenSource<T> {
    /// Copies frames from their present place while the guest runs. Frames of a PV guest are looked up each time
    /// anyway.
    pub(super) fn look_at(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
    ) -> Result<Option<Pfn>, DomainError> {
        if let (Kind::Hvm(_), false) = (&self.kind, self.is_suspended) {
            for run in wanted.runs(from) {
                self.frames.renew(run).map_err(error)?;
            }
        }
        self.stage(wanted, from, staging, 1)
    }
}
