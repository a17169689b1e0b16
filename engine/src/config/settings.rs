//! What may be said about a node, with everything optional: one struct, read by clap and by serde, merged layer
//! over layer, then decided.

use super::colo::ColoSettings;
use super::fit::{check_taps, one_service_per_address};
use super::human::parse_address;
use super::lab::LabSettings;
use super::named::{Hypervisor, Peer, Peers};
use super::tables::{LimitSettings, TimingSettings};
use super::text::{address_from_text, addresses_from_text, parse_peer, peers_from_table, witness_from_text};
use super::witness::{EtcdSettings, WitnessAddress, WitnessConfig};
use super::{ConfigError, GuestSettings, NodeConfig, deprecated, guest};
use crate::connection::Transport;
use crate::names::check_new_name;
use crate::trust::WITNESS;
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use understudy_session::NodeName;

/// Where a node is reached unless it is told otherwise.
pub const CONTROL_PATH: &str = "/run/understudy/control.sock";

/// Where a node keeps what outlives it unless it is told otherwise.
pub const STATE_PATH: &str = "/var/lib/understudy-node";

/// The configuration of a host's node that nobody has named.
pub const CONFIG_PATH: &str = "/etc/understudy/node.toml";

/// Nobody has more networks between two hosts, and each takes a connection of its own while a peer is looked for.
const ADDRESSES_MAX: usize = 8;

/// A configuration with a thousand guests is shorter.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What may be said about a node, by flag or in the file.
#[derive(clap::Args, Deserialize, Clone, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Name of this node, unique among the nodes that share a witness.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Where peers connect to; repeatable, one for each network.
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    #[serde(deserialize_with = "addresses_from_text")]
    pub listen: Vec<SocketAddr>,
    /// A peer and where it listens, the preferred network first; with @FROM it is reached from that address of this host. Repeatable. In
    /// the file: table `peers`.
    #[arg(long = "peer", value_name = "NAME=ADDR[@FROM],…", value_parser = parse_peer)]
    #[serde(deserialize_with = "peers_from_table")]
    pub peers: Vec<Peer>,
    /// Where the witness listens, or etcd as witness: etcd://ADDR,…[/PREFIX]. Without a witness no takeover happens by itself.
    #[arg(long, value_name = "ADDR")]
    #[serde(deserialize_with = "witness_from_text")]
    pub witness: Option<WitnessAddress>,
    /// Directory of this node's certificate and of those that it trusts: links and the witness are reached over mutual
    /// TLS, and so may be on other machines.
    #[arg(long, value_name = "DIR")]
    pub tls: Option<PathBuf>,
    /// Path of the local control socket that `status` and the other commands talk to; two nodes of one host need two
    /// [default: /run/understudy/control.sock].
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Directory of what this node keeps over restarts: whether it is in maintenance [default: /var/lib/understudy-node].
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where to serve Prometheus metrics (HTTP, /metrics).
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    #[serde(deserialize_with = "address_from_text")]
    pub metrics: Option<SocketAddr>,
    /// Socket of the Ethernet switch that lab guests are plugged into.
    #[arg(long, value_name = "PATH")]
    pub uplink: Option<PathBuf>,
    /// Lab guests' network cards are TAP devices of this host instead, each called PREFIX and its guest's name.
    #[arg(long, value_name = "PREFIX")]
    pub taps: Option<String>,
    /// What the lab does to guests that run here. In the file: table `lab`.
    #[command(flatten)]
    pub lab: LabSettings,
    /// What etcd asks of its clients. In the file: table `etcd`.
    #[command(flatten)]
    pub etcd: EtcdSettings,
    /// How copies that run are used. In the file: table `colo`.
    #[command(flatten)]
    pub colo: ColoSettings,
    /// Times. In the file: table `timing`.
    #[command(flatten)]
    pub timing: TimingSettings,
    /// Bounds. In the file: table `limits`.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// What runs guests on this host [default: lab].
    #[arg(long, value_name = "WHAT")]
    pub hypervisor: Option<Hypervisor>,
    /// A guest to protect; repeatable. In the file: tables `guest`. Keys: name, peer, mode (remus, colo, auto); of a lab guest,
    /// which the node starts: memory, mac, ip, disk, load; of a Xen guest, whenever it runs here: interval, pacing=output and budgets,
    /// find-changes.
    #[arg(long = "guest", alias = "domain", value_name = "KEY=VALUE,…")]
    #[serde(rename = "guest", alias = "domain")]
    pub guests: Vec<GuestSettings>,
}

impl Settings {
    /// Reads a TOML file; unknown keys are refused.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        // One byte more than is taken: whoever names a device or a disk image is told so, and waits for nothing.
        let mut file = File::open(path).map_err(failed)?.take(FILE_BYTES_MAX + 1);
        file.read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(ConfigError::FileTooLong(path.to_owned()));
        }
        for warning in deprecated::in_file(&text) {
            tracing::warn!("{}: {warning}", path.display());
        }
        toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), reason: error.to_string() })
    }

    /// These settings, and `below` where nothing is said here. Lists are not mixed: one given here replaces.
    pub fn over(self, below: Self) -> Self {
        fn list<T>(here: Vec<T>, below: Vec<T>) -> Vec<T> {
            if here.is_empty() { below } else { here }
        }
        Self {
            node: self.node.or(below.node),
            listen: list(self.listen, below.listen),
            peers: list(self.peers, below.peers),
            witness: self.witness.or(below.witness),
            tls: self.tls.or(below.tls),
            control: self.control.or(below.control),
            state: self.state.or(below.state),
            metrics: self.metrics.or(below.metrics),
            uplink: self.uplink.or(below.uplink),
            taps: self.taps.or(below.taps),
            lab: self.lab.over(below.lab),
            etcd: self.etcd.over(below.etcd),
            colo: self.colo.over(below.colo),
            timing: self.timing.over(below.timing),
            limits: self.limits.over(below.limits),
            hypervisor: self.hypervisor.or(below.hypervisor),
            guests: list(self.guests, below.guests),
        }
    }

    /// What connections there are.
    pub fn transport(&self) -> Transport {
        self.tls.clone().map_or(Transport::PlainLoopback, |directory| Transport::Tls { directory })
    }

    /// Fills in the defaults and checks everything that can be checked without touching the system.
    pub fn decide(self) -> Result<NodeConfig, ConfigError> {
        let transport = self.transport();
        let node = self.node.ok_or(ConfigError::Missing("node"))?;
        check_new_name(&node)?;
        if transport != Transport::PlainLoopback && node == WITNESS {
            return Err(ConfigError::Conflict(format!(
                "{WITNESS} is the name of the witness's certificate; give this node another name"
            )));
        }
        let mut peers = Peers::new();
        for Peer { name, addresses } in self.peers {
            if name.0 == node {
                return Err(ConfigError::Conflict(format!("{node} is this node; it cannot be its own peer")));
            }
            if addresses.len() > ADDRESSES_MAX {
                return Err(ConfigError::Conflict(format!(
                    "Peer {name} has more than {ADDRESSES_MAX} addresses"
                )));
            }
            addresses.iter().try_for_each(|address| transport.admit(address.remote).map(drop))?;
            if peers.insert(name.clone(), addresses).is_some() {
                return Err(ConfigError::Conflict(format!(
                    "Peer {name} is given twice; several addresses of one peer stand in one list"
                )));
            }
        }
        if self.listen.is_empty() {
            return Err(ConfigError::Missing("listen"));
        }
        if self.listen.len() > ADDRESSES_MAX {
            return Err(ConfigError::Conflict(format!(
                "There are more than {ADDRESSES_MAX} addresses to listen on"
            )));
        }
        self.listen.iter().try_for_each(|address| transport.admit(*address).map(drop))?;
        let witness = WitnessConfig::decide(self.witness, self.etcd, &transport)?;
        one_service_per_address(&self.listen, witness.as_ref().and_then(WitnessConfig::own), &peers)?;
        self.taps.as_deref().map_or(Ok(()), check_taps)?;
        let hypervisor = self.hypervisor.unwrap_or_default();
        if self.taps.is_some() && (self.uplink.is_some() || hypervisor == Hypervisor::Xen) {
            return Err(ConfigError::Conflict(
                "Taps are for lab guests that are on no switch: give taps, uplink, or hypervisor xen".into(),
            ));
        }
        let timing = self.timing.decide()?;
        let node = NodeName(node);
        let guests = guest::decide_all(self.guests, hypervisor, &peers, timing.pacing)?;
        if witness.is_none() && guests.needs_lease() {
            return Err(ConfigError::Conflict(
                "fence=log and fence=enforce need a witness, which keeps this host's lease; give --witness"
                    .into(),
            ));
        }
        Ok(NodeConfig {
            lab_disks: self.lab.disks.clone(),
            lab: self.lab.decide(&node, hypervisor)?,
            colo: self.colo.decide()?,
            listen: self.listen,
            witness,
            control: self.control.unwrap_or_else(|| CONTROL_PATH.into()),
            state: self.state.unwrap_or_else(|| STATE_PATH.into()),
            metrics: self.metrics,
            uplink: self.uplink,
            taps: self.taps,
            timing,
            limits: self.limits.decide()?,
            transport,
            guests,
            peers,
            node,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_session::Span;
    use understudy_session::primary::{Pacing, SlowPolicy};

    fn settings(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    const WHOLE: &str = r#"
        node = "a"
        listen = "127.0.0.1:7001"
        witness = "127.0.0.1:7000"
        control = "/run/understudy/a.sock"
        [peers]
        b = "127.0.0.1:7002"
        [timing]
        interval = "10ms"
        slow_policy = "unprotect"
        [limits]
        staging = "16M"
        [[guest]]
        name = "g1"
        memory = "256M"
        mac = "52:54:00:00:00:01"
        ip = "10.77.0.11"
    "#;

    #[test]
    fn a_file_decides_what_flags_leave_open() {
        let flags = Settings {
            node: Some("c".into()),
            timing: TimingSettings { link_grace: Some(Span::from_ms(40)), ..TimingSettings::default() },
            ..Settings::default()
        };
        let config = flags.over(settings(WHOLE)).decide().unwrap();
        assert_eq!(config.node.0, "c", "the flag wins");
        assert_eq!(
            config.timing.pacing,
            Pacing::Clock { interval: Span::from_ms(10) },
            "the file wins over the default"
        );
        assert_eq!(config.timing.slow_policy, SlowPolicy::Unprotect);
        assert_eq!(config.timing.takeover_grace, Span::from_ms(100), "the default follows the flag");
        assert_eq!(config.limits.staging_bytes, 16 << 20);
        assert_eq!(config.guests.lab()[0].peer.0, "b", "the only peer is the guest's");
    }

    #[test]
    fn the_file_that_is_shipped_says_what_the_defaults_are() {
        let shipped = settings(include_str!("../../../deploy/node.toml")).decide().unwrap();
        let bare = "node = \"b\"\nlisten = \"127.0.0.1:1\"\ncontrol = \"/x\"";
        let bare = settings(bare).decide().unwrap();
        assert_eq!(shipped.timing, bare.timing);
        assert_eq!(shipped.limits, bare.limits);
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        for text in [
            "nodes = \"a\"",
            "[timing]\nintervall = \"1ms\"",
            "[limits]\nram = \"1M\"",
            "[[guest]]\nnam = \"g\"",
        ] {
            let error = toml::from_str::<Settings>(text).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_reason() {
        for (from, to, reason) in [
            ("127.0.0.1:7002", "192.0.2.1:7002", "mutual TLS"),
            ("b = ", "a = ", "its own peer"),
            ("\"127.0.0.1:7002\"", "[\"127.0.0.1:7002\", \"127.0.0.1:7002\"]", "for peer b and for peer b"),
            ("127.0.0.1:7002", "127.0.0.1:7001", "for this node and for peer b"),
            ("127.0.0.1:7002", "127.0.0.1:7000", "for the witness and for peer b"),
            ("127.0.0.1:7000", "127.0.0.1:7001", "for this node and for the witness"),
            ("control", "taps = \"fifteen-letters\"\ncontrol", "a shorter prefix"),
            ("control", "taps = \"a/\"\ncontrol", "a shorter prefix"),
            ("\"a\"", "\"../a\"", "usable name"),
            ("[timing]", "[timing]\nsilence_max = \"60ms\"", "three heartbeats"),
            ("[timing]", "[timing]\ntakeover_grace = \"1ms\"", "longer than link-grace"),
            ("\"16M\"", "\"4K\"", "from 1.0 MiB"),
            ("\"16M\"", "\"2048G\"", "to 1024.0 GiB"),
            ("\"10ms\"", "\"0ms\"", "interval is 0ns"),
            ("\"10ms\"", "\"18446744073709551615ns\"", "to 60s"),
            ("[timing]", "[timing]\nhold_max = \"0s\"", "hold-max is 0ns"),
            ("[timing]", "[timing]\nheartbeat = \"0s\"", "heartbeat is 0ns"),
            ("[limits]", "[limits]\nin_flight_max = 4000000000", "in-flight-max is 4000000000"),
            ("[limits]", "[limits]\nin_flight_max = 0", "in-flight-max is 0"),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            let error = settings(&text).decide().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
