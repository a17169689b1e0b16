//! A guest of the lab, which the node starts: `--guest name=g1,memory=256M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=mixed`.

use super::{ConfigError, FenceChoice, GuestSettings};
use crate::config::Peers;
use crate::config::human::parse_size;
use std::net::Ipv4Addr;
use understudy_lab::{DISK_BYTES_MAX, DISK_BYTES_MIN};
use understudy_session::{Mode, NodeName};

/// Memory of a guest that says nothing.
const MEMORY_BYTES_DEFAULT: u64 = 256 << 20;
/// A guest needs room for its tables and its key-value store.
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Pfns are bounded long before this; more is a slip of the pen.
const MEMORY_BYTES_MAX: u64 = 1 << 40;

/// What a load is made of, in the lab's words: these may follow `load=…` in a flag.
pub(super) const LOAD_KEYS: [&str; 4] = ["rate", "set", "skew", "content"];

/// A guest, decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabGuestConfig {
    pub name: String,
    /// Its memory in bytes, whole pages.
    pub memory_bytes: u64,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub ip: Ipv4Addr,
    /// The size of its disk, if it has one.
    pub disk_bytes: Option<u64>,
    /// How it uses its memory.
    pub load: String,
    /// Which peer holds its copy.
    pub peer: NodeName,
    /// How it is protected.
    pub mode: Mode,
    /// Whether this host is fenced before it is started elsewhere.
    pub fence: FenceChoice,
}

/// Decides all guests of a node that has these peers.
pub(super) fn decide_all(
    settings: Vec<GuestSettings>,
    peers: &Peers,
) -> Result<Vec<LabGuestConfig>, ConfigError> {
    let mut guests = Vec::<LabGuestConfig>::with_capacity(settings.len());
    for guest in settings {
        let guest = guest.decide_lab(peers)?;
        if let Some(other) = guests
            .iter()
            .find(|other| other.name == guest.name || other.mac == guest.mac || other.ip == guest.ip)
        {
            return Err(ConfigError::Conflict(format!(
                "Guests {} and {} share a name, a mac or an ip",
                other.name, guest.name
            )));
        }
        guests.push(guest);
    }
    Ok(guests)
}

impl GuestSettings {
    fn decide_lab(self, peers: &Peers) -> Result<LabGuestConfig, ConfigError> {
        let name = self.checked_name()?.to_owned();
        self.check_no_xen(&name)?;
        let (peer, mode) = (self.decide_peer(&name, peers)?, self.decide_mode());
        let missing = |what| ConfigError::Conflict(format!("Guest {name} needs {what}"));
        let mac = self.mac.ok_or_else(|| {
            missing("a mac, such as mac=52:54:00:00:00:01 (or the node --hypervisor xen, if it is a guest of Xen)")
        })?;
        let mac = parse_mac(&mac)
            .ok_or_else(|| missing("a unicast mac of six hex pairs, such as mac=52:54:00:00:00:01"))?;
        let ip = self.ip.ok_or_else(|| missing("an ip, such as ip=10.77.0.11"))?;
        if ip.is_loopback() || ip.is_multicast() || ip.is_broadcast() || ip.octets()[0] == 0 {
            return Err(missing(&format!("an ip of its own, such as ip=10.77.0.11; {ip} is no host's")));
        }
        let memory_bytes = match self.memory {
            None => MEMORY_BYTES_DEFAULT,
            Some(text) => parse_size(&text).map_err(|error| ConfigError::Conflict(error.to_string()))?,
        };
        if !(MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX).contains(&memory_bytes)
            || !memory_bytes.is_multiple_of(4096)
        {
            return Err(missing("a memory of whole pages, from 1M to 1024G"));
        }
        let disk_bytes = self.disk.map(|text| parse_size(&text)).transpose();
        let disk_bytes = disk_bytes.map_err(|error| ConfigError::Conflict(error.to_string()))?;
        if disk_bytes
            .is_some_and(|bytes| !(DISK_BYTES_MIN..=DISK_BYTES_MAX).contains(&bytes) || bytes % 4096 != 0)
        {
            return Err(missing("a disk of whole blocks of 4096, from 64K to 1024G"));
        }
        if disk_bytes.is_some() && mode != Mode::Remus {
            return Err(missing("mode=remus: a guest with a disk is not run beside its image"));
        }
        let load = self.load.unwrap_or_else(|| "mixed".into());
        let fence = self.fence.unwrap_or_default();
        Ok(LabGuestConfig { name, memory_bytes, mac, ip, disk_bytes, load, peer, mode, fence })
    }

    fn check_no_xen(&self, name: &str) -> Result<(), ConfigError> {
        let given = [
            ("interval", self.interval.is_some()),
            ("pacing", self.pacing.is_some()),
            ("find-changes", self.find_changes.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((key, _)) => Err(ConfigError::Conflict(format!(
                "Guest {name}: {key} is for guests of Xen; give --hypervisor xen"
            ))),
        }
    }
}

/// Six hex pairs with colons, not a group's address and not that of nobody.
fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut pairs = text.split(':');
    for byte in &mut mac {
        let pair = pairs.next().filter(|pair| pair.len() == 2 && !pair.starts_with('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    (pairs.next().is_none() && mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(names: &[&str]) -> Peers {
        let address: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
        names.iter().map(|name| (NodeName((*name).into()), vec![address.into()])).collect()
    }

    #[test]
    fn a_guest_is_read_from_one_flag() {
        let text = "name=g1,memory=64M,mac=52:54:00:00:00:0a,ip=10.77.0.11,load=idle";
        let guest = text.parse::<GuestSettings>().unwrap().decide_lab(&peers(&["b"])).unwrap();
        assert_eq!((guest.memory_bytes, guest.mac[5], guest.load.as_str()), (64 << 20, 10, "idle"));
        assert_eq!(guest.peer.0, "b");
    }

    #[test]
    fn a_guest_that_cannot_be_is_refused_with_its_reason() {
        for (text, names, reason) in [
            ("name=g,mac=52:54:00:00:00:01,ip=10.0.0.1", &[][..], "give --peer"),
            ("name=g,mac=52:54:00:00:00:01,ip=10.0.0.1", &["b", "c"], "several peers"),
            ("name=g,mac=52:54:00:00:00:01,ip=10.0.0.1,peer=d", &["b"], "d is not"),
            ("name=g,mac=53:54:00:00:00:01,ip=10.0.0.1", &["b"], "unicast mac"),
            ("name=g,mac=52:54:00:00:00,ip=10.0.0.1", &["b"], "unicast mac"),
            ("name=g,mac=00:00:00:00:00:00,ip=10.0.0.1", &["b"], "unicast mac"),
            ("name=g,mac=52:54:00:00:00:01,ip=255.255.255.255", &["b"], "is no host's"),
            ("name=g,mac=52:54:00:00:00:01,ip=224.0.0.1", &["b"], "is no host's"),
            ("name=g,mac=52:54:00:00:00:01,ip=127.0.0.1", &["b"], "is no host's"),
            ("name=g,mac=52:54:00:00:00:01,ip=0.0.0.0", &["b"], "is no host's"),
            ("name=-rf,mac=52:54:00:00:00:01,ip=10.0.0.1", &["b"], "no '-' or '.' at the beginning"),
            ("name=g,ip=10.0.0.1", &["b"], "needs a mac"),
            ("name=g,mac=52:54:00:00:00:01,ip=10.0.0.1,memory=5000", &["b"], "whole pages"),
            ("mac=52:54:00:00:00:01,ip=10.0.0.1", &["b"], "needs a name"),
        ] {
            let error =
                text.parse::<GuestSettings>().unwrap().decide_lab(&peers(names)).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
