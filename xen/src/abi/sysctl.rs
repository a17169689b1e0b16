//! `xen/sysctl.h`: calls that concern the whole host.
//!
//! ```text
//!   0        4                   8                           136
//!   │command │ interface version │ payload, by command        │
//! ```

use super::Handle;
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of `struct xen_sysctl`.
pub const SYSCTL_BYTES: usize = 136;
/// Bytes before its union.
pub const HEAD_BYTES: usize = 8;

/// The interface versions that have the structures below (`XEN_SYSCTL_INTERFACE_VERSION`), newest first: Xen 4.21 and
/// 4.22, 4.17 to 4.20. The step between them changed live patches only.
pub const KNOWN_VERSIONS: [u32; 2] = [0x16, 0x15];

/// `XEN_SYSCTL_physinfo`: [`PhysInfo`].
pub const PHYS_INFO: u32 = 3;
/// `XEN_SYSCTL_get_cpu_policy`: [`CpuPolicy`].
pub const GET_CPU_POLICY: u32 = 29;

/// `struct xen_sysctl` up to its union.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Head {
    /// `XEN_SYSCTL_*`
    pub command: u32,
    /// The version of the interface that the structures follow.
    pub interface_version: u32,
}

/// `XEN_SYSCTL_PHYSCAP_*`
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Capabilities(u32);

bitflags! {
    impl Capabilities: u32 {
        /// `XEN_SYSCTL_PHYSCAP_hvm`: HVM and PVH guests can run.
        const HVM = 1 << 0;
        /// `XEN_SYSCTL_PHYSCAP_pv`: PV guests can run.
        const PV = 1 << 1;
        /// `XEN_SYSCTL_PHYSCAP_shadow`: built with shadow paging.
        const SHADOW = 1 << 4;
        /// Others that Xen may set.
        const _ = !0;
    }
}

/// `struct xen_sysctl_physinfo`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PhysInfo {
    /// Threads of a core.
    pub threads_per_core: u32,
    /// Cores of a socket.
    pub cores_per_socket: u32,
    /// Processors that are online.
    pub nr_cpus: u32,
    /// The highest processor number.
    pub max_cpu_id: u32,
    /// NUMA nodes that are online.
    pub nr_nodes: u32,
    /// The highest node number.
    pub max_node_id: u32,
    /// Frequency of the processors, in kHz.
    pub cpu_khz: u32,
    /// What the host supports.
    pub capabilities: Capabilities,
    /// Capabilities of the architecture.
    pub arch_capabilities: u32,
    /// Zero.
    pub pad: u32,
    /// Pages that Xen knows of.
    pub total_pages: u64,
    /// Pages that belong to nobody.
    pub free_pages: u64,
    /// Pages that belong to nobody once they are scrubbed.
    pub scrub_pages: u64,
    /// Pages claimed for domains that are being built: counted as free, but not available.
    pub outstanding_pages: u64,
    /// The highest frame number.
    pub max_mfn: u64,
    /// Raw CPUID words.
    pub hw_cap: [u32; 8],
}

/// `XEN_SYSCTL_cpu_policy_pv_max`
pub const POLICY_PV_MAX: u32 = 2;
/// `XEN_SYSCTL_cpu_policy_hvm_max`
pub const POLICY_HVM_MAX: u32 = 3;

/// `struct xen_sysctl_cpu_policy`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CpuPolicy {
    /// `POLICY_*`
    pub index: u32,
    /// CPUID leaves. In: room; out: written.
    pub nr_leaves: u32,
    /// MSRs. In: room; out: written.
    pub nr_msrs: u32,
    /// Zero.
    pub reserved: u32,
    /// Leaves; both null ask for the largest counts.
    pub leaves: Handle,
    /// Buffer of MSR entries.
    pub msrs: Handle,
}

const _: () = {
    assert!(size_of::<Head>() == HEAD_BYTES);
    assert!(size_of::<PhysInfo>() == 112);
    assert!(size_of::<CpuPolicy>() == 32);
};
