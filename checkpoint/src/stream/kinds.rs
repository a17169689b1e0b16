//! Record types of both layers, and their names as Xen's specification writes them
//! (`docs/specs/libxc-migration-stream.pandoc`, `docs/specs/libxl-migration-stream.pandoc`).

/// Type bit that marks a record a receiver may skip if it does not know it.
pub const OPTIONAL: u32 = 1 << 31;

/// Record types of libxc.
#[allow(missing_docs, reason = "the names are those of Xen's specification")]
pub mod libxc {
    pub const END: u32 = 0x00;
    pub const PAGE_DATA: u32 = 0x01;
    pub const X86_PV_INFO: u32 = 0x02;
    pub const X86_PV_P2M_FRAMES: u32 = 0x03;
    pub const X86_PV_VCPU_BASIC: u32 = 0x04;
    pub const X86_PV_VCPU_EXTENDED: u32 = 0x05;
    pub const X86_PV_VCPU_XSAVE: u32 = 0x06;
    pub const SHARED_INFO: u32 = 0x07;
    pub const X86_TSC_INFO: u32 = 0x08;
    pub const HVM_CONTEXT: u32 = 0x09;
    pub const HVM_PARAMS: u32 = 0x0A;
    pub const TOOLSTACK: u32 = 0x0B;
    pub const X86_PV_VCPU_MSRS: u32 = 0x0C;
    pub const VERIFY: u32 = 0x0D;
    pub const CHECKPOINT: u32 = 0x0E;
    pub const CHECKPOINT_DIRTY_PFN_LIST: u32 = 0x0F;
    pub const STATIC_DATA_END: u32 = 0x10;
    pub const X86_CPUID_POLICY: u32 = 0x11;
    pub const X86_MSR_POLICY: u32 = 0x12;

    /// The name of a type.
    pub fn name(kind: u32) -> &'static str {
        match kind {
            END => "END",
            PAGE_DATA => "PAGE_DATA",
            X86_PV_INFO => "X86_PV_INFO",
            X86_PV_P2M_FRAMES => "X86_PV_P2M_FRAMES",
            X86_PV_VCPU_BASIC => "X86_PV_VCPU_BASIC",
            X86_PV_VCPU_EXTENDED => "X86_PV_VCPU_EXTENDED",
            X86_PV_VCPU_XSAVE => "X86_PV_VCPU_XSAVE",
            SHARED_INFO => "SHARED_INFO",
            X86_TSC_INFO => "X86_TSC_INFO",
            HVM_CONTEXT => "HVM_CONTEXT",
            HVM_PARAMS => "HVM_PARAMS",
            TOOLSTACK => "TOOLSTACK",
            X86_PV_VCPU_MSRS => "X86_PV_VCPU_MSRS",
            VERIFY => "VERIFY",
            CHECKPOINT => "CHECKPOINT",
            CHECKPOINT_DIRTY_PFN_LIST => "CHECKPOINT_DIRTY_PFN_LIST",
            STATIC_DATA_END => "STATIC_DATA_END",
            X86_CPUID_POLICY => "X86_CPUID_POLICY",
            X86_MSR_POLICY => "X86_MSR_POLICY",
            optional if optional & super::OPTIONAL != 0 => "optional",
            _ => "unknown",
        }
    }
}

/// Record types of libxl.
pub mod libxl {
    /// Ends a plain stream.
    pub const END: u32 = 0;
    /// The libxc stream follows.
    pub const LIBXC_CONTEXT: u32 = 1;
    /// The device model's keys in xenstore.
    pub const EMULATOR_XENSTORE_DATA: u32 = 2;
    /// The device model's own state.
    pub const EMULATOR_CONTEXT: u32 = 3;
    /// A checkpoint is complete.
    pub const CHECKPOINT_END: u32 = 4;
    /// COLO: a message from one side to the other.
    pub const CHECKPOINT_STATE: u32 = 5;

    /// The name of a type.
    pub fn name(kind: u32) -> &'static str {
        match kind {
            END => "END",
            LIBXC_CONTEXT => "LIBXC_CONTEXT",
            EMULATOR_XENSTORE_DATA => "EMULATOR_XENSTORE_DATA",
            EMULATOR_CONTEXT => "EMULATOR_CONTEXT",
            CHECKPOINT_END => "CHECKPOINT_END",
            CHECKPOINT_STATE => "CHECKPOINT_STATE",
            _ => "unknown",
        }
    }
}
