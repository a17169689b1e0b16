//! The real hypervisor.
#![deny(unsafe_code)]

mod control;
mod error;
mod evtchn;
mod mapping;
mod port;
mod words;
pub mod xenstore;

pub use control::{CpuPolicy, DirtyStats, DomainInfo, PinLevel, TscInfo, VcpuInfo, Xen};
pub use error::{PolicyPosition, XenError};
pub use evtchn::Evtchn;
pub use mapping::{Access, Mapping};
pub use port::{HypercallBuffer, Port};
pub use words::DomId;
