//! A world with a running hub, and with the same service in both guests.

use crate::counters::Counters;
use crate::guest::Guest;
use crate::hub::{Between, Hub, Order, Seen};
use crate::knobs::Knobs;
use crate::pair::Pair;
use crate::place::{Place, Service};
use crate::skew::Skew;
use crate::wire::Wire;
use crate::world::{Taps, World};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use understudy_colo::packet::Side;
use understudy_netbuf::kernel::KernelError;
use understudy_tests::drivers::rng::Rng;

/// A service listens after at most this long.
const START_MAX: Duration = Duration::from_secs(20);

/// See the head of this file.
pub(crate) struct Stage {
    pub(crate) world: World,
    hub: JoinHandle<Result<Seen, KernelError>>,
    orders: Sender<Order>,
}

impl Stage {
    pub(crate) fn new(knobs: &Knobs) -> Result<Self, String> {
        let (world, taps) = World::new(knobs.offloads)?;
        for place in [&world.client, &world.primary, &world.secondary] {
            let flag = |is_on: bool| if is_on { "1" } else { "0" };
            place.set("ipv4/tcp_timestamps", flag(knobs.timestamps))?;
            place.set("ipv4/tcp_sack", flag(knobs.sack))?;
            place.set("ipv4/tcp_ecn", flag(knobs.ecn))?;
        }
        let (orders, heard) = channel();
        let hub = hub(taps, knobs);
        Ok(Self { world, hub: std::thread::spawn(move || hub.run(&heard)), orders })
    }

    /// Starts it in both guests: the primary's, the copy's. `directory` is for this stage alone.
    pub(crate) fn start(&self, guest: Guest, directory: &Path) -> Result<[Service; 2], String> {
        let World { primary, secondary, .. } = &self.world;
        let services = [
            guest.start(primary, &directory.join("primary"))?,
            guest.start(secondary, &directory.join("secondary"))?,
        ];
        self.wait_listening(guest.port())?;
        Ok(services)
    }

    pub(crate) fn wait_listening(&self, port: u16) -> Result<(), String> {
        [&self.world.primary, &self.world.secondary]
            .into_iter()
            .try_for_each(|place| wait_listening(place, port))
    }

    pub(crate) fn kill_primary(&self) {
        // A hub that has ended says why at the end.
        let _ = self.orders.send(Order::Kill);
    }

    /// Ends the hub. The counters are those of the client, the primary, the copy.
    pub(crate) fn finish(self) -> Result<(Seen, [Counters; 3]), String> {
        let World { client, primary, secondary } = &self.world;
        let counters = [Counters::read(client)?, Counters::read(primary)?, Counters::read(secondary)?];
        drop(self.orders);
        let seen = self.hub.join().map_err(|_| "the hub panicked".to_owned())?;
        Ok((seen.map_err(|error| error.to_string())?, counters))
    }
}

fn hub(taps: Taps, knobs: &Knobs) -> Hub {
    let mut rng = Rng::new(knobs.seed ^ 0xC010);
    let skew = |(shift, timestamp), side| Skew::new(shift, timestamp, side);
    let [client, primary, copy] = knobs.skews;
    let between = Between {
        client: skew(client, Side::World),
        primary: skew(primary, Side::Guest),
        copy: skew(copy, Side::Guest),
        up: Wire::new(knobs.wire, rng.bits()),
        down: Wire::new(knobs.wire, rng.bits()),
        mirror: Wire::new(knobs.mirror, rng.bits()),
    };
    let pair = Pair::new(Instant::now(), rng.bits(), knobs.mirror.delay, knobs.mutant);
    Hub::new(taps, between, pair)
}

/// Waits until somebody listens at a TCP port, without connecting to it.
fn wait_listening(place: &Place, port: u16) -> Result<(), String> {
    let began = Instant::now();
    while began.elapsed() < START_MAX {
        if place.run(move || is_listening(port)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(format!("nobody listens at port {port}"))
}

/// A line of proc_net_tcp(5): number, local address and port, remote ones, state; 0A: it listens.
fn is_listening(port: u16) -> bool {
    let tables = ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")));
    let is_it = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().unwrap_or_default();
        local.ends_with(&format!(":{port:04X}")) && words.nth(1) == Some("0A")
    };
    tables.iter().flatten().any(|table| table.lines().any(is_it))
}
