//! The real hypervisor: its binary interface, hypercalls, event channels and xenstore; and domains that are saved and
//! restored by means of them.
//!
//! ```text
//!        helper/   standby/                           whole operations
//!        domain/   restore/                           sequences: what to ask in which order
//!      ─────────┬────────────────────────────────────────────────
//!        control/ Xen    mapping    evtchn    xenstore/   qmp/   xl
//!      ─────────┴──────────┴──────────┼───────────┴─────────┴─────┴──
//!     hypervisor: traits              │     unix sockets, /dev/xen/xenbus, processes
//!      ─────────┬──────────┬──────────┤
//!         privcmd      simulated      │
//!      /dev/xen/privcmd   (tests)   /dev/xen/evtchn
//! ```
//!
//! | module | has |
//! |---|---|
//! | [`abi`] | structures and numbers of Xen's and the kernel's headers |
//! | `hypervisor` | the traits [`Hypervisor`] and [`ForeignMemory`], a hypercall and its memory |
//! | `privcmd` | both traits over `/dev/xen/privcmd` |
//! | `simulated` | both traits for tests |
//! | `control` | [`Xen`]: typed hypercalls |
//! | `mapping` | [`Mapping`]: frames of a domain in this process |
//! | `evtchn` | [`Evtchn`]: event channels |
//! | `frame_number` | [`Gfn`], [`Mfn`] and [`GfnSlot`]; the third, `Pfn`, comes with the stream |
//! | `window` | which pfns are mapped together |
//! | `words` | [`DomId`] |
//! | `error` | [`XenError`], with advice for operators |
//! | [`xenstore`] | the tree of small texts: requests, transactions, watches |
//! | [`qmp`] | the monitor of an HVM guest's QEMU |
//! | [`xl`] | stock `xl`, for what is left to it |
//! | [`domain`] | a running domain as a Source of checkpoints |
//! | [`restore`] | a domain that records rebuild |
//! | [`standby`] | a domain that stands by for a takeover |
//! | [`helper`] | `libxl-save-helper` on this engine |
//! | [`domain_labels`] | what xenstore keeps of a guest: its generation and its engine |
//! | [`process`] | a process that no other can be mistaken for |
//! | [`vifs`] | a domain's network interfaces as this host has them |
//!
//! Works on Xen 4.17 to 4.22 without any of Xen's libraries: their interface changes with each release, that of
//! the hypervisor hardly ever. See `abi/` for how that is checked.
//!
//! `unsafe` is allowed in `hypervisor`, `privcmd`, `mapping`, `evtchn` and `simulated`. Four files above them use it, each
//! with its reason: `domain/peek.rs` reads guest memory word by word, `standby/pages.rs` and `restore/memory.rs` lend pages
//! of a domain that does not run, `helper/signal.rs` takes over a descriptor.

// Printing panics when the reader is gone and blocks when it is slow.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![deny(unsafe_code)]

pub mod abi;
mod control;
pub mod domain;
pub mod domain_labels;
mod error;
mod evtchn;
mod frame_number;
pub mod helper;
mod hypervisor;
mod mapping;
mod privcmd;
pub mod process;
pub mod qmp;
pub mod restore;
#[cfg(test)]
mod simulated;
pub mod standby;
pub mod vifs;
mod window;
mod words;
pub mod xenstore;
pub mod xl;

pub use control::{
    CpuPolicy, CpuidLeaf, DirtyStats, DomainInfo, HostInfo, PinLevel, PolicyLimit, TscInfo, VcpuInfo, Xen,
};
pub use error::{PolicyPosition, XenError};
pub use evtchn::Evtchn;
pub use frame_number::{Gfn, GfnSlot, Mfn};
pub use hypervisor::{Access, Call, ForeignMemory, HypercallBuffer, Hypervisor};
pub use mapping::Mapping;
pub use words::DomId;
