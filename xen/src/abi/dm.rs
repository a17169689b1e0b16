//! `xen/hvm/dm_op.h`: what a device model may ask of Xen about its guest.

use super::Handle;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `XEN_DMOP_modified_memory`: [`ModifiedMemory`], and [`Extent`]s in the second buffer.
pub const MODIFIED_MEMORY: u32 = 11;

/// `struct xen_dm_op_buf`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Buffer {
    /// Address of the buffer.
    pub handle: Handle,
    /// Bytes of the buffer.
    pub size: u64,
}

/// `struct xen_dm_op` with `struct xen_dm_op_modified_memory`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ModifiedMemory {
    /// [`MODIFIED_MEMORY`]
    pub op: u32,
    /// Zero.
    pub pad: u32,
    /// Extents in the second buffer.
    pub nr_extents: u32,
    /// Zero.
    pub opaque: u32,
}

/// `struct xen_dm_op_modified_memory_extent`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Extent {
    /// Number of pages.
    pub nr: u32,
    /// Zero.
    pub pad: u32,
    /// The first page's pfn.
    pub first_pfn: u64,
}

const _: () = {
    assert!(size_of::<Buffer>() == 16);
    assert!(size_of::<ModifiedMemory>() == 16);
    assert!(size_of::<Extent>() == 16);
};
