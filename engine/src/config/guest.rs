//! A guest as it may be asked for, by `--guest` or a `[[guest]]` table; what runs guests on the node says of which kind it is.
//!
//! ```text
//!   name=g1,memory=256M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=mixed ─► of the lab, which starts it   ([`lab`])
//!   name=web,peer=b,find-changes=compare ───────────────────────────────► of Xen, where it runs         ([`xen`])
//! ```
//!
//! A key of the other kind is refused, not passed over: whoever writes it means another node.

mod fence;
mod lab;
mod mode;
mod xen;

pub use fence::FenceChoice;
pub use lab::LabGuestConfig;
pub use mode::ModeChoice;
pub use xen::{FindChanges, XenGuestConfig};

use super::human::parse_span;
use super::named::Hypervisor;
use super::pacing::{BudgetSettings, budgets_from_text};
use super::pairs::PairError;
use super::text::span_from_text;
use super::{ConfigError, Peers};
use crate::names::check_new_name;
use clap::ValueEnum;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::str::FromStr;
use understudy_session::primary::Pacing;
use understudy_session::{Mode, NodeName, Span};

/// A guest as a flag or a table gives it.
#[derive(Deserialize, Clone, Default, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct GuestSettings {
    /// Its name: unique among all guests that share a witness; of a Xen guest, as `xl list` shows it.
    pub name: Option<String>,
    /// Which peer holds its copy; needed only if there are several.
    pub peer: Option<String>,
    /// How it is protected; else by checkpoints alone.
    pub mode: Option<ModeChoice>,
    /// Whether this host is fenced before the guest is started elsewhere; else not.
    pub fence: Option<FenceChoice>,
    /// Lab: its memory, such as `256M`.
    pub memory: Option<String>,
    /// Lab: its Ethernet address.
    pub mac: Option<String>,
    /// Lab: its IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// Lab: how it uses its memory; the lab knows the names.
    pub load: Option<String>,
    /// Lab: the size of its disk; no disk if it is not said.
    pub disk: Option<String>,
    /// Xen: from the end of one pause to the beginning of the next; else as the node.
    #[serde(deserialize_with = "span_from_text")]
    pub interval: Option<Span>,
    /// Xen: budgets, if checkpoints go by output; else as the node.
    #[serde(deserialize_with = "budgets_from_text")]
    pub pacing: Option<BudgetSettings>,
    /// Xen: how changed pages are found; else in Xen's log.
    pub find_changes: Option<FindChanges>,
}

/// The guests of a node, decided: all of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GuestConfigs {
    /// To start here and to protect.
    Lab(Vec<LabGuestConfig>),
    /// To protect whenever they run here.
    Xen(Vec<XenGuestConfig>),
}

impl GuestConfigs {
    /// Those that the lab starts.
    pub fn lab(&self) -> &[LabGuestConfig] {
        match self {
            Self::Lab(guests) => guests,
            Self::Xen(_) => &[],
        }
    }

    /// Those of Xen, which are looked for.
    pub fn xen(&self) -> &[XenGuestConfig] {
        match self {
            Self::Lab(_) => &[],
            Self::Xen(guests) => guests,
        }
    }

    /// Whether any of them needs a lease of this host.
    pub(super) fn needs_lease(&self) -> bool {
        self.lab().iter().any(|guest| guest.fence != FenceChoice::Off)
            || self.xen().iter().any(|guest| guest.fence != FenceChoice::Off)
    }

    /// The name of one of them.
    pub fn first_name(&self) -> Option<&str> {
        match self {
            Self::Lab(guests) => guests.first().map(|guest| guest.name.as_str()),
            Self::Xen(guests) => guests.first().map(|guest| guest.name.as_str()),
        }
    }
}

impl FromStr for GuestSettings {
    type Err = PairError;

    /// Reads `key=value,key=value`; each key once. Settings of the load follow it.
    fn from_str(text: &str) -> Result<Self, PairError> {
        let mut guest = Self::default();
        let mut last_key = "";
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| PairError::NoPair(pair.to_owned()))?;
            if lab::LOAD_KEYS.contains(&key) {
                let misplaced = || PairError::NotBehindLoad { key: key.to_owned(), pair: pair.to_owned() };
                let load = guest.load.as_mut().filter(|_| last_key == "load").ok_or_else(misplaced)?;
                load.push_str(&format!(",{pair}"));
                continue;
            }
            if guest.put(key, value)? {
                return Err(PairError::Twice(key.to_owned()));
            }
            last_key = key;
        }
        Ok(guest)
    }
}

impl GuestSettings {
    /// Takes one `key=value`; whether the key was given before.
    fn put(&mut self, key: &str, value: &str) -> Result<bool, PairError> {
        let slot = match key {
            "name" => &mut self.name,
            "peer" => &mut self.peer,
            "memory" => &mut self.memory,
            "mac" => &mut self.mac,
            "load" => &mut self.load,
            "disk" => &mut self.disk,
            "ip" => {
                let ip = value.parse().map_err(|_| PairError::Ip(value.to_owned()))?;
                return Ok(self.ip.replace(ip).is_some());
            }
            "interval" => {
                return Ok(self.interval.replace(parse_span(value)?).is_some());
            }
            "mode" => {
                let mode =
                    ModeChoice::from_str(value, false).map_err(|_| PairError::Mode(value.to_owned()))?;
                return Ok(self.mode.replace(mode).is_some());
            }
            "fence" => {
                let fence =
                    FenceChoice::from_str(value, false).map_err(|_| PairError::Fence(value.to_owned()))?;
                return Ok(self.fence.replace(fence).is_some());
            }
            "find-changes" => {
                let how = FindChanges::from_str(value, false)
                    .map_err(|_| PairError::FindChanges(value.to_owned()))?;
                return Ok(self.find_changes.replace(how).is_some());
            }
            "pacing" if value == "output" => {
                let is_given_twice = self.pacing.is_some();
                self.pacing.get_or_insert_default();
                return Ok(is_given_twice);
            }
            _ if BudgetSettings::KEYS.contains(&key) => {
                return self.pacing.get_or_insert_default().set(key, value);
            }
            _ => {
                let keys = format!(
                    "name, peer, mode, fence; of a lab guest: memory, mac, ip, disk, load; of a Xen guest: find-changes, interval, \
                     pacing=output, {}",
                    BudgetSettings::KEYS.join(", ")
                );
                return Err(PairError::UnknownKey { key: key.to_owned(), keys });
            }
        };
        Ok(slot.replace(value.to_owned()).is_some())
    }

    fn decide_mode(&self) -> Mode {
        self.mode.map(Mode::from).unwrap_or_default()
    }

    fn checked_name(&self) -> Result<&str, ConfigError> {
        let name = self.name.as_deref();
        let name = name.ok_or_else(|| ConfigError::Conflict("A guest needs a name".into()))?;
        check_new_name(name)?;
        Ok(name)
    }

    /// The peer that is to hold its copy.
    fn decide_peer(&self, name: &str, peers: &Peers) -> Result<NodeName, ConfigError> {
        let needs = |what: &str| Err(ConfigError::Conflict(format!("Guest {name} needs {what}")));
        match &self.peer {
            Some(peer) if peers.contains_key(&NodeName(peer.clone())) => Ok(NodeName(peer.clone())),
            Some(peer) => needs(&format!("a configured peer; {peer} is not configured")),
            None if peers.len() == 1 => Ok(peers.keys().next().expect("one peer").clone()),
            None if peers.is_empty() => needs("a peer to be protected by; give --peer"),
            None => needs("peer=NAME, since there are several peers"),
        }
    }
}

/// Decides the guests of a node: of this kind, with these peers, and with this pacing where their own is not said.
pub(super) fn decide_all(
    guests: Vec<GuestSettings>,
    hypervisor: Hypervisor,
    peers: &Peers,
    pacing: Pacing,
) -> Result<GuestConfigs, ConfigError> {
    let mut names = BTreeSet::new();
    if let Some(name) =
        guests.iter().filter_map(|guest| guest.name.as_deref()).find(|name| !names.insert(*name))
    {
        // Which of them is meant nobody can say: their peers and budgets may differ.
        return Err(ConfigError::Conflict(format!("Guest {name} is given twice")));
    }
    match hypervisor {
        Hypervisor::Lab => lab::decide_all(guests, peers).map(GuestConfigs::Lab),
        Hypervisor::Xen => {
            let guests = guests.into_iter().map(|guest| guest.decide_xen(peers, pacing));
            guests.collect::<Result<_, _>>().map(GuestConfigs::Xen)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(
                text.parse::<GuestSettings>().unwrap_err().to_string().contains("right after that"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_setting_of_a_guest_is_refused() {
        for (text, reason) in [
            ("", "not KEY=VALUE"),
            ("name", "not KEY=VALUE"),
            ("name=a,name=b", "twice"),
            ("ip=10.0.0.1,ip=10.0.0.1", "twice"),
            ("interval=1s,interval=1s", "twice"),
            ("ip=x", "not an IPv4 address"),
            ("find-changes=guess", "not one of log, compare"),
            ("mode=fast", "not one of remus, colo, auto"),
            ("pacing=clock", "pacing=output"),
            ("nam=a", "not one of name, peer"),
            ("size=3", "not one of name, peer"),
        ] {
            let error = text.parse::<GuestSettings>().unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_guest_is_given_once() {
        let address: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
        let peers = Peers::from(
            [("b", address), ("c", address)].map(|(name, at)| (NodeName(name.into()), vec![at.into()])),
        );
        let pacing = Pacing::Clock { interval: Span::from_ms(25) };
        let lab = [
            "name=g,peer=b,mac=52:54:00:00:00:01,ip=10.0.0.1",
            "name=g,peer=b,mac=52:54:00:00:00:02,ip=10.0.0.2",
        ];
        for (guests, hypervisor) in
            [(lab, Hypervisor::Lab), (["name=g,peer=b", "name=g,peer=c"], Hypervisor::Xen)]
        {
            let guests = guests.map(|text| text.parse().unwrap()).to_vec();
            let error = decide_all(guests, hypervisor, &peers, pacing).unwrap_err().to_string();
            assert!(error.contains("Guest g is given twice"), "{error}");
        }
    }

    #[test]
    fn settings_of_the_other_kind_are_refused() {
        let address: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
        let peers = Peers::from([(NodeName("b".into()), vec![address.into()])]);
        let decide = |text: &str, hypervisor| {
            let pacing = Pacing::Clock { interval: Span::from_ms(25) };
            decide_all(vec![text.parse().unwrap()], hypervisor, &peers, pacing)
        };
        let lab = "name=g,mac=52:54:00:00:00:01,ip=10.0.0.1";
        assert!(matches!(decide(lab, Hypervisor::Lab), Ok(GuestConfigs::Lab(guests)) if guests.len() == 1));
        assert!(
            matches!(decide("name=g", Hypervisor::Xen), Ok(GuestConfigs::Xen(guests)) if guests.len() == 1)
        );
        for (key, setting) in [
            ("interval", "interval=1s"),
            ("pacing", "pacing=output"),
            ("pacing", "pause-share=10%"),
            ("find-changes", "find-changes=log"),
        ] {
            let error = decide(&format!("{lab},{setting}"), Hypervisor::Lab).unwrap_err().to_string();
            assert!(error.contains(&format!("{key} is for guests of Xen; give --hypervisor xen")), "{error}");
        }
        for (key, setting) in [
            ("memory", "memory=1M"),
            ("mac", "mac=52:54:00:00:00:01"),
            ("ip", "ip=10.0.0.1"),
            ("load", "load=idle"),
            ("disk", "disk=1M"),
        ] {
            let error = decide(&format!("name=g,{setting}"), Hypervisor::Xen).unwrap_err().to_string();
            assert!(error.contains(&format!("{key} is for guests of the lab")), "{error}");
        }
    }
}
