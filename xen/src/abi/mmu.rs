//! `xen/xen.h`: page tables of PV guests.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `MMUEXT_PIN_L1_TABLE`; levels 2 to 4 follow.
pub const PIN_L1_TABLE: u32 = 0;
/// `MMUEXT_PIN_L4_TABLE`
pub const PIN_L4_TABLE: u32 = 3;

/// `struct mmuext_op`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExtOp {
    /// `MMUEXT_*`
    pub command: u32,
    /// Zero.
    pub pad: u32,
    /// The machine frame of the table.
    pub mfn: u64,
    /// Unused here.
    pub arg2: u64,
}

/// `MMU_MACHPHYS_UPDATE`, in the low bits of [`Update::address`].
pub const MACHPHYS_UPDATE: u64 = 1;

/// `struct mmu_update`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Update {
    /// A machine address, and the operation in its low bits.
    pub address: u64,
    /// The value to write: for [`MACHPHYS_UPDATE`] a pfn.
    pub value: u64,
}

const _: () = {
    assert!(size_of::<ExtOp>() == 24);
    assert!(size_of::<Update>() == 16);
};
