//! The binary interface of Xen and of the kernel: structures and numbers, one file for each header. No logic.
//!
//! All of it is the same from Xen 4.17 to 4.22 on x86-64. Sizes are asserted beside the structures.
//! `tests/abi_layout.rs` compares every offset and number with the public headers, and fails for a structure that it
//! does not know.

pub mod dm;
pub mod domctl;
pub mod evtchn;
pub mod grant;
pub mod hvm;
pub mod memory;
pub mod mmu;
pub mod privcmd;
pub mod save;
pub mod sched;
pub mod sysctl;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Numbers of the hypercalls, `__HYPERVISOR_*` (`xen/xen.h`).
pub mod hypercall {
    /// `__HYPERVISOR_mmu_update`
    pub const MMU_UPDATE: u64 = 1;
    /// `__HYPERVISOR_memory_op`
    pub const MEMORY_OP: u64 = 12;
    /// `__HYPERVISOR_multicall`
    pub const MULTICALL: u64 = 13;
    /// `__HYPERVISOR_xen_version`
    pub const XEN_VERSION: u64 = 17;
    /// `__HYPERVISOR_grant_table_op`
    pub const GRANT_TABLE_OP: u64 = 20;
    /// `__HYPERVISOR_mmuext_op`
    pub const MMUEXT_OP: u64 = 26;
    /// `__HYPERVISOR_sched_op`
    pub const SCHED_OP: u64 = 29;
    /// `__HYPERVISOR_event_channel_op`
    pub const EVENT_CHANNEL_OP: u64 = 32;
    /// `__HYPERVISOR_hvm_op`
    pub const HVM_OP: u64 = 34;
    /// `__HYPERVISOR_sysctl`
    pub const SYSCTL: u64 = 35;
    /// `__HYPERVISOR_domctl`
    pub const DOMCTL: u64 = 36;
    /// `__HYPERVISOR_dm_op`
    pub const DM_OP: u64 = 41;
}

/// One of the calls of a multicall: `struct multicall_entry` (`xen/xen.h`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MulticallEntry {
    /// `__HYPERVISOR_*`
    pub op: u64,
    /// Xen's answer: negative, an errno.
    pub result: i64,
    /// Its registers.
    pub args: [u64; 6],
}

/// Number of an ioctl of Xen's drivers: the kernel's `_IOC(_IOC_NONE, kind, number, size)` (`linux/ioctl.h`).
///
/// ```text
///   bits 29..16 bytes of the argument │ 15..8 the driver's letter │ 7..0 number
/// ```
const fn ioc(kind: u8, number: u8, bytes: usize) -> u64 {
    assert!(bytes < 1 << 14, "the size has 14 bits");
    (bytes as u64) << 16 | (kind as u64) << 8 | number as u64
}

/// Where in the page `struct shared_info` the wall clock is (`wc_version`, `wc_sec`, `wc_nsec`, `wc_sec_hi`), and its bytes
/// (`xen/xen.h`).
pub const SHARED_INFO_WALLCLOCK: usize = 0xC00;
/// Bytes from `wc_version` to the end of `wc_sec_hi`.
pub const SHARED_INFO_WALLCLOCK_BYTES: usize = 16;

/// `XENVER_version` (`xen/version.h`): answers `major << 16 | minor`.
pub const XENVER_VERSION: u64 = 0;

/// `XEN_GUEST_HANDLE_64`: the address of a buffer inside a structure.
///
/// Only null can be made here. The [`Call`](crate::Call) that holds the buffer fills in addresses, so no structure can
/// carry an address that outlives its memory.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Handle(u64);

impl Handle {
    /// No buffer. Many calls then answer how large it should be.
    pub const NULL: Self = Self(0);
}
