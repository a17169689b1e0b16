//! [`Timer`]: Xen's watchdog of a host. Not here: what comes of it (`resets`).

use std::num::NonZeroU32;
use understudy_session::Time;

/// The timer of a host.
#[derive(Debug, Default)]
pub(super) struct Timer {
    /// What an engine has asked for since the cluster last looked: to run out after so many seconds, or to stop.
    pub(super) said: Option<Option<NonZeroU32>>,
    pub(super) runs_out: Option<Time>,
    /// It has run out, and the host is being reset.
    pub(super) resets: bool,
}

impl Timer {
    /// Whether it runs, as an engine can find out that begins.
    pub(super) fn runs(&self) -> bool {
        self.runs_out.is_some()
    }
}
