//! `xen/grant_table.h`: memory that a domain allows others to map.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `GTF_permit_access`
pub const PERMIT_ACCESS: u16 = 1;
/// `GNTTAB_NR_RESERVED_ENTRIES`: entries that the toolstack may fill before the guest runs.
pub const RESERVED_ENTRIES: u32 = 8;

/// `struct grant_entry_v1`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EntryV1 {
    /// `GTF_*`
    pub flags: u16,
    /// The domain that may map the frame.
    pub domain: u16,
    /// The frame: a gfn of 32 bits.
    pub frame: u32,
}

const _: () = assert!(size_of::<EntryV1>() == 8);
