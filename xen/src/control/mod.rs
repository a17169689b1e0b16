//! skeleton
#![allow(unused_variables, missing_docs, clippy::ptr_arg)]
use crate::{Access, DomId, HypercallBuffer, Mapping, Port, XenError};
use std::sync::Arc;
type E = XenError;
/// What Xen says of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainInfo {
    pub domain: DomId,
    pub flags: u32,
    pub tot_pages: u64,
    pub max_pages: u64,
    pub outstanding_pages: u64,
    pub shr_pages: u64,
    pub paged_pages: u64,
    pub shared_info_frame: u64,
    pub cpu_time_ns: u64,
    pub nr_online_vcpus: u32,
    pub max_vcpu_id: u32,
    pub uuid: [u8; 16],
}
impl DomainInfo {
    pub fn is_dying(&self) -> bool {
        self.flags & 1 != 0
    }
    pub fn is_hvm(&self) -> bool {
        self.flags & 2 != 0
    }
    pub fn is_shutdown(&self) -> bool {
        self.flags & 4 != 0
    }
    pub fn is_paused(&self) -> bool {
        self.flags & 8 != 0
    }
    pub fn shutdown_reason(&self) -> Option<u32> {
        self.is_shutdown().then_some((self.flags >> 16) & 0xFF)
    }
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TscInfo {
    pub mode: u32,
    pub khz: u32,
    pub incarnation: u32,
    pub elapsed_ns: u64,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirtyStats {
    pub fault_count: u32,
    pub dirty_count: u32,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VcpuInfo {
    pub online: bool,
    pub blocked: bool,
    pub running: bool,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinLevel {
    L1,
    L2,
    L3,
    L4,
}
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CpuPolicy {
    pub leaves: Vec<u8>,
    pub msrs: Vec<u8>,
}
#[derive(Clone)]
pub struct Xen {
    port: Arc<dyn Port>,
}
impl Xen {
    pub fn open() -> Result<Self, E> {
        unimplemented!()
    }
    pub fn over(port: Arc<dyn Port>) -> Result<Self, E> {
        Ok(Self { port })
    }
    pub fn version(&self) -> (u32, u32) {
        unimplemented!()
    }
    pub fn domain_info(&self, domain: DomId) -> Result<Option<DomainInfo>, E> {
        unimplemented!()
    }
    pub fn pause(&self, domain: DomId) -> Result<(), E> {
        unimplemented!()
    }
    pub fn unpause(&self, domain: DomId) -> Result<(), E> {
        unimplemented!()
    }
    pub fn resume(&self, domain: DomId) -> Result<(), E> {
        unimplemented!()
    }
    pub fn shutdown(&self, domain: DomId, reason: u32) -> Result<(), E> {
        unimplemented!()
    }
    pub fn subscribe_suspend(&self, domain: DomId, port: u32) -> Result<(), E> {
        unimplemented!()
    }
    pub fn tsc_info(&self, domain: DomId) -> Result<TscInfo, E> {
        unimplemented!()
    }
    pub fn set_tsc_info(&self, domain: DomId, info: TscInfo) -> Result<(), E> {
        unimplemented!()
    }
    pub fn address_size(&self, domain: DomId) -> Result<u32, E> {
        unimplemented!()
    }
    pub fn set_address_size(&self, domain: DomId, bits: u32) -> Result<(), E> {
        unimplemented!()
    }
    pub fn enable_log_dirty(&self, domain: DomId) -> Result<(), E> {
        unimplemented!()
    }
    pub fn disable_log_dirty(&self, domain: DomId) -> Result<(), E> {
        unimplemented!()
    }
    pub fn clean_log_dirty(
        &self,
        domain: DomId,
        bitmap: &mut HypercallBuffer,
        pages: u64,
        is_final: bool,
    ) -> Result<DirtyStats, E> {
        unimplemented!()
    }
    pub fn peek_log_dirty(
        &self,
        domain: DomId,
        bitmap: &mut HypercallBuffer,
        pages: u64,
        is_final: bool,
    ) -> Result<DirtyStats, E> {
        unimplemented!()
    }
    pub fn maximum_gpfn(&self, domain: DomId) -> Result<u64, E> {
        unimplemented!()
    }
    pub fn maximum_ram_page(&self) -> Result<u64, E> {
        unimplemented!()
    }
    pub fn page_types(&self, domain: DomId, frames: &mut [u64]) -> Result<(), E> {
        unimplemented!()
    }
    pub fn populate_physmap(&self, domain: DomId, order: u32, frames: &mut [u64]) -> Result<usize, E> {
        unimplemented!()
    }
    pub fn decrease_reservation(&self, domain: DomId, frames: &[u64]) -> Result<usize, E> {
        unimplemented!()
    }
    pub fn machphys_frames(&self, count: usize) -> Result<Vec<u64>, E> {
        unimplemented!()
    }
    pub fn compat_m2p_first_frame(&self) -> Result<u64, E> {
        unimplemented!()
    }
    pub fn pin_tables(&self, domain: DomId, pins: &[(PinLevel, u64)]) -> Result<(), E> {
        unimplemented!()
    }
    pub fn clear_page(&self, domain: DomId, mfn_or_gfn: u64) -> Result<(), E> {
        unimplemented!()
    }
    pub fn vcpu_info(&self, domain: DomId, vcpu: u32) -> Result<VcpuInfo, E> {
        unimplemented!()
    }
    pub fn vcpu_context(&self, domain: DomId, vcpu: u32, bytes: usize) -> Result<Vec<u8>, E> {
        unimplemented!()
    }
    pub fn set_vcpu_context(&self, domain: DomId, vcpu: u32, context: &[u8]) -> Result<(), E> {
        unimplemented!()
    }
    pub fn ext_vcpu_context(&self, domain: DomId, vcpu: u32) -> Result<Vec<u8>, E> {
        unimplemented!()
    }
    pub fn set_ext_vcpu_context(&self, domain: DomId, vcpu: u32, context: &[u8]) -> Result<(), E> {
        unimplemented!()
    }
    pub fn vcpu_xsave(&self, domain: DomId, vcpu: u32) -> Result<Vec<u8>, E> {
        unimplemented!()
    }
    pub fn set_vcpu_xsave(&self, domain: DomId, vcpu: u32, state: &[u8]) -> Result<(), E> {
        unimplemented!()
    }
    pub fn vcpu_msrs(&self, domain: DomId, vcpu: u32) -> Result<Vec<u8>, E> {
        unimplemented!()
    }
    pub fn set_vcpu_msrs(&self, domain: DomId, vcpu: u32, msrs: &[u8]) -> Result<(), E> {
        unimplemented!()
    }
    pub fn hvm_context(&self, domain: DomId, into: &mut Vec<u8>) -> Result<(), E> {
        unimplemented!()
    }
    pub fn set_hvm_context(&self, domain: DomId, context: &[u8]) -> Result<(), E> {
        unimplemented!()
    }
    pub fn hvm_param(&self, domain: DomId, index: u32) -> Result<u64, E> {
        unimplemented!()
    }
    pub fn set_hvm_param(&self, domain: DomId, index: u32, value: u64) -> Result<(), E> {
        unimplemented!()
    }
    pub fn cpu_policy(&self, domain: DomId) -> Result<CpuPolicy, E> {
        unimplemented!()
    }
    pub fn set_cpu_policy(&self, domain: DomId, policy: &CpuPolicy) -> Result<(), E> {
        unimplemented!()
    }
    pub fn map(&self, domain: DomId, frames: &[u64], access: Access) -> Result<Mapping, E> {
        unimplemented!()
    }
    pub fn map_whole(&self, domain: DomId, frames: &[u64], access: Access) -> Result<Mapping, E> {
        unimplemented!()
    }
    pub fn seed_grant(&self, domain: DomId, index: u32, gfn: u64, backend: DomId) -> Result<(), E> {
        let _ = &self.port;
        unimplemented!()
    }
}
