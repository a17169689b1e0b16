//! The real hypervisor: its binary interface, hypercalls, event channels and xenstore, and on them domains that
//! are saved and restored.
//!
//! ```text
//!        domain/ restore/ helper/                    sequences: what to ask in which order
//!      ─────────┬───────────────────────────────
//!        control/ Xen    mapping    evtchn    xenstore/    qmp/
//!      ─────────┴──────────┴──────────┼───────────┴──────────┴───
//!     hypervisor: traits              │     unix socket, or /dev/xen/xenbus
//!      ─────────┬──────────┬──────────┤
//!         privcmd      simulated      │
//!      /dev/xen/privcmd   (tests)   /dev/xen/evtchn
//! ```
//!
//! Works on Xen 4.17 to 4.22 without any of Xen's libraries: their interface changes with each release, that of
//! the hypervisor hardly ever. See `abi/` for how that is checked.
//!
//! `unsafe` is allowed in `hypervisor`, `privcmd`, `mapping`, `evtchn` and `simulated`; above them in places that each say why:
//! guest memory is read by words in `domain/peek.rs`, pages of a domain that stands still in `standby/pages.rs` by way
//! of `restore/memory.rs`, and `helper/signal.rs` takes over a descriptor.

// They panic where nobody reads, and wait for who reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![deny(unsafe_code)]

pub mod abi;
mod control;
mod error;
mod evtchn;
mod frame_number;
mod hypervisor;
mod mapping;
mod privcmd;
#[cfg(test)]
mod simulated;
mod words;
pub mod xenstore;

pub use control::{
    CpuPolicy, CpuidLeaf, DirtyStats, DomainInfo, HostInfo, PinLevel, PolicyLimit, TscInfo, VcpuInfo, Xen,
};
pub use error::{PolicyPosition, XenError};
pub use evtchn::Evtchn;
pub use frame_number::{Gfn, GfnSlot, Mfn};
pub use hypervisor::{Access, Call, ForeignMemory, HypercallBuffer, Hypervisor};
pub use mapping::Mapping;
pub use words::DomId;
pub mod domain;
pub mod domain_labels;
pub mod helper;
pub mod process;
pub mod qmp;
pub mod restore;
pub mod standby;
pub mod vifs;
pub mod xl;
