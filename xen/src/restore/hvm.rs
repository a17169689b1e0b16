//! The part of rebuilding that is specific to HVM and PVH guests: parameters are set as they come, the context at the
//! end.

use super::{RestoreError, RingFrames, Rings};
use crate::{Access, DomId, Gfn, Xen};
use understudy_checkpoint::PAGE_SIZE;
use understudy_checkpoint::stream::libxc::{HvmParam, Record};

/// Parameters that name event channels. They are never in a stream, and are set when the guest is complete
/// (`xen/include/public/hvm/params.h`).
pub(crate) const STORE_EVTCHN: u32 = 2;
pub(crate) const CONSOLE_EVTCHN: u32 = 18;
/// An obsolete parameter that Xen rejects.
const PAE_ENABLED: u64 = 4;

/// State that is kept until the guest is complete.
#[derive(Debug, Default)]
pub(super) struct HvmRebuild {
    context: Vec<u8>,
    rings: RingFrames,
    /// The rings are new and in use; nothing of an old guest is in them.
    has_rings: bool,
}

impl HvmRebuild {
    /// Records that backends have mapped the rings.
    pub(super) fn keep_rings(&mut self) {
        self.has_rings = true;
    }

    pub(super) fn apply(
        &mut self,
        xen: &Xen,
        domain: DomId,
        record: &Record<'_>,
    ) -> Result<(), RestoreError> {
        match record {
            Record::HvmContext(context) => {
                self.context.clear();
                self.context.extend_from_slice(context.blob);
            }
            Record::HvmParams(params) => {
                params.iter().try_for_each(|param| self.param(xen, domain, param))?;
            }
            _ => return Err(RestoreError::Order("a record of another kind of guest")),
        }
        Ok(())
    }

    fn param(&mut self, xen: &Xen, domain: DomId, param: &HvmParam) -> Result<(), RestoreError> {
        let (index, value) = (param.index.get(), param.value.get());
        match index {
            PAE_ENABLED => return Ok(()),
            HvmParam::STORE_PFN => self.rings.store = Gfn(value),
            HvmParam::CONSOLE_PFN => self.rings.console = Gfn(value),
            _ => {}
        }
        let is_ring = matches!(
            index,
            HvmParam::STORE_PFN | HvmParam::CONSOLE_PFN | HvmParam::IOREQ_PFN | HvmParam::BUFIOREQ_PFN
        );
        if is_ring && !self.has_rings {
            // What is in the old rings is of connections that are no more. (Xen clears no page of an HVM guest by
            // hypercall.)
            xen.map_whole(domain, &[Gfn(value)], Access::ReadWrite)?.write_page(0, &[0; PAGE_SIZE]);
        }
        let index = u32::try_from(index)
            .map_err(|_| RestoreError::Order("an HVM parameter has an impossible index"))?;
        Ok(xen.set_hvm_param(domain, index, value)?)
    }

    pub(super) fn complete(self, xen: &Xen, domain: DomId, rings: Rings) -> Result<RingFrames, RestoreError> {
        if self.context.is_empty() {
            return Err(RestoreError::Early);
        }
        xen.set_hvm_param(domain, STORE_EVTCHN, rings.store.port.into())?;
        xen.set_hvm_param(domain, CONSOLE_EVTCHN, rings.console.port.into())?;
        xen.set_hvm_context(domain, &self.context)?;
        Ok(self.rings)
    }
}
