//! Output commit in the kernel: intercepts and holds what the interfaces of a real guest (vif, tap) deliver to the
//! host.
//!
//! ```text
//!            guest
//!              │ transmits
//!   ┌──────────▼──────────┐  every frame   ┌──────────────────────────────┐
//!   │ vif1.0   (ingress) ─┼───redirect────►│ us-vif1.0: a tap, read here, │
//!   │   receives again   ◄┼──after its ack─┤ held by an [`OwnQueue`]      │
//!   └──────────┬──────────┘                └──────────────────────────────┘
//!              ▼ as if nothing had happened
//!     bridge, Open vSwitch, routing of the host
//! ```
//!
//! Released frames return to the interface they were taken from. Bridges therefore learn the guest's address where they
//! always did, and the host's network needs no rearranging. Frames *to* the guest are not touched.
//!
//! The engine drives held output through [`OutputCommit`]. If this process dies, what it set up keeps holding: see
//! [`leftovers`]. Where an interface cannot be held, [`CutOff`] drops its output instead.

mod breach;
mod commit;
mod cut_off;
mod error;
pub mod leftovers;
mod netlink;
mod own;
mod owner;
mod priority;
mod redirect;
mod sys;
mod tap;
mod watch;

pub use breach::{Breach, ProgramKind};
pub use commit::{KernelStats, OutputCommit, Start};
pub use cut_off::CutOff;
pub use error::KernelError;
#[cfg(feature = "late-answers")]
pub use netlink::ANSWERS_LATE_MS;
#[cfg(fuzzing)]
pub use netlink::read_all;
pub use netlink::{Connection, NetlinkError, WireError};
pub use own::{Fault, OwnQueue};
pub use tap::{GuestTap, Offloads, Tap};
