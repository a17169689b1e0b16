//! The watchdog of this host, which an engine before this one may have left running.
//!
//! ```text
//!   Unasked ── first iteration ──► Nothing
//!                        └───────► Runs: set anew for a minute, in which the guests of that engine are found ──► Nothing
//! ```
//!
//! Not here: when the watchdog has to be set ([`own`](super::own)).

use super::Need;
use crate::guest::watchdog::Watchdog;
use crate::guest::{Host, HostError};
use crate::node::context::Context;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use understudy_session::{Span, Time};

/// A watchdog is set to run out this much before it has to, for the time from reading the clock to setting it.
const EARLY: Span = Span::from_ms(50);

/// How long it may take to find the guests of an engine before this one.
const FOUND_MAX: Span = Span::from_ms(60_000);

/// What an engine before this one has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Unasked,
    Nothing,
    /// A watchdog that runs. Until this time its guests are being found.
    Runs {
        until: Time,
    },
}

/// The watchdog, opened when it is first needed.
#[derive(Debug)]
pub(super) struct Timer {
    host: Arc<dyn Host>,
    state: PathBuf,
    watchdog: Option<Box<dyn Watchdog>>,
    left: Left,
}

impl Timer {
    pub(super) fn new(host: Arc<dyn Host>, state: PathBuf) -> Self {
        Self { host, state, watchdog: None, left: Left::Unasked }
    }

    /// What guests of an engine before this one need, which may not have been found yet.
    pub(super) fn needed_by_an_earlier_engine(&mut self, now: Time) -> Need {
        match self.left {
            Left::Unasked => {
                let is_left = self.host.has_left_watchdog(&self.state).unwrap_or_else(|error| {
                    tracing::error!(
                        %error,
                        "Whether an engine before this one has left the watchdog running is not known; it is taken for running"
                    );
                    true
                });
                self.left = if is_left { Left::Runs { until: now + FOUND_MAX } } else { Left::Nothing };
                if is_left { Need::Arm } else { Need::Nothing }
            }
            Left::Runs { until } if now < until => Need::Arm,
            Left::Runs { .. } | Left::Nothing => {
                self.left = Left::Nothing;
                Need::Nothing
            }
        }
    }

    /// When the guests of an engine before this one should have been found.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        match self.left {
            Left::Runs { until } => Some(until),
            Left::Unasked | Left::Nothing => None,
        }
    }

    /// Whether the watchdog that an engine before this one has left is running.
    pub(super) fn is_left(&self) -> bool {
        matches!(self.left, Left::Runs { .. })
    }

    /// Sets the watchdog to run out by `until`. Returns whether it is set so. The clock is read before and once more after
    /// that: a thread that stood still in between would have set the watchdog to run out too late.
    pub(super) fn set_until(&mut self, until: Time, cx: &dyn Context) -> Result<bool, HostError> {
        for _ in 0..3 {
            let seconds = (until - (cx.fresh_now() + EARLY)).0 / 1_000_000_000;
            let Some(seconds) = u32::try_from(seconds).ok().and_then(NonZeroU32::new) else {
                return Ok(false);
            };
            self.set(seconds)?;
            if cx.fresh_now() + Span(u64::from(seconds.get()) * 1_000_000_000) <= until {
                return Ok(true);
            }
        }
        // The host is too slow to be sure of anything: the shortest time is the nearest to the right one.
        let _ = self.set(NonZeroU32::MIN);
        Ok(false)
    }

    pub(super) fn set(&mut self, seconds: NonZeroU32) -> Result<(), HostError> {
        if self.watchdog.is_none() {
            self.watchdog = Some(self.host.watchdog(&self.state)?);
        }
        let Some(watchdog) = &mut self.watchdog else { return Ok(()) };
        watchdog.set(seconds)
    }

    pub(super) fn disarm(&mut self) -> Result<(), HostError> {
        let Some(watchdog) = &mut self.watchdog else { return Ok(()) };
        watchdog.disarm()
    }
}
