//! A lab guest as it may be asked for: `--guest name=g1,memory=256M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=mixed`.

use super::human::parse_size;
use super::{ConfigError, check_new_name};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use understudy_session::NodeName;

/// Memory of a guest that says nothing.
const MEMORY_BYTES_DEFAULT: u64 = 256 << 20;
/// A guest needs room for its tables and its key-value store.
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Pfns are bounded long before this; more is a slip of the pen.
const MEMORY_BYTES_MAX: u64 = 1 << 40;

/// What a load is made of, in the lab's words: these may follow `load=…` in a flag.
const LOAD_KEYS: [&str; 4] = ["rate", "set", "skew", "content"];

/// A guest as a flag or a `[[guest]]` table gives it.
#[derive(Deserialize, Clone, Default, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct GuestSettings {
    /// Its name, unique among all guests that share a witness.
    pub name: Option<String>,
    /// Its memory, such as `256M`.
    pub memory: Option<String>,
    /// Its Ethernet address.
    pub mac: Option<String>,
    /// Its IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// How it uses its memory; the lab knows the names.
    pub load: Option<String>,
    /// Which peer holds its copy; needed only if there are several.
    pub peer: Option<String>,
}

/// A guest, decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestConfig {
    /// Its name.
    pub name: String,
    /// Its memory in bytes, whole pages.
    pub memory_bytes: u64,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub ip: Ipv4Addr,
    /// How it uses its memory.
    pub load: String,
    /// Which peer holds its copy.
    pub peer: NodeName,
}

impl FromStr for GuestSettings {
    type Err = String;

    /// Reads `key=value,key=value`; each key once. Settings of the load follow it.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut guest = Self::default();
        let mut last_key = "";
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not KEY=VALUE"))?;
            if LOAD_KEYS.contains(&key) {
                let load = guest.load.as_mut().filter(|_| last_key == "load").ok_or_else(|| {
                    format!(
                        "{key} is a setting of the load; write it right after that, as in load=mixed,{pair}"
                    )
                })?;
                load.push_str(&format!(",{pair}"));
                continue;
            }
            guest.put(key, value)?;
            last_key = key;
        }
        Ok(guest)
    }
}

impl GuestSettings {
    fn put(&mut self, key: &str, value: &str) -> Result<(), String> {
        let slot = match key {
            "name" => &mut self.name,
            "memory" => &mut self.memory,
            "mac" => &mut self.mac,
            "load" => &mut self.load,
            "peer" => &mut self.peer,
            "ip" => {
                let ip = value.parse().map_err(|_| format!("{value:?} is not an IPv4 address"))?;
                return given_once(key, self.ip.replace(ip).is_some());
            }
            _ => return Err(format!("{key:?} is not one of name, memory, mac, ip, load, peer")),
        };
        given_once(key, slot.replace(value.to_owned()).is_some())
    }
}

fn given_once(key: &str, was_there: bool) -> Result<(), String> {
    if was_there { Err(format!("{key} is given twice")) } else { Ok(()) }
}

/// Decides all guests of a node that has these peers.
pub(super) fn decide_all(
    settings: Vec<GuestSettings>,
    peers: &BTreeMap<NodeName, SocketAddr>,
) -> Result<Vec<GuestConfig>, ConfigError> {
    let mut guests = Vec::<GuestConfig>::with_capacity(settings.len());
    for guest in settings {
        let guest = guest.decide(peers)?;
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
    fn decide(self, peers: &BTreeMap<NodeName, SocketAddr>) -> Result<GuestConfig, ConfigError> {
        let name = self.name.ok_or_else(|| ConfigError::Conflict("A guest needs a name".into()))?;
        check_new_name(&name)?;
        let missing = |what| ConfigError::Conflict(format!("Guest {name} needs {what}"));
        let mac = self.mac.ok_or_else(|| missing("a mac, such as mac=52:54:00:00:00:01"))?;
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
        let peer = match self.peer {
            Some(peer) if peers.contains_key(&NodeName(peer.clone())) => NodeName(peer),
            Some(peer) => return Err(missing(&format!("a peer that is configured; {peer} is not"))),
            None if peers.len() == 1 => peers.keys().next().expect("one peer").clone(),
            None if peers.is_empty() => return Err(missing("a peer to be protected by; give --peer")),
            None => return Err(missing("peer=NAME, since there are several peers")),
        };
        let load = self.load.unwrap_or_else(|| "mixed".into());
        Ok(GuestConfig { name, memory_bytes, mac, ip, load, peer })
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

    fn peers(names: &[&str]) -> BTreeMap<NodeName, SocketAddr> {
        names.iter().map(|name| (NodeName((*name).into()), "127.0.0.1:1".parse().unwrap())).collect()
    }

    #[test]
    fn a_guest_is_read_from_one_flag() {
        let text = "name=g1,memory=64M,mac=52:54:00:00:00:0a,ip=10.77.0.11,load=idle";
        let guest = text.parse::<GuestSettings>().unwrap().decide(&peers(&["b"])).unwrap();
        assert_eq!((guest.memory_bytes, guest.mac[5], guest.load.as_str()), (64 << 20, 10, "idle"));
        assert_eq!(guest.peer.0, "b");
    }

    #[test]
    fn a_load_of_several_settings_is_read_from_a_flag() {
        for (text, load) in [
            ("load=mixed,set=16M,name=g", "mixed,set=16M"),
            ("name=g,load=rate=5000,set=1G,skew=0.9,content=text", "rate=5000,set=1G,skew=0.9,content=text"),
        ] {
            let guest = text.parse::<GuestSettings>().unwrap();
            assert_eq!((guest.load.as_deref(), guest.name.as_deref()), (Some(load), Some("g")));
        }
        for text in ["set=16M", "load=mixed,name=g,set=16M", "name=g,rate=5"] {
            assert!(text.parse::<GuestSettings>().unwrap_err().contains("right after that"), "{text}");
        }
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
            let error = text.parse::<GuestSettings>().unwrap().decide(&peers(names)).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        for text in ["", "name", "name=a,name=b", "ip=10.0.0.1,ip=10.0.0.1", "ip=x", "nam=a"] {
            assert!(text.parse::<GuestSettings>().is_err(), "{text}");
        }
    }
}
