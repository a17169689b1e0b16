//! How the three processes reach each other: addresses of this drill alone, and relays where the plan cuts.
//!
//! ```text
//!   127.x.y.z, from the drill's process number: witness :7000   host A :7001   host B :7002
//!
//!   A ──[A→B]──► B        B ──[B→A]──► A        A ──[A→W]──► witness        B ──[B→W]──► witness
//!        each [relay] has two gates: onward and back
//! ```
//!
//! Fixed ports on an address of its own are free, also for a process that comes back, which a port that was
//! found free a moment ago need not be.

use super::error::DrillError;
use super::plan::Cut;
use super::relay::{Gate, Relay};
use super::sightings::HostId;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const WITNESS_PORT: u16 = 7000;
const HOST_A_PORT: u16 = 7001;
const HOST_B_PORT: u16 = 7002;

/// Addresses, and relays if there are any.
#[derive(Debug)]
pub struct Wires {
    ip: IpAddr,
    relays: Option<Relays>,
}

#[derive(Debug)]
struct Relays {
    a_to_b: Relay,
    b_to_a: Relay,
    a_to_witness: Relay,
    b_to_witness: Relay,
}

impl Wires {
    /// Lays the wires; with relays if anything will be cut.
    pub fn lay(with_relays: bool) -> Result<Self, DrillError> {
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        // 127.64.0.0 and above: nobody's habit. Process numbers are below 2^22.
        let mut wires = Self { ip: Ipv4Addr::new(127, 64 | high, middle, low).into(), relays: None };
        if with_relays {
            let relay = |target| Relay::start(target).map_err(DrillError::system("start a relay"));
            wires.relays = Some(Relays {
                a_to_b: relay(wires.host(HostId::B))?,
                b_to_a: relay(wires.host(HostId::A))?,
                a_to_witness: relay(wires.witness())?,
                b_to_witness: relay(wires.witness())?,
            });
        }
        Ok(wires)
    }

    /// Where the witness listens.
    pub fn witness(&self) -> SocketAddr {
        SocketAddr::new(self.ip, WITNESS_PORT)
    }

    /// Where a host listens.
    pub fn host(&self, host: HostId) -> SocketAddr {
        let port = match host {
            HostId::A => HOST_A_PORT,
            HostId::B => HOST_B_PORT,
        };
        SocketAddr::new(self.ip, port)
    }

    /// Where `host` dials to reach the other host.
    pub fn peer_of(&self, host: HostId) -> SocketAddr {
        match (&self.relays, host) {
            (None, _) => self.host(host.other()),
            (Some(relays), HostId::A) => relays.a_to_b.listen,
            (Some(relays), HostId::B) => relays.b_to_a.listen,
        }
    }

    /// Where `host` dials to reach the witness.
    pub fn witness_of(&self, host: HostId) -> SocketAddr {
        match (&self.relays, host) {
            (None, _) => self.witness(),
            (Some(relays), HostId::A) => relays.a_to_witness.listen,
            (Some(relays), HostId::B) => relays.b_to_witness.listen,
        }
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
        for relay in [&relays.a_to_b, &relays.b_to_a, &relays.a_to_witness, &relays.b_to_witness] {
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
        self.close(&[[&witness.onward, &witness.back]]);
    }
}
