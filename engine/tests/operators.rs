//! What operators do with a host of a real pair. `evacuate`: what moves, what is let go, what stays, and that it ends by itself.
//! `maintenance`: what a host takes no more, what it keeps, and that it lasts.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};
use support::{HANG_GUARD, Running, free_address, node, witness};
use understudy::control::{Client, GuestRole, GuestState, GuestStatus, Wish};

/// A witness and two nodes; a runs the guests.
struct Hosts {
    a: Running,
    b: Running,
    _witness: Running,
    at_witness: SocketAddr,
    at_a: SocketAddr,
    at_b: SocketAddr,
    /// Of b.
    metrics: SocketAddr,
    directory: tempfile::TempDir,
}

fn guest(number: usize) -> String {
    format!("name=g{number},memory=8M,mac=52:54:00:00:00:0{number},ip=10.77.0.1{number},load=mixed,set=1M")
}

fn start(root: &Path, name: &str, at: SocketAddr, more: &[(&str, String)]) -> (Running, SocketAddr) {
    let mut flags = vec!["--state", root.to_str().unwrap()];
    more.iter().for_each(|(flag, value)| flags.extend([flag, &**value]));
    node(name, root, at, &flags)
}

fn hosts(guests: usize) -> Hosts {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (witness, at_witness, _) = witness(root, "127.0.0.1:0", &[]);
    let (at_a, at_b) = (free_address(), free_address());
    let (b, metrics) = start_b(root, at_witness, at_a, at_b);
    let mut of_a = vec![("--witness", at_witness.to_string()), ("--peer", format!("b={at_b}"))];
    of_a.extend((0..guests).map(|number| ("--guest", guest(number))));
    let (a, _) = start(root, "a", at_a, &of_a);
    Hosts { a, b, _witness: witness, at_witness, at_a, at_b, metrics, directory }
}

fn start_b(root: &Path, at_witness: SocketAddr, at_a: SocketAddr, at_b: SocketAddr) -> (Running, SocketAddr) {
    start(root, "b", at_b, &[("--witness", at_witness.to_string()), ("--peer", format!("a={at_a}"))])
}

impl Hosts {
    fn client(&self, node: &str) -> Client {
        Client::new(self.control(node))
    }

    fn control(&self, node: &str) -> std::path::PathBuf {
        self.directory.path().join(format!("{node}.sock"))
    }

    fn wait(&self, node: &str, name: &str, wanted: impl Fn(&GuestStatus) -> bool) {
        let client = self.client(node);
        let began = Instant::now();
        loop {
            let status = client.status();
            let guests = status.as_ref().map(|status| &*status.guests).unwrap_or_default();
            if guests.iter().any(|guest| guest.name == name && wanted(guest)) {
                return;
            }
            assert!(began.elapsed() < HANG_GUARD, "{name} on {node}: {status:#?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn maintenance(&self, node: &str, wanted: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        command.args(["maintenance", wanted, "--control"]).arg(self.control(node));
        command.output().unwrap()
    }

    fn metric(&self, line: &str) -> bool {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page.lines().any(|it| it == line)
    }

    fn evacuate(&self, node: &str, time_max: &str) -> Output {
        evacuate(&self.control(node), time_max)
    }
}

fn evacuate(control: &Path, time_max: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.args(["evacuate", "--output", "json", "--timeout", time_max, "--control"]).arg(control);
    command.output().unwrap()
}

fn outcomes(output: &Output) -> Vec<(String, String)> {
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let guests = said["guests"].as_array().unwrap();
    let words = |guest: &Value, key: &str| guest[key].as_str().unwrap_or_default().to_owned();
    guests.iter().map(|guest| (words(guest, "name"), words(guest, "outcome"))).collect()
}

fn each(guests: &[(&str, &str)]) -> Vec<(String, String)> {
    guests.iter().map(|(name, outcome)| ((*name).into(), (*outcome).into())).collect()
}

#[test]
fn what_has_a_copy_moves_what_has_none_is_let_go_and_a_second_run_changes_nothing() {
    let hosts = hosts(4);
    (0..4).for_each(|number| hosts.wait("a", &format!("g{number}"), |guest| guest.protected));
    hosts.client("a").wish("g2", Wish::Unprotect).unwrap();
    hosts.wait("a", "g2", |guest| guest.state == GuestState::Unprotected);

    let first = hosts.evacuate("a", "60s");
    let expected = each(&[("g0", "moved"), ("g1", "moved"), ("g2", "let_go"), ("g3", "moved")]);
    assert_eq!(outcomes(&first), expected, "{first:?}");
    assert_eq!(first.status.code(), Some(3), "one of them is still here");
    for name in ["g0", "g1", "g3"] {
        hosts.wait("b", name, |guest| guest.role == GuestRole::Primary && guest.takeover.is_some());
    }
    let again = hosts.evacuate("a", "60s");
    assert_eq!((outcomes(&again), again.status.code()), (each(&[("g2", "let_go")]), Some(3)));

    // Back again: protected towards a meanwhile, and b has no other guest.
    ["g0", "g1", "g3"].iter().for_each(|name| hosts.wait("b", name, |guest| guest.protected));
    let back = hosts.evacuate("b", "60s");
    assert_eq!(back.status.code(), Some(0), "{back:?}");
    let empty = hosts.evacuate("b", "60s");
    assert_eq!((outcomes(&empty), empty.status.code()), (Vec::new(), Some(0)));
}

#[test]
fn without_the_other_host_it_ends_in_its_time_and_a_copy_that_may_live_is_not_given_up() {
    let mut hosts = hosts(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    // Stopped, not dead: whether its copy takes over is the witness's to say.
    kill(Pid::from_raw(hosts.b.0.id() as i32), Signal::SIGSTOP).unwrap();
    let left = hosts.evacuate("a", "1ms");
    assert_eq!((outcomes(&left), left.status.code()), (each(&[("g0", "left")]), Some(3)));

    hosts.b.0.kill().unwrap();
    hosts.b.0.wait().unwrap();
    hosts.wait("a", "g0", |guest| guest.state == GuestState::Unprotected);
    let alone = hosts.evacuate("a", "60s");
    assert_eq!((outcomes(&alone), alone.status.code()), (each(&[("g0", "let_go")]), Some(3)));
    hosts.wait("a", "g0", |guest| guest.state == GuestState::Unprotected && !guest.wished);
}

#[test]
fn an_engine_that_is_dead_or_stopped_is_not_waited_for() {
    let mut hosts = hosts(1);
    hosts.wait("a", "g0", |guest| guest.state != GuestState::Claiming);
    kill(Pid::from_raw(hosts.a.0.id() as i32), Signal::SIGSTOP).unwrap();
    let stopped = hosts.evacuate("a", "600s");
    assert_eq!(stopped.status.code(), Some(5), "{stopped:?}");
    hosts.a.0.kill().unwrap();
    hosts.a.0.wait().unwrap();
    let dead = hosts.evacuate("a", "600s");
    assert_eq!(dead.status.code(), Some(5), "{dead:?}");
}

/// Why the guest has no copy.
fn is_refused_for_maintenance(guest: &GuestStatus) -> bool {
    guest.state == GuestState::Unprotected && guest.reason.contains("b is in maintenance")
}

#[test]
fn a_host_in_maintenance_keeps_a_whole_copy_and_takes_no_other_until_a_person_ends_it() {
    let mut hosts = hosts(2);
    hosts.wait("a", "g0", |guest| guest.protected);
    hosts.client("a").wish("g1", Wish::Unprotect).unwrap();
    hosts.wait("a", "g1", |guest| guest.state == GuestState::Unprotected && !guest.wished);
    assert!(hosts.metric("understudy_maintenance 0"));

    for _ in 0..2 {
        let on = hosts.maintenance("b", "on");
        assert_eq!(on.status.code(), Some(0), "{on:?}");
    }
    let status = hosts.client("b").status().unwrap();
    assert!(status.maintenance.on && status.maintenance.since.is_some());
    assert!(hosts.metric("understudy_maintenance 1"));
    hosts.wait("a", "g0", |guest| guest.protected && guest.commit_age_ms.is_some_and(|age| age < 1_000));

    // Its engine begins anew, and has no copy any more. It takes none, and the other host says why.
    hosts.b.0.kill().unwrap();
    hosts.b.0.wait().unwrap();
    let (root, at_witness) = (hosts.directory.path(), hosts.at_witness);
    (hosts.b, hosts.metrics) = start_b(root, at_witness, hosts.at_a, hosts.at_b);
    hosts.wait("a", "g0", is_refused_for_maintenance);
    assert!(hosts.client("b").status().unwrap().maintenance.on, "it lasts");

    let off = hosts.maintenance("b", "off");
    assert_eq!(off.status.code(), Some(0), "{off:?}");
    hosts.wait("a", "g0", |guest| guest.protected);
    assert!(hosts.metric("understudy_maintenance 0"));
}

#[test]
fn an_evacuated_host_in_maintenance_stays_empty() {
    let hosts = hosts(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    assert_eq!(hosts.maintenance("a", "on").status.code(), Some(0));
    let moved = hosts.evacuate("a", "60s");
    assert_eq!((outcomes(&moved), moved.status.code()), (each(&[("g0", "moved")]), Some(0)));
    hosts.wait("b", "g0", |guest| {
        guest.state == GuestState::Unprotected && guest.reason.contains("a is in maintenance")
    });
    assert_eq!(hosts.client("a").status().unwrap().guests, [], "nothing of it is held");
    hosts.maintenance("a", "off");
    hosts.wait("b", "g0", |guest| guest.protected);
}
