//! `xen/hvm/hvm_op.h`: parameters of HVM and PVH guests.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `HVMOP_set_param`
pub const SET_PARAM: u64 = 0;
/// `HVMOP_get_param`
pub const GET_PARAM: u64 = 1;

/// `struct xen_hvm_param`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Param {
    /// The domain that has the parameter (`domid_t`).
    pub domain: u16,
    /// Zero.
    pub pad: u16,
    /// `HVM_PARAM_*`
    pub index: u32,
    /// The value, read or written.
    pub value: u64,
}

const _: () = assert!(size_of::<Param>() == 16);
