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

/// `GNTTABOP_query_size`
pub const QUERY_SIZE: u64 = 6;
/// `GNTTABOP_get_version`
pub const GET_VERSION: u64 = 10;
/// `GTF_reading`: the entry is mapped for reading. Set and cleared by Xen.
pub const READING: u16 = 1 << 3;
/// `GTF_writing`: the entry is mapped for writing. Set and cleared by Xen.
pub const WRITING: u16 = 1 << 4;

/// `struct gnttab_query_size`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct QuerySize {
    /// The domain that has the table.
    pub domain: u16,
    /// Zero.
    pub pad: u16,
    /// Out: frames that the table has.
    pub nr_frames: u32,
    /// Out: frames it may have.
    pub max_nr_frames: u32,
    /// Out: `GNTST_*`, 0 or negative.
    pub status: i16,
    /// Zero.
    pub pad2: u16,
}

/// `struct gnttab_get_version`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GetVersion {
    /// The domain that has the table.
    pub domain: u16,
    /// Zero.
    pub pad: u16,
    /// Out: how the entries are laid out.
    pub version: u32,
}

const _: () = {
    assert!(size_of::<QuerySize>() == 16);
    assert!(size_of::<GetVersion>() == 8);
};
