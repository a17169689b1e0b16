//! Output commit in the kernel: what a real guest's interfaces (vif, tap) deliver to the host is held there.
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
//! Frames come back to the very interface they were taken from, so bridges learn the guest's address where
//! they always did, and nothing of the host's network has to be rearranged. What goes *to* the guest is not
//! touched.
//!
//! What a session may ask of held output is [`OutputCommit`]. What is left behind by a process that died holds on: see
//! [`leftovers`]. Where an interface cannot be held, [`CutOff`] sees to it that nothing leaks.

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
