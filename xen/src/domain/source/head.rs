//! The records that a source writes once, at the head of its stream.
//!
//! Not here: their meaning ([`Description`](understudy_checkpoint::domain::Description)).

use super::{Kind, XenSource, error};
use crate::CpuPolicy;
use crate::domain::pv::PvGuest;
use crate::domain::toolstack::Toolstack;
use understudy_checkpoint::domain::DomainError;
use understudy_checkpoint::stream::libxc::{CpuidLeaf, MsrEntry, Record};
use zerocopy::FromBytes;

impl<T: Toolstack> XenSource<T> {
    /// The static records of the stream's head.
    pub(super) fn static_records(&self) -> Result<Vec<u8>, DomainError> {
        let mut out = Vec::new();
        if let Kind::Pv(_) = self.kind {
            PvGuest::write_info(&mut out);
        }
        write_policy(&self.xen.cpu_policy(self.domain).map_err(error)?, &mut out);
        Record::StaticDataEnd.write(&mut out);
        if let Kind::Pv(guest) = &self.kind {
            guest.write_p2m_frames(&mut out)?;
        }
        Ok(out)
    }
}

/// Writes the policy's records; an empty part is left out.
fn write_policy(policy: &CpuPolicy, out: &mut Vec<u8>) {
    let leaves = <[CpuidLeaf]>::ref_from_bytes(&policy.leaves).expect("Xen gives whole leaves");
    let msrs = <[MsrEntry]>::ref_from_bytes(&policy.msrs).expect("Xen gives whole entries");
    if !leaves.is_empty() {
        Record::CpuidPolicy(leaves).write(out);
    }
    if !msrs.is_empty() {
        Record::MsrPolicy(msrs).write(out);
    }
}
