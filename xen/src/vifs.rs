//! A domain's network interfaces on this host. Netback makes one for each virtual card. If the card is emulated as
//! well, QEMU makes a second one on the same bridge, which the guest uses until its PV driver takes over, or for good.
//!
//! ```text
//!   /libxl/5/device/vif/0/backend = /local/domain/0/backend/vif/5/0       written by libxl; the guest cannot write it
//!   /local/domain/0/backend/vif/5/0/{vifname, mac, state, type}           vifname only if the configuration has one
//!
//!   vif5.0       netback's interface                                      or vifname
//!   vif5.0-emu   QEMU's tap, if type is vif_ioemu                         or vifname-emu
//! ```

use crate::DomId;
use crate::xenstore::{StoreError, Xenstore};

/// `XenbusStateConnected` (`xen/include/public/io/xenbus.h`): from here on the guest can send.
const CONNECTED: &str = "4";

/// The suffix that libxl gives the tap of an emulated card (`TAP_DEVICE_SUFFIX`), and the type of such a card.
const TAP_SUFFIX: &str = "-emu";
const EMULATED: &str = "vif_ioemu";

/// A virtual network card of a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vif {
    /// The card's number.
    pub device: u32,
    /// The card's interface in the backend.
    pub name: String,
    /// QEMU's interface of the same card, if the card is emulated.
    pub tap: Option<String>,
    /// The Ethernet address, if the backend has one.
    pub mac: Option<[u8; 6]>,
    /// The domain that serves the card; 0 unless there is a driver domain.
    pub backend: DomId,
    /// Whether frontend and backend are connected.
    pub is_connected: bool,
}

/// The path to watch for cards that are added or removed.
pub fn watched_path(domain: DomId) -> String {
    format!("/libxl/{domain}/device/vif")
}

/// The path to watch for the states of a domain's cards in dom0's backend.
pub fn backend_path(domain: DomId) -> String {
    format!("/local/domain/0/backend/vif/{domain}")
}

/// The cards of `domain`, by number. A card that is just being added or removed may be missing.
pub fn vifs(store: &mut Xenstore, domain: DomId) -> Result<Vec<Vif>, StoreError> {
    let base = watched_path(domain);
    let mut vifs = Vec::new();
    for entry in store.directory(&base)? {
        let Ok(device) = entry.parse() else { continue };
        let Some(path) = store.read(&format!("{base}/{entry}/backend"))? else { continue };
        let Some(backend) = backend_of(&path) else { continue };
        let Some(state) = store.read(&format!("{path}/state"))? else { continue };
        let name = store.read(&format!("{path}/vifname"))?;
        let name = name.unwrap_or_else(|| format!("vif{domain}.{device}"));
        let kind = store.read(&format!("{path}/type"))?;
        let mac = store.read(&format!("{path}/mac"))?;
        vifs.push(Vif {
            device,
            tap: (kind.as_deref() == Some(EMULATED)).then(|| format!("{name}{TAP_SUFFIX}")),
            name,
            mac: mac.as_deref().and_then(parse_mac),
            backend,
            is_connected: state == CONNECTED,
        });
    }
    vifs.sort_by_key(|vif| vif.device);
    Ok(vifs)
}

/// The domain in a path `/local/domain/N/backend/…`.
fn backend_of(path: &str) -> Option<DomId> {
    let (domain, _) = path.strip_prefix("/local/domain/")?.split_once("/backend/")?;
    domain.parse().ok().map(DomId)
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_addresses_are_read_and_nonsense_is_not() {
        assert_eq!(backend_of("/local/domain/0/backend/vif/5/0"), Some(DomId(0)));
        assert_eq!(backend_of("/local/domain/12/backend/vif/5/0"), Some(DomId(12)));
        for path in [
            "",
            "/local/domain/0/device/vif/0",
            "/local/domain/x/backend/vif",
            "/local/domain/99999/backend/v",
        ] {
            assert_eq!(backend_of(path), None, "{path}");
        }
        assert_eq!(parse_mac("00:16:3e:00:00:2A"), Some([0, 0x16, 0x3e, 0, 0, 0x2a]));
        for mac in ["", "00:16:3e:00:00", "00:16:3e:00:00:2a:01", "00:16:3e:00:00:zz"] {
            assert_eq!(parse_mac(mac), None, "{mac}");
        }
    }
}
