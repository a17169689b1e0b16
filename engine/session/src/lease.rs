//! The lease of a host: what lets another host start a guest with disks that both reach, although nobody can ask the first
//! whether it still runs the guest. Output commit does not cover such disks; see `docs/FENCING.md`.
//!
//! ```text
//!   Holder   ── renew n ──► the arbiter's record ◄── look, take away ──   Taker
//!      └─ sets Xen's watchdog, which resets the host unless the next renewal is confirmed in time
//!
//!   real time  ──┬────────┬───────────────────────────┬────────────────────┬──────►
//!       Holder   │ asks n │ confirmed: sets           │ runs out           │ nothing of the host runs any more
//!                └────────────── watchdog ────────────┴── RESET_MAX ───────┤
//!       Taker             │ sees n                                         │
//!                         └──────────────── wait ──────────────────────────┴─ takes n away: no n + 1 came
//! ```
//!
//! A host is fenced once its lease was *taken away* by compare-and-swap, [`wait`](Terms::wait) after the number that is
//! taken away was seen. Two facts make that safe: whoever sees n knows that the holder asked for it earlier, and counts
//! from its own, later moment; and a swap from n means that no later number was ever confirmed.
//!
//! * [`Terms`] the times: a holder's watchdog, and the wait that follows from it
//! * [`Holder`] a host that runs such guests; [`Taker`] the other one
//! * [`Lease`] the record; [`judge`] who may change it, and how; [`Arbiter`] our witness's records of all hosts

mod arbiter;
mod holder;
mod record;
mod taker;
#[cfg(test)]
mod tests;

pub use arbiter::{Arbiter, HOSTS_MAX, Input, Output};
pub use holder::{Holder, HolderOutput};
pub use record::{Lease, LeaseReply, LeaseRequest, Standing, judge};
pub use taker::{Taker, TakerOutput};

use crate::Span;

/// How much faster or slower than real time a clock may run, in millionths. NTP steers by 500 at most, and crystals are ten
/// times better.
pub const DRIFT_PPM_MAX: u64 = 1_000;

/// From the moment at which a watchdog runs out until nothing of its host runs any more, and no write is on its way to a disk.
pub const RESET_MAX: Span = Span::from_ms(2_000);

/// The shortest watchdog: Xen counts whole seconds, and a renewal has to be asked and confirmed within.
pub const WATCHDOG_MIN: Span = Span::from_ms(4_000);

/// The longest watchdog: a taker waits for longer.
pub const WATCHDOG_MAX: Span = Span::from_ms(300_000);

/// The times of a lease. The holder's watchdog stands in its record, so that a taker waits for as long as that holder needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Terms {
    watchdog: Span,
}

/// A watchdog that no lease may have.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("a watchdog of {} ms cannot be used: give from 4 s to 300 s", .0.0 / 1_000_000)]
pub struct TermsError(pub Span);

impl Terms {
    /// A holder's watchdog runs out `watchdog` after a renewal was asked for.
    pub fn new(watchdog: Span) -> Result<Self, TermsError> {
        if (WATCHDOG_MIN..=WATCHDOG_MAX).contains(&watchdog) {
            Ok(Self { watchdog })
        } else {
            Err(TermsError(watchdog))
        }
    }

    /// From asking for a renewal until the watchdog runs out, at most.
    pub fn watchdog(&self) -> Span {
        self.watchdog
    }

    /// From seeing a number until it may be taken away. If all clocks drift by d at most, a watchdog of T runs out within
    /// T / (1 − d) of real time, and a taker's wait of W takes W / (1 + d) at least. (1 + d) / (1 − d) is below 1 + 3 d.
    pub fn wait(&self) -> Span {
        let millionths = |span: Span, ppm: u64| (span.0 * ppm).div_ceil(1_000_000);
        let slack = millionths(self.watchdog, 3 * DRIFT_PPM_MAX) + millionths(RESET_MAX, DRIFT_PPM_MAX);
        Span(self.watchdog.0 + RESET_MAX.0 + slack)
    }
}
