//! `xen/sys/evtchn.h`: the kernel's device for event channels. And from `xen/event_channel.h`: calls to Xen on behalf
//! of another domain.

use super::ioc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `IOCTL_EVTCHN_BIND_VIRQ`: a virtual interrupt's number; the answer is the local port.
pub const BIND_VIRQ: u64 = ioc(b'E', 0, size_of::<u32>());
/// `IOCTL_EVTCHN_BIND_INTERDOMAIN`: [`BindInterdomain`]; the answer is the local port.
pub const BIND_INTERDOMAIN: u64 = ioc(b'E', 1, size_of::<BindInterdomain>());
/// `IOCTL_EVTCHN_BIND_UNBOUND_PORT`: a domain's number; the answer is the local port.
pub const BIND_UNBOUND_PORT: u64 = ioc(b'E', 2, size_of::<u32>());
/// `IOCTL_EVTCHN_UNBIND`: a local port.
pub const UNBIND: u64 = ioc(b'E', 3, size_of::<u32>());
/// `IOCTL_EVTCHN_NOTIFY`: a local port.
pub const NOTIFY: u64 = ioc(b'E', 4, size_of::<u32>());

/// `struct ioctl_evtchn_bind_interdomain`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BindInterdomain {
    /// The domain at the other end.
    pub remote_domain: u32,
    /// That domain's port.
    pub remote_port: u32,
}

const _: () = {
    assert!(size_of::<BindInterdomain>() == 8);
    assert!(BIND_VIRQ == 0x0004_4500);
    assert!(BIND_INTERDOMAIN == 0x0008_4501);
    assert!(BIND_UNBOUND_PORT == 0x0004_4502);
    assert!(UNBIND == 0x0004_4503);
    assert!(NOTIFY == 0x0004_4504);
};

/// `DOMID_SELF` (`xen/xen.h`)
pub const DOMID_SELF: u16 = 0x7FF0;
/// `EVTCHNOP_alloc_unbound`
pub const ALLOC_UNBOUND: u64 = 6;

/// `struct evtchn_alloc_unbound`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AllocUnbound {
    /// The domain that gets the port.
    pub domain: u16,
    /// The domain that may bind the port.
    pub remote_domain: u16,
    /// Out: the port.
    pub port: u32,
}

const _: () = assert!(size_of::<AllocUnbound>() == 8);

/// `EVTCHNOP_status`
pub const STATUS: u64 = 5;

/// `struct evtchn_status`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Status {
    /// The domain that has the port.
    pub domain: u16,
    /// Zero.
    pub pad: u16,
    /// The port.
    pub port: u32,
    /// Out: `STATUS_*`
    pub status: u32,
    /// Out: the vCPU that is interrupted.
    pub vcpu: u32,
    /// Out, by status: the domain at the other end and its port; the virtual interrupt; the physical one.
    pub what: [u32; 2],
}

const _: () = assert!(size_of::<Status>() == 24);

/// `EVTCHNSTAT_closed`
pub const STATUS_CLOSED: u32 = 0;
/// `EVTCHNSTAT_unbound`
pub const STATUS_UNBOUND: u32 = 1;
/// `EVTCHNSTAT_interdomain`
pub const STATUS_INTERDOMAIN: u32 = 2;
/// `EVTCHNSTAT_pirq`
pub const STATUS_PIRQ: u32 = 3;
/// `EVTCHNSTAT_virq`
pub const STATUS_VIRQ: u32 = 4;
/// `EVTCHNSTAT_ipi`
pub const STATUS_IPI: u32 = 5;

/// `EVTCHN_FIFO_MASKED`: the bit of an event word.
pub const FIFO_MASKED: u32 = 30;
/// `EVTCHN_FIFO_LINKED`: the bit of an event word.
pub const FIFO_LINKED: u32 = 29;
