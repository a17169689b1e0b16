//! A guest that was taken over settles: its driver connects its cards, then the network is told where it is, and a full
//! copy of it may begin.
//!
//! ```text
//!   unpause ──► xenstore: vif/N/state of all is 4 ──┬─► announced, five times in a second
//!                (30 s at most)                     └─► Settled ──bell──► loop: Input::GuestSettled
//! ```
//!
//! Bridges send nothing by a card that is not connected, and switches may lose a frame just after a link has changed:
//! hence the order, and the repetition.

use super::cards;
use super::output::HeldOutput;
use super::report::Bell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};
use understudy_xen::DomId;

/// How long a guest's driver is given to connect its cards, and how often that is looked at.
const CONNECT_MAX: Duration = Duration::from_secs(30);
const CONNECT_RETRY: Duration = Duration::from_millis(20);

/// Waits before each announcement of a guest's new place.
const ANNOUNCE_AFTER_MS: [u64; 5] = [0, 50, 150, 250, 500];

/// Whether a guest has settled, or had its time for it.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    is_so: Arc<AtomicBool>,
    bell: Bell,
}

impl Settled {
    /// Not yet; `bell` is rung once it has.
    pub(super) fn not_yet(bell: Bell) -> Self {
        Self { is_so: Arc::default(), bell }
    }

    /// Whether it has.
    pub(super) fn is_so(&self) -> bool {
        self.is_so.load(Ordering::Acquire)
    }

    fn say(&self) {
        self.is_so.store(true, Ordering::Release);
        self.bell.ring();
    }
}

/// Whether the driver of `domain` has connected all its cards.
pub(super) fn are_connected(domain: DomId) -> bool {
    cards::of(domain).is_ok_and(|cards| cards.iter().all(|card| card.is_connected))
}

/// Waits, in a thread of its own, for `domain` to settle, says so and announces it.
pub(super) fn watch(domain: DomId, output: &HeldOutput, settled: &Settled) {
    let (output, told) = (output.clone(), settled.clone());
    let wait = move || {
        let begun = Instant::now();
        while begun.elapsed() < CONNECT_MAX && !are_connected(domain) {
            sleep(CONNECT_RETRY);
        }
        let (after_ms, connected) = (begun.elapsed().as_millis(), are_connected(domain));
        tracing::info!(%domain, after_ms, connected, "The guest uses its network cards again");
        told.say();
        for pause_ms in ANNOUNCE_AFTER_MS {
            sleep(Duration::from_millis(pause_ms));
            output.announce();
        }
    };
    if let Err(error) = Builder::new().name("settle".into()).spawn(wait) {
        tracing::warn!(%error, "The guest's new place is not announced; switches learn it from its first frames");
        settled.say();
    }
}
