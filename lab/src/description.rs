//! How a lab guest describes itself to the engine: as a PVH guest.
//!
//! Everything follows from the registers, so that a restored guest describes itself in the same way.

use crate::registers::Registers;
use understudy_checkpoint::PAGE_SIZE;
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_checkpoint::stream::libxc::{CpuidLeaf, MsrEntry, Record};
use zerocopy::little_endian::{U32, U64};

/// "No subleaf" in a CPUID policy.
const NO_SUBLEAF: u32 = u32::MAX;
/// MSR_ARCH_CAPABILITIES; a policy must not be empty.
const MSR_ARCH_CAPABILITIES: u32 = 0x10A;
/// The Xen release whose streams a lab guest imitates.
const XEN_VERSION: (u32, u32) = (4, 17);

pub(crate) fn describe(registers: &Registers) -> Description {
    let kib = registers.page_count * (PAGE_SIZE as u64 / 1024);
    let config = format!(
        "{{\"c_info\": {{\"type\": \"pvh\", \"name\": \"{}\"}}, \"b_info\": {{\"type.pvh\": {{}}, \"max_memkb\": {kib}, \"target_memkb\": {kib}}}}}\0",
        registers.name
    );
    let mut static_records = Vec::new();
    // Leaf 0: the highest leaf is 0, no vendor.
    let leaf = CpuidLeaf { leaf: U32::new(0), subleaf: U32::new(NO_SUBLEAF), registers: [U32::new(0); 4] };
    let msr = MsrEntry { index: U32::new(MSR_ARCH_CAPABILITIES), flags: U32::new(0), value: U64::new(0) };
    for record in [Record::CpuidPolicy(&[leaf]), Record::MsrPolicy(&[msr]), Record::StaticDataEnd] {
        record.write(&mut static_records);
    }
    Description {
        kind: GuestKind::Pvh,
        page_count: registers.page_count,
        libxc_version: 3,
        xen_version: XEN_VERSION,
        config: config.into_bytes(),
        static_records,
        disks_bytes: registers.disk.iter().map(|disk| disk.size_bytes).collect(),
    }
}
