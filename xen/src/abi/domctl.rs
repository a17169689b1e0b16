//! `xen/domctl.h`: calls that control one domain.
//!
//! ```text
//!   0        4                   8        10      16                          144
//!   │command │ interface version │ domain │ zero  │ payload, by command        │
//! ```

use super::Handle;
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of `struct xen_domctl`.
pub const DOMCTL_BYTES: usize = 144;
/// Bytes before its union.
pub const HEAD_BYTES: usize = 16;

/// The interface versions that have the structures below (`XEN_DOMCTL_INTERFACE_VERSION`), newest first: Xen 4.22, 4.19
/// to 4.21, 4.18, 4.17.
pub const KNOWN_VERSIONS: [u32; 4] = [0x18, 0x17, 0x16, 0x15];

/// `XEN_DOMCTL_pausedomain`: no payload.
pub const PAUSE_DOMAIN: u32 = 3;
/// `XEN_DOMCTL_unpausedomain`: no payload.
pub const UNPAUSE_DOMAIN: u32 = 4;
/// `XEN_DOMCTL_getdomaininfo`: [`DomainInfo`].
pub const GET_DOMAIN_INFO: u32 = 5;
/// `XEN_DOMCTL_shadow_op`: [`ShadowOp`].
pub const SHADOW_OP: u32 = 10;
/// `XEN_DOMCTL_setvcpucontext`: [`VcpuContext`].
pub const SET_VCPU_CONTEXT: u32 = 12;
/// `XEN_DOMCTL_getvcpucontext`: [`VcpuContext`].
pub const GET_VCPU_CONTEXT: u32 = 13;
/// `XEN_DOMCTL_getvcpuinfo`: [`VcpuInfo`].
pub const GET_VCPU_INFO: u32 = 14;
/// `XEN_DOMCTL_resumedomain`: no payload.
pub const RESUME_DOMAIN: u32 = 27;
/// `XEN_DOMCTL_subscribe`: [`Subscribe`].
pub const SUBSCRIBE: u32 = 29;
/// `XEN_DOMCTL_gethvmcontext`: [`HvmContext`].
pub const GET_HVM_CONTEXT: u32 = 33;
/// `XEN_DOMCTL_sethvmcontext`: [`HvmContext`].
pub const SET_HVM_CONTEXT: u32 = 34;
/// `XEN_DOMCTL_get_address_size`: [`AddressSize`].
pub const GET_ADDRESS_SIZE: u32 = 36;
/// `XEN_DOMCTL_set_ext_vcpucontext`: [`ExtVcpuContext`].
pub const SET_EXT_VCPU_CONTEXT: u32 = 42;
/// `XEN_DOMCTL_get_ext_vcpucontext`: [`ExtVcpuContext`].
pub const GET_EXT_VCPU_CONTEXT: u32 = 43;
/// `XEN_DOMCTL_gettscinfo`: [`TscInfo`].
pub const GET_TSC_INFO: u32 = 59;
/// `XEN_DOMCTL_settscinfo`: [`TscInfo`].
pub const SET_TSC_INFO: u32 = 60;
/// `XEN_DOMCTL_getpageframeinfo3`: [`PageFrameInfo`].
pub const GET_PAGE_FRAME_INFO: u32 = 61;
/// `XEN_DOMCTL_setvcpuextstate`: [`VcpuExtState`].
pub const SET_VCPU_EXT_STATE: u32 = 62;
/// `XEN_DOMCTL_getvcpuextstate`: [`VcpuExtState`].
pub const GET_VCPU_EXT_STATE: u32 = 63;
/// `XEN_DOMCTL_get_vcpu_msrs`: [`VcpuMsrs`].
pub const GET_VCPU_MSRS: u32 = 72;
/// `XEN_DOMCTL_set_vcpu_msrs`: [`VcpuMsrs`].
pub const SET_VCPU_MSRS: u32 = 73;
/// `XEN_DOMCTL_get_cpu_policy`: [`CpuPolicy`].
pub const GET_CPU_POLICY: u32 = 82;
/// `XEN_DOMCTL_set_cpu_policy`: [`CpuPolicy`].
pub const SET_CPU_POLICY: u32 = 83;

/// `struct xen_domctl` up to its union.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Head {
    /// `XEN_DOMCTL_*`
    pub command: u32,
    /// The version of the interface that the structures follow.
    pub interface_version: u32,
    /// The domain to act on (`domid_t`).
    pub domain: u16,
    /// Zero.
    pub pad: [u16; 3],
}

/// The payload of calls that have none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Nothing {}

/// `XEN_DOMINF_*`; the byte at [`SHUTDOWN_SHIFT`] is the shutdown reason.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DomainFlags(u32);

bitflags! {
    impl DomainFlags: u32 {
        /// `XEN_DOMINF_dying`
        const DYING = 1 << 0;
        /// `XEN_DOMINF_hvm_guest`
        const HVM = 1 << 1;
        /// `XEN_DOMINF_shutdown`
        const SHUTDOWN = 1 << 2;
        /// `XEN_DOMINF_paused`
        const PAUSED = 1 << 3;
        /// Others that Xen may set.
        const _ = !0;
    }
}
/// `XEN_DOMINF_shutdownmask`
pub const SHUTDOWN_MASK: u32 = 0xFF;
/// `XEN_DOMINF_shutdownshift`
pub const SHUTDOWN_SHIFT: u32 = 16;

/// `struct xen_domctl_getdomaininfo` up to its architecture's part.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DomainInfo {
    /// The domain that is described, which may be another than asked for (Xen up to 4.17).
    pub domain: u16,
    /// Zero.
    pub pad: u16,
    /// State and shutdown reason.
    pub flags: DomainFlags,
    /// Pages the domain has.
    pub tot_pages: u64,
    /// Pages it may have.
    pub max_pages: u64,
    /// Pages claimed for it.
    pub outstanding_pages: u64,
    /// Pages shared with others.
    pub shr_pages: u64,
    /// Pages paged out.
    pub paged_pages: u64,
    /// Frame of the shared info page.
    pub shared_info_frame: u64,
    /// Nanoseconds of processor time.
    pub cpu_time: u64,
    /// vCPUs that are online.
    pub nr_online_vcpus: u32,
    /// The highest vCPU number.
    pub max_vcpu_id: u32,
    /// Security label.
    pub ssidref: u32,
    /// The toolstack's UUID.
    pub handle: [u8; 16],
    /// CPU pool.
    pub cpupool: u32,
    /// Width of guest-physical addresses.
    pub gpaddr_bits: u8,
    /// Zero.
    pub pad2: [u8; 7],
}

/// `XEN_DOMCTL_SHADOW_OP_OFF`
pub const SHADOW_OFF: u32 = 0;
/// `XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY`
pub const SHADOW_ENABLE_LOG_DIRTY: u32 = 2;
/// `XEN_DOMCTL_SHADOW_OP_CLEAN`
pub const SHADOW_CLEAN: u32 = 11;
/// `XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL`: include the frames that the hypervisor itself has mapped for writing.
pub const SHADOW_MODE_FINAL: u32 = 1 << 0;

/// `struct xen_domctl_shadow_op`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ShadowOp {
    /// `SHADOW_*`
    pub op: u32,
    /// `SHADOW_MODE_*`
    pub mode: u32,
    /// Unused here.
    pub mb: u32,
    /// Zero.
    pub pad: u32,
    /// A bit for each frame.
    pub bitmap: Handle,
    /// Bits asked for, then covered.
    pub pages: u64,
    /// Faults since the last clean.
    pub fault_count: u32,
    /// Dirty frames since the last clean.
    pub dirty_count: u32,
}

/// `struct xen_domctl_vcpucontext`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VcpuContext {
    /// Number of the vCPU.
    pub vcpu: u32,
    /// Zero.
    pub pad: u32,
    /// `vcpu_guest_context` in the guest's width.
    pub context: Handle,
}

/// `struct xen_domctl_getvcpuinfo`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VcpuInfo {
    /// Number of the vCPU.
    pub vcpu: u32,
    /// 1 if it is not unplugged.
    pub online: u8,
    /// Waits for an event.
    pub blocked: u8,
    /// Runs on a processor now.
    pub running: u8,
    /// Zero.
    pub pad: u8,
    /// Nanoseconds of processor time.
    pub cpu_time: u64,
    /// The processor that it runs on, or ran on last.
    pub cpu: u32,
    /// Zero.
    pub pad2: u32,
}

/// `struct xen_domctl_subscribe`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Subscribe {
    /// The local port that is signalled when the domain suspends.
    pub port: u32,
}

/// `struct xen_domctl_hvmcontext`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HvmContext {
    /// Bytes of the buffer, then of the context.
    pub size: u32,
    /// Zero.
    pub pad: u32,
    /// The context; null asks for its size.
    pub buffer: Handle,
}

/// `struct xen_domctl_address_size`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AddressSize {
    /// Bits: 32 or 64.
    pub size: u32,
}

/// `struct xen_domctl_ext_vcpucontext`, with the room that the interface allows it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExtVcpuContext {
    /// Number of the vCPU.
    pub vcpu: u32,
    /// Bytes of this structure that are valid, 128 at most.
    pub size: u32,
    /// The fields themselves, as the record has them.
    pub rest: [u8; 120],
}

/// `struct xen_domctl_tsc_info`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TscInfo {
    /// `XEN_CPUID_TSC_MODE_*`
    pub mode: u32,
    /// Frequency that the guest sees.
    pub khz: u32,
    /// How often the guest has moved.
    pub incarnation: u32,
    /// Zero.
    pub pad: u32,
    /// Nanoseconds since the guest's boot.
    pub elapsed_ns: u64,
}

/// The largest `num` that Xen takes.
pub const PAGE_FRAMES_MAX: usize = 1024;

/// `XEN_DOMCTL_PFINFO_LTAB_SHIFT`: where in an answer the type's four bits are.
pub const PAGE_TYPE_SHIFT: u32 = 28;

/// `struct xen_domctl_getpageframeinfo3`. Xen changes both fields when it is preempted.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PageFrameInfo {
    /// Number of frames, at most [`PAGE_FRAMES_MAX`].
    pub num: u64,
    /// In: frames. Out: their types. 64 bits each.
    pub array: Handle,
}

/// `struct xen_domctl_vcpuextstate`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VcpuExtState {
    /// Number of the vCPU.
    pub vcpu: u32,
    /// Zero.
    pub pad: u32,
    /// Features that may be in the area. Must be returned to Xen unchanged.
    pub xfeature_mask: u64,
    /// Bytes of the buffer, exactly those of the state.
    pub size: u64,
    /// `u64 xcr0, u64 xcr0_accum, xsave area`; null asks for mask and size.
    pub buffer: Handle,
}

/// Bytes of `struct xen_domctl_vcpu_msr`: `u32 index, u32 0, u64 value`.
pub const VCPU_MSR_BYTES: usize = 16;

/// `struct xen_domctl_vcpu_msrs`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VcpuMsrs {
    /// Number of the vCPU.
    pub vcpu: u32,
    /// Number of entries in the buffer.
    pub msr_count: u32,
    /// Entries of [`VCPU_MSR_BYTES`]; null asks for the largest count.
    pub msrs: Handle,
}

/// Bytes of `xen_cpuid_leaf_t`: `u32 leaf, subleaf, a, b, c, d`.
pub const CPUID_LEAF_BYTES: usize = 24;
/// Bytes of `xen_msr_entry_t`: `u32 index, u32 flags, u64 value`.
pub const MSR_ENTRY_BYTES: usize = 16;
/// `XEN_CPUID_INPUT_UNUSED`; in `err_*`: nothing to report.
pub const CPUID_INPUT_UNUSED: u32 = 0xFFFF_FFFF;

/// `struct xen_domctl_cpu_policy`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CpuPolicy {
    /// CPUID leaves. In: room; out: written.
    pub nr_leaves: u32,
    /// MSRs. In: room; out: written.
    pub nr_msrs: u32,
    /// Leaves; both null ask for the largest counts.
    pub leaves: Handle,
    /// Buffer of MSR entries.
    pub msrs: Handle,
    /// The leaf that Xen objects to.
    pub err_leaf: u32,
    /// The subleaf of that leaf.
    pub err_subleaf: u32,
    /// The MSR that Xen objects to.
    pub err_msr: u32,
    /// Zero.
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<Head>() == HEAD_BYTES);
    assert!(size_of::<DomainInfo>() == 104);
    assert!(size_of::<ShadowOp>() == 40);
    assert!(size_of::<VcpuContext>() == 16);
    assert!(size_of::<VcpuInfo>() == 24);
    assert!(size_of::<Subscribe>() == 4);
    assert!(size_of::<HvmContext>() == 16);
    assert!(size_of::<AddressSize>() == 4);
    assert!(size_of::<ExtVcpuContext>() == DOMCTL_BYTES - HEAD_BYTES);
    assert!(size_of::<TscInfo>() == 24);
    assert!(size_of::<PageFrameInfo>() == 16);
    assert!(size_of::<VcpuExtState>() == 32);
    assert!(size_of::<VcpuMsrs>() == 16);
    assert!(size_of::<CpuPolicy>() == 40);
};
