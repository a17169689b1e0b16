//! `xen/hvm/save.h` and `xen/arch-x86/hvm/save.h`: the HVM context of `XEN_DOMCTL_gethvmcontext`, as far as it is read.
//!
//! ```text
//!   descriptor │ HEADER │ descriptor │ CPU of vCPU 0 │ … │ descriptor │ END, empty
//! ```

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct hvm_save_descriptor`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Descriptor {
    /// `CODE_*`
    pub typecode: u16,
    /// The vCPU, for what each has.
    pub instance: u16,
    /// Bytes that follow.
    pub length: u32,
}

const _: () = assert!(size_of::<Descriptor>() == 8);

/// `HVM_SAVE_CODE(END)`
pub const CODE_END: u16 = 0;
/// `HVM_SAVE_CODE(HEADER)`
pub const CODE_HEADER: u16 = 1;
/// `HVM_SAVE_CODE(CPU)`
pub const CODE_CPU: u16 = 2;
/// Where in `struct hvm_hw_cpu` the register is.
pub const CPU_RAX: usize = 512;
