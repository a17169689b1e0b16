//! Lab guests whose cards are taps: real engines, the kernel's redirects, a bridge, and this machine's own UDP as client.
//!
//! ```text
//!   a network namespace:   client 10.77.0.1 ─ br0 ─┬─ a-g0 ─ engine a ─┐
//!                                                  └─ b-g0 ─ engine b ─┴─ witness      on loopback
//! ```
//!
//! Needs root and iproute2's `ip`: such tests are ignored unless they are asked for (`--include-ignored`), and fail where
//! they cannot run.

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{HANG_GUARD, Running, free_address, node, witness};
use tempfile::TempDir;
use understudy::control::{Client, GuestRole, GuestState, GuestStatus, Wish};
use understudy_lab::memcached::{self, Reply, Request};

const GUEST: &str = "name=g0,memory=8M,mac=52:54:00:00:00:10,ip=10.77.0.10";
const GUEST_ADDRESS: &str = "10.77.0.10:11211";

/// As long as nothing that was captured before and not acked may come.
const QUIET: Duration = Duration::from_millis(500);

fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let done = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// This thread, and all that it starts, is in a network of its own from here on.
fn network(taps: &[&str]) {
    unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root and network namespaces");
    run("ip link set lo up");
    run("ip link add br0 type bridge forward_delay 0 mcast_snooping 0");
    run("ip addr add 10.77.0.1/24 dev br0");
    run("ip link set br0 up");
    for tap in taps {
        run(&format!("ip tuntap add mode tap name {tap}"));
        run(&format!("ip link set {tap} master br0 up"));
    }
}

struct Pair {
    a: Running,
    b: Running,
    client: UdpSocket,
    /// Of the last request.
    id: u16,
    _witness: Running,
    dir: TempDir,
}

impl Pair {
    /// A protected guest that has begun to count.
    fn counting() -> Self {
        network(&["a-g0", "b-g0"]);
        let mut pair = Self::start();
        pair.wait_for("a", |guest| guest.protected);
        pair.send(&Request::Set { key: b"n", flags: 0, value: b"0", noreply: false });
        while pair.hear(HANG_GUARD).is_none() {}
        pair
    }

    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (witness, address, _) = witness(dir.path(), "127.0.0.1:0", &[]);
        let (at_a, at_b) = (free_address(), free_address());
        let start = |name, listen, peer: (&str, SocketAddr), more: &[&str]| {
            let (peer, witness) = (format!("{}={}", peer.0, peer.1), address.to_string());
            let taps = format!("{name}-");
            let mut args = vec!["--peer", &peer, "--witness", &witness, "--taps", &taps];
            args.extend(["--interval", "10ms", "--silence-max", "20s", "--takeover-grace", "200ms"]);
            args.extend(more);
            node(name, dir.path(), listen, &args).0
        };
        let b = start("b", at_b, ("a", at_a), &[]);
        let a = start("a", at_a, ("b", at_b), &["--guest", GUEST]);
        let client = UdpSocket::bind("10.77.0.1:0").unwrap();
        client.connect(GUEST_ADDRESS).unwrap();
        Self { a, b, client, id: 0, _witness: witness, dir }
    }

    fn wait_for(&self, node: &str, wished: impl Fn(&GuestStatus) -> bool) -> GuestStatus {
        let begun = Instant::now();
        let control = Client::new(self.dir.path().join(format!("{node}.sock")));
        loop {
            let status = control.status();
            if let Ok(status) = &status
                && let Some(guest) = status.guests.iter().find(|guest| wished(guest))
            {
                return guest.clone();
            }
            assert!(begun.elapsed() < HANG_GUARD, "node {node}: {status:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn send(&mut self, request: &Request<'_>) {
        self.id += 1;
        let mut datagram = Vec::new();
        memcached::write_header(self.id, &mut datagram);
        request.write(&mut datagram);
        self.client.send(&datagram).unwrap();
    }

    fn add_one(&mut self) {
        self.send(&Request::Incr { key: b"n", by: 1, noreply: false });
    }

    /// The number of any answer that comes within this time, and which request it is of.
    fn hear(&self, patience: Duration) -> Option<(u16, u64)> {
        let mut datagram = [0; memcached::DATAGRAM_BYTES_MAX];
        self.client.set_read_timeout(Some(patience)).unwrap();
        let bytes = self.client.recv(&mut datagram).ok()?;
        let (id, text) = memcached::split(&datagram[..bytes])?.ok()?;
        match Reply::parse(text)? {
            Reply::Number(number) => Some((id, number)),
            Reply::Stored => Some((id, 0)),
            other => panic!("{other:?}"),
        }
    }

    /// Asks until it is answered; requests that are not may be done, too.
    fn add_until_answered(&mut self) -> u64 {
        let begun = Instant::now();
        loop {
            self.add_one();
            while let Some((id, number)) = self.hear(Duration::from_millis(200)) {
                if id == self.id {
                    return number;
                }
            }
            assert!(begun.elapsed() < HANG_GUARD, "no answer");
        }
    }
}

fn signal(process: &Running, signal: Signal) {
    kill(Pid::from_raw(process.0.id() as i32), signal).unwrap();
}

fn is_stopped(process: &Running) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0.id())).unwrap();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

fn doctor(more: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_understudy")).arg("doctor").args(more).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_engine_killed_between_cut_and_ack_has_let_nothing_out() {
    let mut pair = Pair::counting();
    let mut last = 0;
    for _ in 0..50 {
        let number = pair.add_until_answered();
        assert!(number > last, "{number} after {last}");
        last = number;
    }
    run("ip link show us-a-g0");

    // Acks do not come any more: epochs are cut, with these answers in them, until too many wait.
    signal(&pair.b, Signal::SIGSTOP);
    while !is_stopped(&pair.b) {
        std::thread::yield_now();
    }
    let first_unacked = pair.id + 1;
    for _ in 0..40 {
        pair.add_one();
        std::thread::sleep(Duration::from_millis(5));
    }
    while let Some((id, number)) = pair.hear(QUIET) {
        assert!(id < first_unacked, "the answer {number} left before the ack of its epoch");
        last = last.max(number);
    }
    let guest = pair.wait_for("a", |guest| guest.epoch > guest.acked && guest.held_bytes > 0);
    assert!(guest.state == GuestState::Protected, "{guest:?}");
    signal(&pair.a, Signal::SIGKILL);
    pair.a.0.wait().unwrap();
    assert_eq!(pair.hear(QUIET), None, "an answer left an engine that is dead");

    let found = doctor(&[]);
    assert!(found.contains("a-g0"), "{found}");
    doctor(&["--repair"]);
    assert_eq!(pair.hear(QUIET), None, "an answer left by the doctor's hand");

    signal(&pair.b, Signal::SIGCONT);
    pair.wait_for("b", |guest| guest.role == GuestRole::Primary);
    let number = pair.add_until_answered();
    assert!(number > last, "{number} at b, after {last} was seen");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_guest_that_is_moved_there_and_back_answers_every_time() {
    let mut pair = Pair::counting();
    let mut last = 0;
    for (from, to) in [("a", "b"), ("b", "a"), ("a", "b")] {
        Client::new(pair.dir.path().join(format!("{from}.sock"))).wish("g0", Wish::Switchover).unwrap();
        pair.wait_for(to, |guest| guest.role == GuestRole::Primary && guest.protected);
        let number = pair.add_until_answered();
        assert!(number > last, "{number} at {to}, after {last}");
        last = number;
    }
}

#[test]
#[ignore = "needs root and network namespaces"]
fn what_left_because_another_program_deleted_the_hook_is_in_the_copy_that_is_taken_over() {
    let mut pair = Pair::counting();
    let mut last = pair.add_until_answered();
    // Nothing is acked: what is answered now has leaked.
    signal(&pair.b, Signal::SIGSTOP);
    while !is_stopped(&pair.b) {
        std::thread::yield_now();
    }
    run("tc qdisc del dev a-g0 clsact");
    // The copy that lacks it is stale before the guest goes on.
    let guest = pair.wait_for("a", |guest| guest.state == GuestState::Unprotected);
    assert!(guest.reason.contains("another program of this host removed"), "{guest:?}");
    assert!(run("tc filter show dev a-g0 ingress").contains("us-a-g0"), "it is put back");
    last = last.max(pair.add_until_answered());
    signal(&pair.b, Signal::SIGCONT);
    pair.wait_for("a", |guest| guest.protected);
    last = last.max(pair.add_until_answered());
    signal(&pair.a, Signal::SIGKILL);
    pair.a.0.wait().unwrap();
    pair.wait_for("b", |guest| guest.role == GuestRole::Primary);
    let number = pair.add_until_answered();
    assert!(number > last, "{number} at b, after {last} was seen");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_without_a_tap_for_a_guest_holds_no_copy_of_it() {
    network(&["a-g0"]);
    let pair = Pair::start();
    pair.wait_for("a", |guest| guest.state == GuestState::Unprotected);
    let quiet_until = Instant::now() + QUIET;
    while Instant::now() < quiet_until {
        assert!(!pair.wait_for("a", |_| true).protected, "b could not start it");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_tap_that_cannot_be_had_is_told() {
    network(&[]);
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("a.sock");
    let said_of = |prefix: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_understudy"))
            .args(["node", "--node", "a", "--listen", "127.0.0.1:0", "--peer", "b=127.0.0.1:1"])
            .args(["--taps", prefix, "--guest", GUEST, "--control", control.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(!done.status.success());
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let said = said_of("x-");
    assert!(said.contains("ip tuntap add mode tap name x-g0"), "{said}");
    let said = said_of("fifteen-bytes-");
    assert!(said.contains("fifteen-bytes-g0 is too long"), "{said}");
}
