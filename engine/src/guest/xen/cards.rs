//! Follows the network cards of a Xen guest as they are added and removed. The same connection to xenstore reports the
//! guest's end ([`ended`](super::ended)).
//!
//! ```text
//!   xenstore ──watch on /libxl/N/device/vif──► this thread ──follow──► HeldOutput
//!                                                │ xl list -l
//!                                                └──Renewed──► loop: offers the guest anew, with these cards
//! ```
//!
//! The toolstack writes a card's nodes before the guest can send by the card, so a card that joins is normally held
//! before its first frame. The cards of a standby domain are followed from its creation, so that nothing leaves even if
//! somebody lets it run. An interface appears some time after its nodes, and is looked for until it does. Once a second
//! everything is checked anyway, because a queue may have failed. If xenstore refuses a watch, because a quota is used up or it
//! has no memory, the cards are looked at more often, and [`Unwatched`] tells an operator.

use super::ended::Ended;
use super::error::XenGuestError;
use crate::guest::output::interfaces::Card;
use crate::guest::output::{HeldOutput, OutputWatch};
use crate::guest::panic_words;
use crate::guest::waker::LoopWaker;
use parking_lot::Mutex;
use serde_json::Value;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};
use understudy_xen::vifs::{self, Vif};
use understudy_xen::xenstore::{StoreError, Xenstore};
use understudy_xen::xl::XlGuest;
use understudy_xen::{DomId, Xen};

/// How long a guest's driver may take to connect its cards.
pub(in crate::guest) const CONNECT_MAX: Duration = Duration::from_secs(30);

/// Time between two looks without an event.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks for an interface that is announced, or that may leak: shorter than a guest takes to use a new
/// card.
const LOOK_SOON: Duration = Duration::from_millis(10);

/// Time between two looks where xenstore announces nothing, and how long until it is asked again to.
const LOOK_UNWATCHED: Duration = Duration::from_millis(100);
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The token of the watch for domains that end.
const END: &str = "end";

/// The cards of `domain`.
pub(in crate::guest) fn of(domain: DomId) -> Result<Vec<Card>, XenGuestError> {
    let vifs = vifs::vifs(&mut Xenstore::open()?, domain)?;
    match vifs.iter().find(|vif| vif.backend != DomId(0)) {
        Some(Vif { device, backend, .. }) => {
            Err(XenGuestError::CardElsewhere { device: *device, backend: *backend })
        }
        None => Ok(vifs.into_iter().flat_map(interfaces).collect()),
    }
}

/// The interfaces of a card: netback's, and QEMU's while QEMU emulates the card, until a driver in the guest unplugs
/// the emulated card. The guest can send by QEMU's at any time. QEMU's is not announced: QEMU does that itself, and
/// switches would look for the guest where it may not be.
fn interfaces(vif: Vif) -> impl Iterator<Item = Card> {
    // One that may be there is held.
    let tap = vif.tap.filter(|tap| Path::new("/sys/class/net").join(tap).try_exists().unwrap_or(true));
    let tap = tap.map(|interface| Card { interface, mac: None, is_connected: true });
    [Card { interface: vif.name, mac: vif.mac, is_connected: vif.is_connected }].into_iter().chain(tap)
}

/// The new configuration of a guest whose cards have changed, for the loop.
#[derive(Clone, Debug)]
pub(in crate::guest) struct Renewed {
    config: Arc<Mutex<Option<Vec<u8>>>>,
    waker: LoopWaker,
}

impl Renewed {
    /// No configuration yet. `waker` wakes the loop when there is one.
    pub(in crate::guest) fn new(waker: LoopWaker) -> Self {
        Self { config: Arc::default(), waker }
    }

    /// The configuration that came since the last call.
    pub(in crate::guest) fn take(&self) -> Option<Vec<u8>> {
        self.config.lock().take()
    }

    fn put(&self, config: Vec<u8>) {
        *self.config.lock() = Some(config);
        self.waker.wake();
    }
}

/// Why xenstore does not announce a guest's cards and its end, for an operator.
#[derive(Clone, Default, Debug)]
pub(in crate::guest) struct Unwatched(Arc<Mutex<Option<String>>>);

impl Unwatched {
    /// In words; `None` if nothing is wrong.
    pub(in crate::guest) fn words(&self) -> Option<String> {
        let refusal = self.0.lock();
        refusal.as_ref().map(|refusal| {
            format!("a network card that is plugged in may send a moment before it is held, since it is not announced: {refusal}")
        })
    }

    /// Takes down how the watches were set. Logged when it changes.
    fn is(&self, domain: DomId, refusal: Option<String>) {
        let mut known = self.0.lock();
        match (&*known, &refusal) {
            (None, Some(why)) => {
                tracing::error!(%domain, why, "The guest's network cards are not announced; they are looked at ten times a second");
            }
            (Some(_), None) => tracing::info!(%domain, "The guest's network cards are announced again"),
            _ => {}
        }
        *known = refusal;
    }
}

/// A domain whose cards are followed.
pub(in crate::guest) struct Watched {
    pub(in crate::guest) xen: Xen,
    pub(in crate::guest) domain: DomId,
    pub(in crate::guest) name: String,
}

/// Follows the cards of a guest, and its end.
pub(in crate::guest) struct Follower {
    watched: Watched,
    renewed: Renewed,
    ended: Ended,
    unwatched: Unwatched,
    /// The cards in the guest's configuration as the loop has it.
    known: Value,
    /// Interfaces already compared with the configuration.
    looked_at: Option<Vec<String>>,
    /// The time when the guest began to connect its cards.
    begun: Instant,
}

impl Follower {
    /// For a guest with this `config`. Another configuration goes to `renewed`, the guest's end to `ended`, and a watch that is
    /// refused to `unwatched`.
    pub(in crate::guest) fn new(
        watched: Watched,
        config: &[u8],
        renewed: Renewed,
        ended: Ended,
        unwatched: Unwatched,
    ) -> Self {
        let known = cards_in(config);
        Self { watched, renewed, ended, unwatched, known, looked_at: None, begun: Instant::now() }
    }

    /// Makes `output` follow the cards for as long as somebody else holds it.
    pub(in crate::guest) fn follow(self, output: &HeldOutput) -> io::Result<()> {
        let output = output.downgrade();
        Builder::new().name("cards".into()).spawn(move || self.run(&output))?;
        Ok(())
    }

    fn run(mut self, output: &OutputWatch) {
        while output.get().is_some() {
            let watched = catch_unwind(AssertUnwindSafe(|| self.watch(output)));
            let domain = self.watched.domain;
            match watched {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => {
                    tracing::error!(%domain, %error, "The guest's network cards cannot be watched; trying again");
                }
                // Without this thread nobody would learn of the guest's end.
                Err(panic) => {
                    let message = panic_words(&*panic);
                    tracing::error!(%domain, message, "What watches the guest's network cards panicked; trying again");
                }
            }
            sleep(LOOK_EVERY);
        }
    }

    fn watch(&mut self, output: &OutputWatch) -> Result<(), StoreError> {
        let mut store = Xenstore::open()?;
        let domain = self.watched.domain;
        let refusals = [
            store.watch_if_allowed(&vifs::watched_path(domain), "cards")?,
            store.watch_if_allowed("@releaseDomain", END)?,
        ];
        let refusal = refusals.into_iter().flatten().next().map(|refusal| refusal.to_string());
        let ask_at = refusal.is_some().then(|| Instant::now() + ASK_AGAIN);
        let look_every = if refusal.is_some() { LOOK_UNWATCHED } else { LOOK_EVERY };
        self.unwatched.is(domain, refusal);
        while ask_at.is_none_or(|at| Instant::now() < at) {
            self.ended.look(&self.watched.xen, domain);
            let vifs = vifs::vifs(&mut store, domain)?;
            let cards: Vec<_> = vifs.into_iter().flat_map(interfaces).collect();
            let Some(output) = output.get() else { return Ok(()) };
            let (soon, is_fenced) = (output.follow(&cards), output.is_fenced());
            drop(output);
            if is_fenced {
                // It stands by, or still. It has its time to connect its cards once it runs.
                self.begun = Instant::now();
            } else {
                self.compare(cards);
            }
            self.wait(&mut store, if soon { LOOK_SOON } else { look_every })?;
        }
        Ok(())
    }

    /// Waits at most `time_max` for news of the cards. Every domain of the host that ends is reported; that alone is no
    /// reason to read all cards.
    fn wait(&self, store: &mut Xenstore, time_max: Duration) -> Result<(), StoreError> {
        let until = Instant::now() + time_max;
        loop {
            match store.next_event(Some(until.saturating_duration_since(Instant::now()))) {
                Ok(Some(event)) if event.token == END => {
                    self.ended.look(&self.watched.xen, self.watched.domain)
                }
                Ok(_) | Err(StoreError::EventsLost(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reports another configuration to the loop, because a takeover would build the guest with its former cards.
    /// Asking xl takes a while, so it is done only when a card was added or removed, and not while a guest that was
    /// just taken over connects the cards it was built with, for which it needs the processor.
    fn compare(&mut self, cards: Vec<Card>) {
        let settles = cards.iter().any(|card| !card.is_connected) && self.begun.elapsed() < CONNECT_MAX;
        if settles {
            return;
        }
        let interfaces: Vec<_> = cards.into_iter().map(|card| card.interface).collect();
        if self.looked_at.as_ref() == Some(&interfaces) {
            return;
        }
        let guest = match XlGuest::find(&self.watched.name) {
            Ok(guest) if guest.domain == self.watched.domain => guest,
            // It is asked again, or the guest has ended.
            Ok(_) | Err(_) => return,
        };
        self.looked_at = Some(interfaces);
        let found = cards_in(&guest.config);
        if found != self.known {
            self.known = found;
            self.renewed.put(guest.config);
        }
    }
}

/// The cards in a configuration of libxl.
fn cards_in(config: &[u8]) -> Value {
    let json = config.strip_suffix(&[0]).unwrap_or(config);
    serde_json::from_slice::<Value>(json).map_or(Value::Null, |mut config| config["nics"].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_is_one_more_interface_for_as_long_as_it_is_there() {
        let vif = |tap: Option<&str>| Vif {
            device: 0,
            name: "vif7.0".into(),
            tap: tap.map(str::to_owned),
            mac: Some([2; 6]),
            backend: DomId(0),
            is_connected: false,
        };
        let netback = Card { interface: "vif7.0".into(), mac: Some([2; 6]), is_connected: false };
        let of = |tap| interfaces(vif(tap)).collect::<Vec<_>>();
        assert_eq!(of(None), std::slice::from_ref(&netback));
        assert_eq!(of(Some("nowhere-emu")), std::slice::from_ref(&netback), "the guest unplugged it");
        let tap = Card { interface: "lo".into(), mac: None, is_connected: true };
        assert_eq!(of(Some("lo")), [netback, tap]);
    }
}
