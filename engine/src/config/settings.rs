//! What may be said about a node, with everything optional: one struct, read by clap and by serde, merged layer
//! over layer, then decided.

use super::bounds::{self, check_bytes, check_count, check_span};
use super::human::{parse_size, parse_span};
use super::{ConfigError, DomainSettings, GuestSettings, Limits, NodeConfig, Timing, check_name, guest};
use crate::control::DEFAULT_PATH;
use crate::link::Transport;
use crate::session::primary::SlowPolicy;
use crate::session::{NodeName, Span};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Another node and where it listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its name.
    pub name: NodeName,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What may be said about a node, by flag or in the file.
#[derive(clap::Args, Deserialize, Clone, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Name of this node, unique among the nodes that share a witness.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Where peers connect to.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// A peer and where it listens; repeatable. In the file: table `peers`.
    #[arg(long = "peer", value_name = "NAME=ADDR", value_parser = parse_peer)]
    #[serde(deserialize_with = "peers_from_table")]
    pub peers: Vec<Peer>,
    /// Where the witness listens. Without a witness no takeover happens by itself.
    #[arg(long, value_name = "ADDR")]
    pub witness: Option<SocketAddr>,
    /// Path of the local control socket that `status` and the other commands talk to; two nodes of one host need two
    /// [default: /run/understudy/control.sock].
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Where to serve Prometheus metrics (HTTP, /metrics).
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Socket of the Ethernet switch that lab guests are plugged into.
    #[arg(long, value_name = "PATH")]
    pub uplink: Option<PathBuf>,
    /// Lab guests' network cards are TAP devices of this host instead, each called PREFIX and its guest's name.
    #[arg(long, value_name = "PREFIX")]
    pub taps: Option<String>,
    /// Times. In the file: table `timing`.
    #[command(flatten)]
    pub timing: TimingSettings,
    /// Bounds. In the file: table `limits`.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// What runs guests on this host [default: lab].
    #[arg(long, value_name = "WHAT")]
    pub hypervisor: Option<Hypervisor>,
    /// Lab guests to start and protect. In the file: tables `guest`.
    #[arg(skip)]
    #[serde(rename = "guest")]
    pub guests: Vec<GuestSettings>,
    /// Xen guests to protect. In the file: tables `domain`.
    #[arg(skip)]
    #[serde(rename = "domain")]
    pub domains: Vec<DomainSettings>,
}

/// What runs guests on a host.
#[derive(clap::ValueEnum, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Hypervisor {
    /// The lab: guests live in this process.
    #[default]
    Lab,
    /// Xen.
    Xen,
}

/// Times as they may be given.
#[derive(clap::Args, Deserialize, Clone, Copy, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct TimingSettings {
    /// From the end of one pause to the next [default: 25ms].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub interval: Option<Span>,
    /// A sign of life is sent when nothing else was for this long [default: 50ms].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub heartbeat: Option<Span>,
    /// A peer not heard for this long is lost [default: 300ms].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub silence: Option<Span>,
    /// How long a primary waits for an ended link to come back [default: 100ms].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub grace: Option<Span>,
    /// The same for a secondary; longer than --grace [default: 250ms].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub takeover_grace: Option<Span>,
    /// With neither peer nor witness, output is held this long before the guest is paused [default: 5s].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub hold: Option<Span>,
    /// An unanswered question to the witness is repeated after this long [default: 200ms].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub witness_retry: Option<Span>,
    /// An epoch not acked for this long is slow [default: 2s].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub slow: Option<Span>,
    /// What to do about slow epochs [default: stretch].
    #[arg(long, value_name = "POLICY")]
    pub slow_policy: Option<SlowChoice>,
}

/// [`SlowPolicy`] as it may be given.
#[derive(clap::ValueEnum, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum SlowChoice {
    /// Stay protected; epochs get longer and output waits.
    Stretch,
    /// Go on unprotected, and protect again later.
    Unprotect,
}

/// Bounds as they may be given.
#[derive(clap::Args, Deserialize, Clone, Copy, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Epochs captured and not yet acked, at most [default: 8].
    #[arg(long, value_name = "COUNT")]
    pub in_flight: Option<u32>,
    /// Staging of each protected guest: what one pause can copy [default: 64M].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub staging: Option<u64>,
    /// Shadow of each protected guest, taken as pages come; beyond it they travel whole [default: 256M].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub shadow: Option<u64>,
    /// Buffer of each guest held as secondary: epochs complete and not yet committed [default: 128M].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub epoch_buffer: Option<u64>,
    /// Output of each guest that may wait for acks [default: 32M].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub held_output: Option<u64>,
    /// Memory to compare a guest with (find-changes=compare), as much as it has, at most [default: 1G].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub compare_max: Option<u64>,
    /// Images of all guests held as secondary together, at most [default: what the host has available].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub image_max: Option<u64>,
}

impl Settings {
    /// Reads a TOML file; unknown keys are refused.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
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
            listen: self.listen.or(below.listen),
            peers: list(self.peers, below.peers),
            witness: self.witness.or(below.witness),
            control: self.control.or(below.control),
            metrics: self.metrics.or(below.metrics),
            uplink: self.uplink.or(below.uplink),
            taps: self.taps.or(below.taps),
            timing: self.timing.over(below.timing),
            limits: self.limits.over(below.limits),
            hypervisor: self.hypervisor.or(below.hypervisor),
            guests: list(self.guests, below.guests),
            domains: list(self.domains, below.domains),
        }
    }

    /// Fills in the defaults and checks everything that can be checked without touching the system.
    pub fn decide(self) -> Result<NodeConfig, ConfigError> {
        let transport = Transport::PlainLoopback;
        let node = self.node.ok_or(ConfigError::Missing("node"))?;
        check_name(&node)?;
        let mut peers = BTreeMap::new();
        for Peer { name, address } in self.peers {
            if name.0 == node {
                return Err(ConfigError::Conflict(format!("{node} is this node; it cannot be its own peer")));
            }
            let address = transport.admit(address)?;
            if peers.insert(name.clone(), address).is_some() {
                return Err(ConfigError::Conflict(format!("Peer {name} is given twice")));
            }
        }
        let hypervisor = self.hypervisor.unwrap_or_default();
        if hypervisor == Hypervisor::Lab && !self.domains.is_empty() {
            return Err(ConfigError::Conflict("Domains are Xen's guests; give --hypervisor xen".into()));
        }
        if hypervisor == Hypervisor::Xen && !self.guests.is_empty() {
            return Err(ConfigError::Conflict(
                "Lab guests cannot be started with --hypervisor xen; protect Xen's guests with --domain"
                    .into(),
            ));
        }
        if self.taps.is_some() && (self.uplink.is_some() || hypervisor == Hypervisor::Xen) {
            return Err(ConfigError::Conflict(
                "Taps are for lab guests that are on no switch: give taps, uplink, or hypervisor xen".into(),
            ));
        }
        Ok(NodeConfig {
            hypervisor,
            domains: self
                .domains
                .into_iter()
                .map(|domain| domain.decide(&peers))
                .collect::<Result<_, _>>()?,
            listen: transport.admit(self.listen.ok_or(ConfigError::Missing("listen"))?)?,
            witness: self.witness.map(|address| transport.admit(address)).transpose()?,
            control: self.control.unwrap_or_else(|| DEFAULT_PATH.into()),
            metrics: self.metrics,
            uplink: self.uplink,
            taps: self.taps,
            timing: self.timing.decide()?,
            limits: self.limits.decide()?,
            transport,
            guests: guest::decide_all(self.guests, &peers)?,
            peers,
            node: NodeName(node),
        })
    }
}

impl TimingSettings {
    fn over(self, below: Self) -> Self {
        Self {
            interval: self.interval.or(below.interval),
            heartbeat: self.heartbeat.or(below.heartbeat),
            silence: self.silence.or(below.silence),
            grace: self.grace.or(below.grace),
            takeover_grace: self.takeover_grace.or(below.takeover_grace),
            hold: self.hold.or(below.hold),
            witness_retry: self.witness_retry.or(below.witness_retry),
            slow: self.slow.or(below.slow),
            slow_policy: self.slow_policy.or(below.slow_policy),
        }
    }

    fn decide(self) -> Result<Timing, ConfigError> {
        let grace = self.grace.unwrap_or(Span::from_ms(100));
        let timing = Timing {
            interval: self.interval.unwrap_or(Span::from_ms(25)),
            heartbeat: self.heartbeat.unwrap_or(Span::from_ms(50)),
            silence: self.silence.unwrap_or(Span::from_ms(300)),
            grace,
            takeover_grace: self.takeover_grace.unwrap_or(Span(grace.0.saturating_mul(5) / 2)),
            hold: self.hold.unwrap_or(Span::from_ms(5_000)),
            witness_retry: self.witness_retry.unwrap_or(Span::from_ms(200)),
            slow: self.slow.unwrap_or(Span::from_ms(2_000)),
            slow_policy: match self.slow_policy {
                Some(SlowChoice::Unprotect) => SlowPolicy::Unprotect,
                Some(SlowChoice::Stretch) | None => SlowPolicy::Stretch,
            },
        };
        check_span("interval", timing.interval, bounds::INTERVAL)?;
        check_span("heartbeat", timing.heartbeat, bounds::HEARTBEAT)?;
        check_span("silence", timing.silence, bounds::SILENCE)?;
        check_span("grace", timing.grace, bounds::GRACE)?;
        check_span("takeover-grace", timing.takeover_grace, bounds::TAKEOVER_GRACE)?;
        check_span("hold", timing.hold, bounds::HOLD)?;
        check_span("witness-retry", timing.witness_retry, bounds::WITNESS_RETRY)?;
        check_span("slow", timing.slow, bounds::SLOW)?;
        if timing.silence.0 < timing.heartbeat.0.saturating_mul(3) {
            return Err(ConfigError::Conflict(
                "silence must be at least three heartbeats, or one late packet would be a dead host".into(),
            ));
        }
        if timing.takeover_grace <= timing.grace {
            return Err(ConfigError::Conflict(
                "takeover-grace must be longer than grace, or a cut would move guests between healthy hosts"
                    .into(),
            ));
        }
        Ok(timing)
    }
}

impl LimitSettings {
    fn over(self, below: Self) -> Self {
        Self {
            in_flight: self.in_flight.or(below.in_flight),
            staging: self.staging.or(below.staging),
            shadow: self.shadow.or(below.shadow),
            epoch_buffer: self.epoch_buffer.or(below.epoch_buffer),
            held_output: self.held_output.or(below.held_output),
            compare_max: self.compare_max.or(below.compare_max),
            image_max: self.image_max.or(below.image_max),
        }
    }

    fn decide(self) -> Result<Limits, ConfigError> {
        let default = Limits::default();
        let limits = Limits {
            in_flight_max: self.in_flight.unwrap_or(default.in_flight_max),
            staging_bytes: self.staging.unwrap_or(default.staging_bytes),
            shadow_bytes: self.shadow.unwrap_or(default.shadow_bytes),
            epoch_buffer_bytes: self.epoch_buffer.unwrap_or(default.epoch_buffer_bytes),
            held_output_bytes: self.held_output.unwrap_or(default.held_output_bytes),
            compare_bytes_max: self.compare_max.unwrap_or(default.compare_bytes_max),
            image_bytes_max: self.image_max.unwrap_or(default.image_bytes_max),
        };
        check_count("in-flight", limits.in_flight_max, bounds::IN_FLIGHT)?;
        check_bytes("staging", limits.staging_bytes, bounds::BUFFER_BYTES)?;
        check_bytes("epoch-buffer", limits.epoch_buffer_bytes, bounds::BUFFER_BYTES)?;
        check_bytes("held-output", limits.held_output_bytes, bounds::BUFFER_BYTES)?;
        check_bytes("shadow", limits.shadow_bytes, bounds::CACHE_BYTES)?;
        check_bytes("compare-max", limits.compare_bytes_max, bounds::CACHE_BYTES)?;
        Ok(limits)
    }
}

fn parse_peer(text: &str) -> Result<Peer, String> {
    let (name, address) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=ADDR, such as b=127.0.0.1:7002"))?;
    check_name(name).map_err(|error| error.to_string())?;
    let address = address.parse().map_err(|_| format!("{address:?} is not an address with a port"))?;
    Ok(Peer { name: NodeName(name.to_owned()), address })
}

fn peers_from_table<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Peer>, D::Error> {
    let table = BTreeMap::<String, SocketAddr>::deserialize(from)?;
    for name in table.keys() {
        check_name(name).map_err(serde::de::Error::custom)?;
    }
    Ok(table.into_iter().map(|(name, address)| Peer { name: NodeName(name), address }).collect())
}

pub(super) fn span_from_text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Span>, D::Error> {
    let text = String::deserialize(from)?;
    parse_span(&text).map(Some).map_err(serde::de::Error::custom)
}

fn size_from_text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(from)?;
    parse_size(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            timing: TimingSettings { grace: Some(Span::from_ms(40)), ..TimingSettings::default() },
            ..Settings::default()
        };
        let config = flags.over(settings(WHOLE)).decide().unwrap();
        assert_eq!(config.node.0, "c", "the flag wins");
        assert_eq!(config.timing.interval, Span::from_ms(10), "the file wins over the default");
        assert_eq!(config.timing.slow_policy, SlowPolicy::Unprotect);
        assert_eq!(config.timing.takeover_grace, Span::from_ms(100), "the default follows the flag");
        assert_eq!(config.limits.staging_bytes, 16 << 20);
        assert_eq!(config.guests[0].peer.0, "b", "the only peer is the guest's");
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
            ("\"a\"", "\"../a\"", "usable name"),
            ("[timing]", "[timing]\nsilence = \"60ms\"", "three heartbeats"),
            ("[timing]", "[timing]\ntakeover_grace = \"1ms\"", "longer than grace"),
            ("\"16M\"", "\"4K\"", "from 1.0 MiB"),
            ("\"16M\"", "\"2048G\"", "to 1024.0 GiB"),
            ("\"10ms\"", "\"0ms\"", "interval is 0ns"),
            ("\"10ms\"", "\"18446744073709551615ns\"", "to 60s"),
            ("[timing]", "[timing]\nhold = \"0s\"", "hold is 0ns"),
            ("[timing]", "[timing]\nheartbeat = \"0s\"", "heartbeat is 0ns"),
            ("[limits]", "[limits]\nin_flight = 4000000000", "in-flight is 4000000000"),
            ("[limits]", "[limits]\nin_flight = 0", "in-flight is 0"),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            let error = settings(&text).decide().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
