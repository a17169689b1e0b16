//! Waits until a guest that was taken over has settled: its driver connects its cards, the network is told where the
//! guest is, and a full copy of it may begin.
//!
//! ```text
//!   unpause ──► xenstore: vif/N/state of all is 4 ──┬─► announced, five times in a second
//!                (30 s at most)                     └─► Settled ──wakes─► loop: Input::GuestSettled
//! ```
//!
//! Xenstore reports when a state changes. Asking for it many times a second would take processor time, and xenstore's,
//! from the guest that connects its cards.
//!
//! Bridges send nothing through a card that is not connected, and switches may lose a frame just after a link has
//! changed; hence the order and the repetition.

use super::cards::{self, CONNECT_MAX};
use crate::guest::output::HeldOutput;
use crate::guest::waker::LoopWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};
use understudy_xen::DomId;
use understudy_xen::vifs;
use understudy_xen::xenstore::{StoreError, Xenstore};

/// How often to check without an event, and how long to leave xenstore alone after an error.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The waits before each announcement of a guest's new place.
const ANNOUNCE_AFTER_MS: [u64; 5] = [0, 50, 150, 250, 500];

/// Whether a guest has settled, or has had its time for it.
#[derive(Clone, Debug)]
pub(in crate::guest) struct Settled {
    is_so: Arc<AtomicBool>,
    waker: LoopWaker,
}

impl Settled {
    /// Not settled yet. `waker` wakes the loop when it has.
    pub(in crate::guest) fn not_yet(waker: LoopWaker) -> Self {
        Self { is_so: Arc::default(), waker }
    }

    /// Whether the guest has settled.
    pub(in crate::guest) fn is_so(&self) -> bool {
        self.is_so.load(Ordering::Acquire)
    }

    fn say(&self) {
        self.is_so.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// Whether the driver of `domain` has connected all its cards.
pub(in crate::guest) fn are_connected(domain: DomId) -> bool {
    cards::of(domain).is_ok_and(|cards| cards.iter().all(|card| card.is_connected))
}

/// Waits until the driver of `domain` has connected all its cards. Returns whether it has by `deadline`.
fn await_connected(domain: DomId, deadline: Instant) -> bool {
    loop {
        match follow_until_connected(domain, deadline) {
            Ok(connected) => return connected,
            Err(error) if Instant::now() < deadline => {
                tracing::warn!(%domain, %error, "Whether the guest uses its network cards is not known; asking again");
                sleep(LOOK_EVERY);
            }
            Err(_) => return false,
        }
    }
}

fn follow_until_connected(domain: DomId, deadline: Instant) -> Result<bool, StoreError> {
    let mut store = Xenstore::open()?;
    if let Some(refusal) = store.watch_if_allowed(&vifs::backend_path(domain), "settle")? {
        tracing::warn!(%domain, %refusal, "Whether the guest uses its network cards is not reported; it is looked at now and then");
    }
    loop {
        if vifs::vifs(&mut store, domain)?.iter().all(|vif| vif.is_connected) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        match store.next_event(Some(left.min(LOOK_EVERY))) {
            Ok(_) | Err(StoreError::EventsLost(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits in a separate thread for `domain` to settle, reports that, and announces the guest.
pub(in crate::guest) fn watch(domain: DomId, output: &HeldOutput, settled: &Settled) {
    let (output, told) = (output.clone(), settled.clone());
    let wait = move || {
        let begun = Instant::now();
        let connected = await_connected(domain, begun + CONNECT_MAX);
        let after_ms = begun.elapsed().as_millis();
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
