//! `xen/sys/privcmd.h`: the kernel's device for hypercalls and other domains' memory.
//!
//! Addresses are plain numbers here; only `privcmd.rs` fills them in.

use super::ioc;

/// `IOCTL_PRIVCMD_HYPERCALL`: [`Hypercall`].
pub const HYPERCALL: u64 = ioc(b'P', 0, size_of::<Hypercall>());
/// `IOCTL_PRIVCMD_MMAPBATCH_V2`: [`MmapBatch`].
pub const MMAP_BATCH_V2: u64 = ioc(b'P', 4, size_of::<MmapBatch>());
/// `IOCTL_PRIVCMD_RESTRICT`: a `domid_t`.
pub const RESTRICT: u64 = ioc(b'P', 6, size_of::<u16>());
/// `IOCTL_PRIVCMD_MMAP_RESOURCE`: [`MmapResource`].
pub const MMAP_RESOURCE: u64 = ioc(b'P', 7, size_of::<MmapResource>());

/// `struct privcmd_hypercall`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Hypercall {
    /// `__HYPERVISOR_*`
    pub op: u64,
    /// Registers in the order of the hypercall's arguments.
    pub arg: [u64; 5],
}

/// `struct privcmd_mmapbatch_v2`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MmapBatch {
    /// Number of frames.
    pub num: u32,
    /// The domain that has the frames (`domid_t`).
    pub domain: u16,
    /// Address in this process, the beginning of a page.
    pub address: u64,
    /// Frames, 64 bits each.
    pub frames: u64,
    /// Answers, `int` each: 0 or a negative errno.
    pub errors: u64,
}

/// `struct privcmd_mmap_resource`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MmapResource {
    /// The domain that has the frames (`domid_t`).
    pub domain: u16,
    /// `XENMEM_resource_*`
    pub kind: u32,
    /// The number of the resource among those of its kind.
    pub id: u32,
    /// The first frame of the resource to map.
    pub index: u32,
    /// Number of frames.
    pub num: u64,
    /// Address in this process, the beginning of a page.
    pub address: u64,
}

const _: () = {
    assert!(HYPERCALL == 0x0030_5000);
    assert!(MMAP_BATCH_V2 == 0x0020_5004);
    assert!(RESTRICT == 0x0002_5006);
    assert!(MMAP_RESOURCE == 0x0020_5007);
    assert!(size_of::<Hypercall>() == 48);
    assert!(size_of::<MmapBatch>() == 32);
    assert!(size_of::<MmapResource>() == 32);
};
