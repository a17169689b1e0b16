//! State of an HVM or PVH guest besides memory: TSC, HVM context, HVM parameters, in stock Xen's order
//! (`tools/libs/guest/xg_sr_save_x86_hvm.c`).

use crate::{DomId, Xen, XenError};
use understudy_checkpoint::stream::libxc::{HvmContext, HvmParam, Record};

/// The parameters that stock Xen saves, in its order (`xg_sr_save_x86_hvm.c`). Parameters that are 0 are left out.
const SAVED_PARAMS: [u32; 16] = [1, 5, 6, 27, 28, 29, 37, 17, 19, 9, 12, 34, 32, 33, 36, 38];

/// The buffers that capturing needs, kept so that it does not allocate.
#[derive(Debug, Default)]
pub(super) struct HvmState {
    context: Vec<u8>,
    params: Vec<HvmParam>,
}

impl HvmState {
    /// Appends the records of a suspended domain's state.
    pub(super) fn capture(&mut self, xen: &Xen, domain: DomId, out: &mut Vec<u8>) -> Result<(), XenError> {
        super::tsc::write(xen, domain, out)?;
        self.context.clear();
        xen.hvm_context(domain, &mut self.context)?;
        Record::HvmContext(HvmContext { blob: &self.context }).write(out);
        self.params.clear();
        let mut values = [0; SAVED_PARAMS.len()];
        xen.hvm_params(domain, &SAVED_PARAMS, &mut values)?;
        let set = SAVED_PARAMS.iter().zip(values).filter(|(_, value)| *value != 0);
        self.params.extend(set.map(|(index, value)| HvmParam::new((*index).into(), value)));
        Record::HvmParams(&self.params).write(out);
        Ok(())
    }
}
