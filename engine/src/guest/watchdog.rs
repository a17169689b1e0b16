//! [`Watchdog`]: a timer outside of this process that resets the host unless it is set anew in time. `session::lease` decides
//! when; `docs/FENCING.md` says why.
//!
//! ```text
//!   Xen   SCHEDOP_watchdog: Xen resets the host, also if the kernel of dom0 hangs      (xen/src/watchdog.rs)
//!   lab   a process of its own: kills the host, which is the engine with its guests    (lab/watchdog.rs)
//! ```

use super::machine::HostError;
use std::fmt::Debug;
use std::num::NonZeroU32;

/// A timer that resets this host. One that is dropped runs on.
pub trait Watchdog: Send + Debug {
    /// Lets it run out after `seconds` from now, and not before. Does not wait.
    fn set(&mut self, seconds: NonZeroU32) -> Result<(), HostError>;

    /// Stops it; nothing happens if it does not run.
    fn disarm(&mut self) -> Result<(), HostError>;
}
