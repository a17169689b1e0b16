//! The lease of a host: what lets another host start a guest with disks that both reach, although nobody can ask the first
//! whether it still runs the guest. Output commit does not cover such disks; see `docs/FENCING.md`. No driver carries these
//! machines yet.
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
//! * [`Terms`] the times, which fit each other or do not exist
//! * [`Holder`] a host that runs such guests; [`Taker`] the other one

mod holder;
mod taker;
#[cfg(test)]
mod tests;

pub use holder::{Holder, HolderOutput};
pub use taker::{Standing, Taker, TakerOutput};

use crate::Span;

/// How much faster or slower than real time a clock may run, in millionths. NTP steers by 500 at most, and crystals are ten
/// times better.
pub const DRIFT_PPM_MAX: u64 = 1_000;

/// From the moment at which a watchdog runs out until nothing of its host runs any more, and no write is on its way to a disk.
pub const RESET_MAX: Span = Span::from_ms(2_000);

/// The shortest watchdog: Xen counts whole seconds, and a renewal has to be asked and confirmed within.
pub const WATCHDOG_MIN: Span = Span::from_ms(4_000);

/// The times of a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    watchdog: Span,
    wait: Span,
}

/// Why times are no terms.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum TermsError {
    /// Too short.
    #[error("a watchdog of {} ms is too short: give 4 s at least", .0.0 / 1_000_000)]
    Watchdog(Span),
    /// The other host would start the guest while it may run here.
    #[error("a wait of {} ms is too short for this watchdog: give {} ms at least", .given.0 / 1_000_000, .least.0.div_ceil(1_000_000))]
    Wait {
        /// As given.
        given: Span,
        /// The shortest one.
        least: Span,
    },
}

impl Terms {
    /// A holder's watchdog runs out `watchdog` after a renewal was asked for; a taker waits for `wait`.
    pub fn new(watchdog: Span, wait: Span) -> Result<Self, TermsError> {
        if watchdog < WATCHDOG_MIN {
            return Err(TermsError::Watchdog(watchdog));
        }
        let least = Self::wait_min(watchdog);
        if wait < least {
            return Err(TermsError::Wait { given: wait, least });
        }
        Ok(Self { watchdog, wait })
    }

    /// The shortest wait for a watchdog. If all clocks drift by d at most, a watchdog of T runs out within T / (1 − d) of
    /// real time, and a taker's wait of W takes W / (1 + d) at least. (1 + d) / (1 − d) is below 1 + 3 d.
    fn wait_min(watchdog: Span) -> Span {
        let millionths =
            |span: Span, ppm: u64| (u128::from(span.0) * u128::from(ppm)).div_ceil(1_000_000) as u64;
        let slack = millionths(watchdog, 3 * DRIFT_PPM_MAX) + millionths(RESET_MAX, DRIFT_PPM_MAX);
        Span(watchdog.0.saturating_add(RESET_MAX.0).saturating_add(slack))
    }

    /// From asking for a renewal until the watchdog runs out, at most.
    pub fn watchdog(&self) -> Span {
        self.watchdog
    }

    /// From seeing a number until it may be taken away.
    pub fn wait(&self) -> Span {
        self.wait
    }
}
