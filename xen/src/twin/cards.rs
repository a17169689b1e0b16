//! The network cards of a domain, taken from netback while the domain does not run and given back to it, so that the
//! frontend in the guest does not notice.
//!
//! ```text
//!   detach   vif-D-N ──► /sys/bus/xen-backend/drivers/vif/unbind          rings are unmapped, ports become unbound, vifD.N goes
//!            … memory, grants and the rings in it become those of the guest; so do the keys below …
//!   attach   vif-D-N ──► …/bind, vifD.N to its bridge, hotplug-status     netback maps the rings and goes on where they stand
//!
//!   /local/domain/D/device/vif/N/{tx-ring-ref, rx-ring-ref, event-channel-*, queue-*/…}      where netback finds the rings
//! ```
//!
//! Since Linux 5.6 netback takes up running rings where they stand (`xen-netback: support dynamic unbind/bind`).
//!
//! Traps: the interface is a new one after each `attach` (its bridge, queues and addresses are gone), no hotplug script runs,
//! and a card that is not connected must not be detached, because `bind` would leave its states as they are.

use super::TwinError;
use crate::DomId;
use crate::vifs::{Vif, vifs};
use crate::xenstore::{StoreError, Xenstore};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where the kernel has netback's driver.
const DRIVER: &str = "/sys/bus/xen-backend/drivers/vif";
/// Where the kernel has network interfaces.
const INTERFACES: &str = "/sys/class/net";

/// How long netback may take to make an interface, and the pause between two looks.
const INTERFACE_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Kinds of devices that a twin may have: the network cards, and the console, which keeps its mapping.
const KINDS: [&str; 2] = ["vif", "console"];
/// Keys of a card that tell netback where the rings are, by their beginning.
const KEYS: [&str; 4] = ["tx-ring-ref", "rx-ring-ref", "event-channel", "multi-queue-num-queues"];
const QUEUE: &str = "queue-";

/// Where the rings of a domain's cards are, as its frontends wrote it: paths below `/local/domain/D/device/vif`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RingKeys(Vec<(String, String)>);

impl RingKeys {
    /// The keys of all cards of a domain.
    pub(super) fn of(store: &mut Xenstore, domain: DomId) -> Result<Self, StoreError> {
        let base = frontend(domain);
        let mut keys = Vec::new();
        for card in store.directory(&base)? {
            for name in store.directory(&format!("{base}/{card}"))? {
                if is_key(&name) {
                    keys.push(format!("{card}/{name}"));
                } else if name.starts_with(QUEUE) {
                    let names = store.directory(&format!("{base}/{card}/{name}"))?;
                    keys.extend(names.iter().map(|key| format!("{card}/{name}/{key}")));
                }
            }
        }
        keys.sort();
        let mut found = Vec::new();
        for key in keys {
            if let Some(value) = store.read(&format!("{base}/{key}"))? {
                found.push((key, value));
            }
        }
        Ok(Self(found))
    }

    /// Whether both have the same keys, whatever their values.
    pub(super) fn are_named_as(&self, other: &Self) -> bool {
        self.0.iter().map(|(key, _)| key).eq(other.0.iter().map(|(key, _)| key))
    }

    /// Writes them for a domain whose cards are detached.
    pub(super) fn write(&self, store: &mut Xenstore, domain: DomId) -> Result<(), StoreError> {
        let base = frontend(domain);
        self.0.iter().try_for_each(|(key, value)| store.write(&format!("{base}/{key}"), value))
    }
}

fn is_key(name: &str) -> bool {
    KEYS.iter().any(|key| name.starts_with(key))
}

fn frontend(domain: DomId) -> String {
    format!("/local/domain/{domain}/device/vif")
}

fn backend(domain: DomId, device: u32) -> String {
    format!("/local/domain/0/backend/vif/{domain}/{device}")
}

/// The cards of a domain that can be detached. Fails if there is one that cannot, or another device.
pub(super) fn of(store: &mut Xenstore, domain: DomId) -> Result<Vec<Vif>, TwinError> {
    for kind in store.directory(&format!("/libxl/{domain}/device"))? {
        if !KINDS.contains(&kind.as_str()) {
            return Err(TwinError::Device { domain, kind });
        }
    }
    let cards = vifs(store, domain)?;
    for card in &cards {
        if card.backend != DomId(0) || card.tap.is_some() {
            return Err(TwinError::CardElsewhere { domain, device: card.device });
        }
        if !card.is_connected {
            return Err(TwinError::CardNotConnected { domain, device: card.device });
        }
    }
    Ok(cards)
}

/// Unplugs the cards of a guest that does not run, and whose twin on this host is to go on, from their bridges, which
/// forget where the guest was. (Without netback they could not be removed with the guest any more.)
pub fn unplug_cards(store: &mut Xenstore, domain: DomId) -> Result<(), TwinError> {
    of(store, domain)?
        .iter()
        .try_for_each(|card| set_master(domain, card, &["nomaster", "down"], "no bridge"))
}

/// Takes the cards of a domain from netback.
pub(super) fn detach(domain: DomId, cards: &[Vif]) -> Result<(), TwinError> {
    cards.iter().try_for_each(|card| tell_driver("unbind", domain, card))
}

/// Gives netback the cards of a domain, with its rings as they stand, and plugs them into their bridges.
pub(super) fn attach(store: &mut Xenstore, domain: DomId, cards: &[Vif]) -> Result<(), TwinError> {
    for card in cards {
        tell_driver("bind", domain, card)?;
        await_interface(domain, card)?;
        let path = backend(domain, card.device);
        if let Some(bridge) = store.read(&format!("{path}/bridge"))? {
            set_master(domain, card, &["master", &bridge, "up"], &bridge)?;
        }
        store.write(&format!("{path}/hotplug-status"), "connected")?;
    }
    Ok(())
}

fn tell_driver(word: &'static str, domain: DomId, card: &Vif) -> Result<(), TwinError> {
    let file: PathBuf = Path::new(DRIVER).join(word);
    std::fs::write(&file, format!("vif-{domain}-{}", card.device)).map_err(|source| TwinError::Netback {
        domain,
        device: card.device,
        word,
        source,
    })
}

fn await_interface(domain: DomId, card: &Vif) -> Result<(), TwinError> {
    let (begun, path) = (Instant::now(), Path::new(INTERFACES).join(&card.name));
    while !path.exists() {
        if begun.elapsed() > INTERFACE_MAX {
            return Err(TwinError::NoInterface { domain, name: card.name.clone() });
        }
        sleep(LOOK_EVERY);
    }
    Ok(())
}

fn set_master(domain: DomId, card: &Vif, how: &[&str], bridge: &str) -> Result<(), TwinError> {
    let failed =
        |why: String| TwinError::Bridge { domain, name: card.name.clone(), bridge: bridge.into(), why };
    match Command::new("ip").args(["link", "set", &card.name]).args(how).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(String::from_utf8_lossy(&output.stderr).trim().into())),
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
