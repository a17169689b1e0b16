//! Two networks between two nodes, over TLS and between real processes: one of them delivers nothing any more, or the peer is gone from
//! both.
//!
//! ```text
//!   a ─────────── [relay] ─────────── b        a network delivers nothing while its gates are closed
//!   a 127.0.0.3 ─ [relay] ─ 127.0.0.2 b
//! ```

#[path = "support/asking.rs"]
mod asking;
#[path = "support/keys.rs"]
mod keys;
mod support;

use asking::{GUEST, client, guest, wait_for};
use keys::{three, tls};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use support::{HANG_GUARD, Running, free_address, node, witness};
use understudy::control::status::PathStatus;
use understudy::control::{GuestState, Status};
use understudy::drill::relay::Relay;

/// Where the link to the only peer goes.
fn path(status: &Status) -> Option<PathStatus> {
    status.peers.first()?.path
}

/// An address of another network: the same port is free there as well.
fn on(host: u8, of: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, host], of.port()))
}

struct Pair {
    root: tempfile::TempDir,
    a: Running,
    _b: Running,
    _witness: Running,
    /// Before the witness, for a.
    to_witness: Relay,
    relays: Vec<Relay>,
}

/// Both nodes with both networks, and with these times; the guest is protected on a. So many of the networks have relays, and the
/// second one's are closed.
fn pair(times: &[&str], relayed: usize) -> Pair {
    let root = tempfile::tempdir().unwrap();
    three(root.path());
    let (at_a, at_b, listen) = (free_address(), free_address(), free_address().to_string());
    let dirs = ["a", "b", "witness"].map(|name| tls(root.path(), name).display().to_string());
    let (witness, at_witness, _) = witness(root.path(), &listen, &["--tls", &dirs[2]]);
    let to_witness = Relay::start(at_witness).unwrap();
    let targets = [at_a, at_b, on(3, at_a), on(2, at_b)];
    let relays: Vec<_> = targets[..2 * relayed].iter().map(|at| Relay::start(*at).unwrap()).collect();
    set_open(relays.get(2..).unwrap_or_default(), false);
    let by = |number: usize| relays.get(number).map_or(targets[number], |relay| relay.listen);
    let start = |name: &str, own: &str, at: SocketAddr, second: SocketAddr, peer: String, more: &[&str]| {
        let second = second.to_string();
        let flags = ["--listen", &second, "--tls", own, "--peer", &peer];
        node(name, root.path(), at, &[&flags[..], times, more].concat()).0
    };
    let to_a = format!("a={},{}@127.0.0.2", by(0), by(2));
    let to_b = format!("b={},{}@127.0.0.3", by(1), by(3));
    let b = start("b", &dirs[1], at_b, on(2, at_b), to_a, &["--witness", &listen]);
    let (by_relay, of_guest) = (to_witness.listen.to_string(), format!("{GUEST},set=1M"));
    let of_a = ["--witness", &by_relay, "--guest", &of_guest];
    let a = start("a", &dirs[0], at_a, on(3, at_a), to_b, &of_a);
    wait_for(&client(root.path(), "a"), |status| guest(status, |guest| guest.protected));
    Pair { root, a, _b: b, _witness: witness, to_witness, relays }
}

/// Opens or closes one network, in all directions. To either end a closed one is silent: bytes wait, and nothing is refused.
fn set_open(network: &[Relay], is_open: bool) {
    for relay in network {
        relay.onward.set_open(is_open);
        relay.back.set_open(is_open);
    }
}

#[test]
fn a_link_whose_network_delivers_nothing_goes_on_over_the_other_one_and_nobody_takes_over() {
    let Pair { root, a: _a, _b, _witness, relays, .. } = pair(
        &["--silence-max", "2s", "--link-grace", "20s", "--takeover-grace", "40s", "--slow-max", "30s"],
        2,
    );
    let a = client(root.path(), "a");
    let before = wait_for(&a, |status| guest(status, |guest| guest.protected));
    let second: IpAddr = [127, 0, 0, 3].into();
    assert_ne!(path(&a.status().unwrap()).map(|path| path.from), Some(second), "that network is silent");

    let (of_first, of_second) = relays.split_at(2);
    set_open(of_second, true);
    set_open(of_first, false);
    wait_for(&a, |status| path(status).filter(|path| path.from == second));
    wait_for_beside(root.path(), &[false]);
    let acked = before.commit_us.count + 20;
    let after = wait_for(&a, |status| guest(status, |it| it.protected && it.commit_us.count > acked));
    assert_eq!(after.generation, before.generation, "nobody took over, and nobody gave the copy up");
    let at_b = client(root.path(), "b").status().unwrap();
    assert!(guest(&at_b, |it| it.takeover.is_some()).is_none());
}

/// Beside its link to b, or beside b's to it, whether each way answers.
fn beside(root: &Path) -> Vec<bool> {
    let of = |node| client(root, node).status().unwrap().peers.remove(0).spares;
    ["a", "b"].into_iter().flat_map(of).map(|spare| spare.answers).collect()
}

fn wait_for_beside(root: &Path, wanted: &[bool]) {
    let began = Instant::now();
    while beside(root) != wanted {
        assert!(began.elapsed() < HANG_GUARD, "{:?} beside the link", beside(root));
        thread::sleep(Duration::from_millis(20));
    }
}

/// a lives and cannot say so to the witness, and no link comes up over the network on which b hears it.
#[test]
fn while_a_primary_is_heard_beside_its_silent_link_nobody_takes_over_but_not_for_ever() {
    let Pair { root, a: _a, _b, _witness, to_witness, relays } =
        pair(&["--silence-max", "2s", "--link-grace", "1s", "--takeover-grace", "3s", "--hold-max", "6s"], 2);
    let (of_first, of_second) = relays.split_at(2);
    wait_for_beside(root.path(), &[false]);
    set_open(of_second, true);
    wait_for_beside(root.path(), &[true]);

    of_second.iter().for_each(|relay| relay.entry.set_open(false));
    set_open(std::slice::from_ref(&to_witness), false);
    set_open(of_first, false);
    let b = client(root.path(), "b");
    wait_for(&b, |status| guest(status, |it| it.state == GuestState::Alone));
    // Twice the grace, and half of how long a link may come and go.
    thread::sleep(Duration::from_secs(6));
    assert!(guest(&b.status().unwrap(), |it| it.state == GuestState::Alone).is_some(), "{:?}", b.status());
    wait_for(&b, |status| guest(status, |it| it.takeover.is_some()));
}

/// A grace of minutes: what takes over before it ends did not wait for it.
const PATIENT: [&str; 6] = ["--silence-max", "60s", "--link-grace", "60s", "--takeover-grace", "600s"];

fn kill(running: &mut Running) {
    running.0.kill().unwrap();
    running.0.wait().unwrap();
}

#[test]
fn a_node_that_its_host_says_is_gone_is_taken_over_from_without_a_grace() {
    let Pair { root, mut a, _b, _witness, .. } = pair(&PATIENT, 0);
    kill(&mut a);
    wait_for(&client(root.path(), "b"), |status| guest(status, |it| it.takeover.is_some()));
}

/// The relay of the first network takes connections whether or not a node is behind it, as a tunnel would.
#[test]
fn where_one_address_does_not_refuse_the_grace_is_waited_for() {
    let Pair { root, mut a, _b, _witness, .. } = pair(&PATIENT, 1);
    kill(&mut a);
    let b = client(root.path(), "b");
    wait_for(&b, |status| status.peers.first().filter(|peer| peer.reason.contains("refused")).map(|_| ()));
    thread::sleep(Duration::from_secs(1));
    assert!(guest(&b.status().unwrap(), |it| it.takeover.is_some()).is_none());
}
