//! Which network cards a Xen guest has: read once, then followed as they are plugged in and out.
//!
//! ```text
//!   xenstore ──watch on /libxl/N/device/vif──► this thread ──follow──► HeldOutput
//! ```
//!
//! The toolstack writes a card's nodes before the guest can send by it, so a card that joins is normally held before
//! its first frame. Once a second everything is looked at anyway: an interface appears some time after its nodes, and a
//! queue may have failed.

use super::interfaces::Card;
use super::output::{HeldOutput, OutputWatch};
use std::io;
use std::path::Path;
use std::thread::{Builder, sleep};
use std::time::Duration;
use understudy_xen::DomId;
use understudy_xen::vifs::{self, Vif};
use understudy_xen::xenstore::{StoreError, Xenstore};

/// Between two looks when nothing is told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The cards of `domain`. The error is for the operator.
pub(super) fn of(domain: DomId) -> Result<Vec<Card>, String> {
    let mut store = Xenstore::open().map_err(|error| error.to_string())?;
    let vifs = vifs::vifs(&mut store, domain).map_err(|error| error.to_string())?;
    match vifs.iter().find(|vif| vif.backend != DomId(0)) {
        Some(vif) => Err(format!(
            "its network card {} is served by domain {}, where its output cannot be held; use a bridge of dom0",
            vif.device, vif.backend
        )),
        None => Ok(vifs.into_iter().flat_map(interfaces).collect()),
    }
}

/// What a card sends by: netback's interface, and QEMU's while it emulates one, which ends when a driver in the guest
/// unplugs the emulated card. QEMU's can send at any time. It is not announced: QEMU does so itself, and switches would
/// look for the guest where it may not be.
fn interfaces(vif: Vif) -> impl Iterator<Item = Card> {
    let tap = vif.tap.filter(|tap| Path::new("/sys/class/net").join(tap).exists());
    let tap = tap.map(|interface| Card { interface, mac: None, is_connected: true });
    [Card { interface: vif.name, mac: vif.mac, is_connected: vif.is_connected }].into_iter().chain(tap)
}

/// Has `output` follow the cards of `domain` as long as somebody else holds it.
pub(super) fn follow(domain: DomId, output: &HeldOutput) -> io::Result<()> {
    let output = output.downgrade();
    Builder::new().name("cards".into()).spawn(move || run(domain, &output))?;
    Ok(())
}

fn run(domain: DomId, output: &OutputWatch) {
    while output.get().is_some() {
        if let Err(error) = watch(domain, output) {
            tracing::error!(%domain, %error, "The guest's network cards cannot be watched; trying again");
            sleep(LOOK_EVERY);
        }
    }
}

fn watch(domain: DomId, output: &OutputWatch) -> Result<(), StoreError> {
    let mut store = Xenstore::open()?;
    store.watch(&vifs::watched_path(domain), "cards")?;
    loop {
        let vifs = vifs::vifs(&mut store, domain)?;
        let Some(output) = output.get() else { return Ok(()) };
        output.follow(&vifs.into_iter().flat_map(interfaces).collect::<Vec<_>>());
        drop(output);
        match store.next_event(Some(LOOK_EVERY)) {
            Ok(_) | Err(StoreError::EventsLost(_)) => {}
            Err(error) => return Err(error),
        }
    }
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
