//! A replacement for Xen's `libxl-save-helper`: with it, stock `xl save`, `xl restore`, `xl migrate` and `xl remus` use
//! understudy's engine. Devices and configuration stay with libxl.
//!
//! ```text
//!   libxl ── fork, exec $LIBXL_SAVE_HELPER ──► understudy-save-helper
//!     │ ◄──── messages, replies (channel) ────►   │
//!     └──────────── the stream's fd ──────────────┘   XenSource, or a Rebuild
//! ```

mod channel;
mod command;
mod restore;
mod save;
mod signal;
mod toolstack;

pub use channel::{Channel, ChannelError, Level};
pub use command::{Order, UsageError};
pub use restore::{Restore, RestoreFailure};
pub use save::{Save, SaveError, StreamKind};
pub use toolstack::Libxl;
