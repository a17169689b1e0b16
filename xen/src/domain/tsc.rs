//! The record X86_TSC_INFO, which every kind of guest has.

use crate::{DomId, Xen, XenError};
use understudy_checkpoint::stream::libxc::{Record, TscInfo};

/// Appends the record X86_TSC_INFO.
pub(super) fn write(xen: &Xen, domain: DomId, out: &mut Vec<u8>) -> Result<(), XenError> {
    let tsc = xen.tsc_info(domain)?;
    let record = TscInfo {
        mode: tsc.mode.into(),
        khz: tsc.khz.into(),
        nsec: tsc.elapsed_ns.into(),
        incarnation: tsc.incarnation.into(),
        reserved: 0.into(),
    };
    Record::TscInfo(record).write(out);
    Ok(())
}
