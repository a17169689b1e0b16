//! `xen/memory.h`: calls on the memory of domains and of the host.

use super::Handle;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `XENMEM_decrease_reservation`: [`Reservation`].
pub const DECREASE_RESERVATION: u64 = 1;
/// `XENMEM_maximum_ram_page`: no argument; the answer is the result.
pub const MAXIMUM_RAM_PAGE: u64 = 2;
/// `XENMEM_machphys_mfn_list`: [`MachphysList`].
pub const MACHPHYS_MFN_LIST: u64 = 5;
/// `XENMEM_populate_physmap`: [`Reservation`].
pub const POPULATE_PHYSMAP: u64 = 6;
/// `XENMEM_maximum_gpfn`: [`Domain`]; the answer is the result.
pub const MAXIMUM_GPFN: u64 = 14;

/// `XENMEM_resource_grant_table`
pub const RESOURCE_GRANT_TABLE: u32 = 1;
/// `XENMEM_resource_grant_table_id_shared`
pub const RESOURCE_GRANT_TABLE_SHARED: u32 = 0;

/// `struct xen_memory_reservation`. The result is the number of extents done.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Reservation {
    /// First frame of each extent: 64 bits each.
    pub extent_start: Handle,
    /// Number of extents.
    pub nr_extents: u64,
    /// Each has `1 << extent_order` frames.
    pub extent_order: u32,
    /// `XENMEMF_*`
    pub mem_flags: u32,
    /// The domain whose memory changes (`domid_t`).
    pub domain: u16,
    /// Zero.
    pub pad: [u16; 3],
}

/// `struct xen_machphys_mfn_list`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MachphysList {
    /// Room in the array.
    pub max_extents: u32,
    /// Zero.
    pub pad: u32,
    /// First machine frame of each 2 MiB of the table, 64 bits each; zero for a gap.
    pub extent_start: Handle,
    /// Out: extents written.
    pub nr_extents: u32,
    /// Zero.
    pub pad2: u32,
}

/// The argument of calls that name only a domain.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Domain {
    /// The domain (`domid_t`).
    pub domain: u16,
}

const _: () = {
    assert!(size_of::<Reservation>() == 32);
    assert!(size_of::<MachphysList>() == 24);
    assert!(size_of::<Domain>() == 2);
};
