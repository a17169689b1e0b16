//! Access to real Xen: its binary interface, hypercalls, event channels and xenstore; and on top of these, saving and
//! restoring domains.
//!
//! ```text
//!        helper/   standby/   twin/   convert/        whole operations
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
//! | module | contains |
//! |---|---|
//! | [`abi`] | structures and numbers of Xen's and the kernel's headers |
//! | `hypervisor` | the traits [`Hypervisor`] and [`ForeignMemory`]; a hypercall and its memory |
//! | `privcmd` | both traits over `/dev/xen/privcmd` |
//! | `simulated` | both traits for tests |
//! | `control` | [`Xen`]: typed hypercalls |
//! | `mapping` | [`Mapping`]: frames of a domain, mapped into this process |
//! | `evtchn` | [`Evtchn`]: event channels |
//! | `frame_number` | [`Gfn`], [`Mfn`] and [`GfnSlot`]; the third frame number, `Pfn`, comes with the stream |
//! | `calls` | counts what a thread asks |
//! | `ready` | waits for a descriptor, until a deadline |
//! | `window` | the grouping of pfns that are mapped together |
//! | `words` | [`DomId`] |
//! | `error` | [`XenError`], with advice for operators |
//! | [`xenstore`] | a client of xenstore: requests, transactions, watches |
//! | [`qmp`] | the monitor of an HVM guest's QEMU |
//! | [`xl`] | running stock `xl`: configuration, building and destroying domains |
//! | [`domain`] | a running domain as a Source of checkpoints |
//! | [`restore`] | rebuilding a domain from records |
//! | [`standby`] | a domain that is ready for a takeover |
//! | [`twin`] | a domain that is overwritten with a guest and goes on as the guest |
//! | [`helper`] | a replacement for `libxl-save-helper` |
//! | [`convert`] | a replacement for `convert-legacy-stream` |
//! | [`domain_labels`] | labels in xenstore: a guest's generation and engine |
//! | [`process`] | a process, named so that no other can be mistaken for it |
//! | [`vifs`] | a domain's network interfaces on this host |
//! | [`watchdog`] | a timer that resets this host unless it is set anew; the engine does not use it yet |
//!
//! Works on Xen 4.17 to 4.22 without any of Xen's libraries: their interface changes with each release, the hypervisor's
//! hardly ever. [`abi`] says how that is checked.
//!
//! `unsafe` is allowed in `hypervisor`, `privcmd`, `mapping`, `evtchn` and `simulated`. Five other files use it, each with
//! its reason: `domain/peek.rs` reads guest memory word by word, `standby/pages.rs` and `restore/memory.rs` lend pages of a
//! domain that does not run, `helper/signal.rs` and `convert/descriptors.rs` take over a descriptor.

// Printing panics when the reader is gone and blocks when it is slow.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![deny(unsafe_code)]

pub mod abi;
mod calls;
mod control;
pub mod convert;
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
mod ready;
pub mod restore;
#[cfg(test)]
mod simulated;
pub mod standby;
pub mod twin;
pub mod vifs;
pub mod watchdog;
mod window;
mod words;
pub mod xenstore;
pub mod xl;

pub use control::{
    CpuPolicy, CpuidLeaf, DirtyStats, DomainInfo, HostInfo, PinLevel, PolicyLimit, PortState, TscInfo,
    VcpuInfo, Xen,
};
pub use error::{PolicyPosition, XenError};
pub use evtchn::Evtchn;
pub use frame_number::{Gfn, GfnSlot, Mfn};
pub use hypervisor::{Access, Call, ForeignMemory, HypercallBuffer, Hypervisor};
pub use mapping::Mapping;
pub use words::DomId;
