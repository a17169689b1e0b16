//! How the three processes reach each other: addresses of this drill alone, and relays where the plan cuts.
//!
//! ```text
//!   127.x.y.z, from the drill's process number: witness :7000   host A :7001   host B :7002
//!   (an etcd that serves as witness has its own addresses)
//!
//!   A ──[A→B]──► B        B ──[B→A]──► A        A ──[A→W]──► witness        B ──[B→W]──► witness
//!        each [relay] has two gates: onward and back
//! ```
//!
//! Fixed ports on an address of its own are free, also for a process that comes back, which a port that was
//! found free a moment ago need not be.

use super::error::DrillError;
use super::pair::Pair;
use super::plan::Cut;
use super::relay::{Gate, Relay};
use super::sightings::HostId;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const WITNESS_PORT: u16 = 7000;
const HOST_A_PORT: u16 = 7001;
const HOST_B_PORT: u16 = 7002;

/// From where a host listens to where its metrics are.
const TO_METRICS: u16 = 10;

/// Addresses, and relays if there are any.
#[derive(Debug)]
pub struct Wires {
    hosts: [SocketAddr; 2],
    /// Where the drill's own witness listens.
    own_witness: SocketAddr,
    witness: Vec<SocketAddr>,
    relays: Option<Relays>,
}

#[derive(Debug)]
struct Relays {
    a_to_b: Relay,
    b_to_a: Relay,
    /// One for each place where the witness is.
    a_to_witness: Vec<Relay>,
    b_to_witness: Vec<Relay>,
}

impl Wires {
    /// Lays the wires; with relays if anything will be cut. `etcd` are the members of the witness, if it is not our own.
    pub fn lay(with_relays: bool, etcd: Option<&[SocketAddr]>) -> Result<Self, DrillError> {
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        // 127.64.0.0 and above: nobody's habit. Process numbers are below 2^22.
        let ip = IpAddr::from(Ipv4Addr::new(127, 64 | high, middle, low));
        let own_witness = SocketAddr::new(ip, WITNESS_PORT);
        let witness = etcd.map_or_else(|| vec![own_witness], Into::into);
        let hosts = [HOST_A_PORT, HOST_B_PORT].map(|port| SocketAddr::new(ip, port));
        let mut wires = Self { hosts, own_witness, witness, relays: None };
        if with_relays {
            let relay = |target| Relay::start(target).map_err(DrillError::system("start a relay"));
            let to_witness = || wires.witness.iter().map(|at| relay(*at)).collect::<Result<_, _>>();
            wires.relays = Some(Relays {
                a_to_b: relay(wires.host(HostId::B))?,
                b_to_a: relay(wires.host(HostId::A))?,
                a_to_witness: to_witness()?,
                b_to_witness: to_witness()?,
            });
        }
        Ok(wires)
    }

    /// The network between two installed hosts.
    pub fn between(pair: &Pair) -> Self {
        Self { hosts: pair.listen, own_witness: pair.witness, witness: vec![pair.witness], relays: None }
    }

    /// Where the drill's own witness listens.
    pub fn witness(&self) -> SocketAddr {
        self.own_witness
    }

    /// Where a host listens.
    pub fn host(&self, host: HostId) -> SocketAddr {
        match (host, self.hosts) {
            (HostId::A, [a, _]) => a,
            (HostId::B, [_, b]) => b,
        }
    }

    /// Where a host's metrics are, if they are wanted.
    pub fn metrics(&self, host: HostId) -> SocketAddr {
        let at = self.host(host);
        SocketAddr::new(at.ip(), at.port() + TO_METRICS)
    }

    /// Where `host` dials to reach the other host.
    pub fn peer_of(&self, host: HostId) -> SocketAddr {
        match (&self.relays, host) {
            (None, _) => self.host(host.other()),
            (Some(relays), HostId::A) => relays.a_to_b.listen,
            (Some(relays), HostId::B) => relays.b_to_a.listen,
        }
    }

    /// Where `host` dials to reach the witness, in all places where it is.
    pub fn witness_of(&self, host: HostId) -> Vec<SocketAddr> {
        let relays = match (&self.relays, host) {
            (None, _) => return self.witness.clone(),
            (Some(relays), HostId::A) => &relays.a_to_witness,
            (Some(relays), HostId::B) => &relays.b_to_witness,
        };
        relays.iter().map(|relay| relay.listen).collect()
    }

    /// Cuts, seen from the host that is `primary`. Nothing happens without relays.
    pub fn cut(&self, cut: Cut, primary: HostId) {
        let Some(relays) = &self.relays else { return };
        let secondary = primary.other();
        match cut {
            Cut::Hosts => relays.close(&[relays.way_from(primary), relays.way_from(secondary)]),
            Cut::ToSecondary => relays.close(&[relays.way_from(primary)]),
            Cut::ToPrimary => relays.close(&[relays.way_from(secondary)]),
            Cut::Primary => relays.isolate(primary),
            Cut::Secondary => relays.isolate(secondary),
        }
    }

    /// Opens everything.
    pub fn heal(&self) {
        let Some(relays) = &self.relays else { return };
        let between = [&relays.a_to_b, &relays.b_to_a];
        for relay in between.into_iter().chain(&relays.a_to_witness).chain(&relays.b_to_witness) {
            relay.onward.set_open(true);
            relay.back.set_open(true);
        }
    }
}

impl Relays {
    /// The gates that bytes from `host` to the other host pass, on connections dialled by either.
    fn way_from(&self, host: HostId) -> [&Gate; 2] {
        match host {
            HostId::A => [&self.a_to_b.onward, &self.b_to_a.back],
            HostId::B => [&self.b_to_a.onward, &self.a_to_b.back],
        }
    }

    fn close(&self, directions: &[[&Gate; 2]]) {
        directions.iter().flatten().for_each(|gate| gate.set_open(false));
    }

    fn isolate(&self, host: HostId) {
        self.close(&[self.way_from(host), self.way_from(host.other())]);
        let witness = match host {
            HostId::A => &self.a_to_witness,
            HostId::B => &self.b_to_witness,
        };
        witness.iter().for_each(|relay| self.close(&[[&relay.onward, &relay.back]]));
    }
}
