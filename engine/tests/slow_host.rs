//! A host that takes minutes to build what is to hold one guest's copy, as libxl may: real nodes, threads and links, and a
//! host that goes on when the test says so. Nothing of another guest waits for it.

#[path = "support/address.rs"]
mod address;

use address::free_address;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};
use understudy::config::{NodeConfig, Settings};
use understudy::control::{GuestRole, GuestState, GuestStatus, Status, Wish};
use understudy::guest::{Host, HostError, LabCards, LabHost, NotBuilt, Replica, RunningGuest, Start};
use understudy::node::{Node, NodeHandle};
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Image;
use understudy_lab::Switch;
use understudy_link::HoldRefusal;

/// Guards against hanging; nothing is judged by it.
const HANG: Duration = Duration::from_secs(90);
/// A peer not heard for this long is lost: the host is slow for longer.
const SILENCE: Duration = Duration::from_secs(1);

/// Whether the slow host is busy, and whether it may go on.
#[derive(Default, Debug)]
struct Gate {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        while !state.1 {
            state = self.changed.wait(state).unwrap();
        }
    }
    fn is_busy(&self) -> bool {
        self.state.lock().unwrap().0
    }
    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// A host that builds what is to hold g1 for as long as the gate is shut.
#[derive(Debug)]
struct Slow {
    lab: LabHost,
    gate: Arc<Gate>,
}

impl Host for Slow {
    fn admits(&self, name: &str, what: &Description) -> Result<(), HoldRefusal> {
        self.lab.admits(name, what)
    }
    fn replica(&self, name: &str, what: &Description) -> Option<Box<dyn Replica>> {
        if name == "g1" {
            self.gate.pass();
        }
        self.lab.replica(name, what)
    }
    fn build(&self, start: &Start<'_>, image: Image) -> Result<RunningGuest, NotBuilt> {
        self.lab.build(start, image)
    }
    fn pause_older(&self, name: &str, newest: Generation) -> Result<(), HostError> {
        self.lab.pause_older(name, newest)
    }
    fn end_older(&self, name: &str, newest: Generation) -> Result<(), HostError> {
        self.lab.end_older(name, newest)
    }
}

fn config(dir: &Path, name: &str, listen: SocketAddr, peer: (&str, SocketAddr), guests: usize) -> NodeConfig {
    let mut text = format!(
        "node = \"{name}\"\nlisten = \"{listen}\"\ncontrol = \"{}\"\nuplink = \"{}\"\n[peers]\n{} = \"{}\"\n\
         [timing]\ninterval = \"10ms\"\nsilence_max = \"{}ms\"\n",
        dir.join(format!("{name}.sock")).display(),
        dir.join("switch").display(),
        peer.0,
        peer.1,
        SILENCE.as_millis(),
    );
    for guest in 0..guests {
        text += &format!(
            "[[guest]]\nname = \"g{guest}\"\nmemory = \"8M\"\nmac = \"52:54:00:00:00:{guest:02x}\"\n\
             ip = \"10.77.0.1{guest}\"\nload = \"mixed,rate=500,set=1M\"\n"
        );
    }
    let path = dir.join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    Settings::read(&path).unwrap().decide().unwrap()
}

fn guest<'a>(status: &'a Status, name: &str) -> Option<&'a GuestStatus> {
    status.guests.iter().find(|guest| guest.name == name)
}

fn wait_for(node: &NodeHandle, name: &str, wished: impl Fn(&GuestStatus) -> bool) -> GuestStatus {
    let begun = Instant::now();
    loop {
        let status = node.status().unwrap();
        if let Some(found) = guest(&status, name).filter(|guest| wished(guest)) {
            return found.clone();
        }
        assert!(begun.elapsed() < HANG, "{name} never came to stand as wished: {status:#?}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_host_that_is_slow_with_one_guest_stops_neither_acks_nor_a_switchover_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let _switch = Switch::start(&dir.path().join("switch"), None).unwrap();
    let (at_a, at_b, gate) = (free_address(), free_address(), Arc::new(Gate::default()));
    let for_b = gate.clone();
    let of_b = config(dir.path(), "b", at_b, ("a", at_a), 0);
    let (node, handle) = Node::open_on(of_b, |outputs| {
        Arc::new(Slow { lab: LabHost::new(LabCards::new(outputs, None)), gate: for_b })
    })
    .unwrap();
    let b = node.spawn(handle).unwrap();
    let (node, handle) = Node::open(config(dir.path(), "a", at_a, ("b", at_b), 2)).unwrap();
    let a = node.spawn(handle).unwrap();

    let before = wait_for(&a, "g0", |guest| guest.protected && gate.is_busy()).acked;
    let begun = Instant::now();
    while begun.elapsed() < 2 * SILENCE {
        let status = a.status().unwrap();
        assert!(
            status.peers.iter().all(|peer| peer.connected),
            "a peer with a busy host is there: {status:#?}"
        );
        assert_eq!(guest(&status, "g1").map(|guest| guest.state), Some(GuestState::Seeding));
        sleep(Duration::from_millis(20));
    }
    wait_for(&a, "g0", |guest| guest.protected && guest.acked > before.map(|epoch| epoch + 20));
    a.wish("g0", Wish::Switchover).unwrap();
    wait_for(&b, "g0", |guest| guest.role == GuestRole::Primary);
    assert!(!guest(&a.status().unwrap(), "g1").unwrap().protected, "there is nothing yet that holds it");

    gate.open();
    wait_for(&a, "g1", |guest| guest.protected);
    wait_for(&b, "g0", |guest| guest.protected);
}
