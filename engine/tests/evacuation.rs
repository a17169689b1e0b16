//! `understudy evacuate` asks real nodes: what moves, what is let go, what stays, and that it ends by itself.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::net::SocketAddr;
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
    directory: tempfile::TempDir,
}

fn guest(number: usize) -> String {
    format!("name=g{number},memory=8M,mac=52:54:00:00:00:0{number},ip=10.77.0.1{number},load=mixed,set=1M")
}

fn hosts(guests: usize) -> Hosts {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (witness, at_witness, _) = witness(root, "127.0.0.1:0", &[]);
    let (at_a, at_b) = (free_address(), free_address());
    let start = |name: &str, at: SocketAddr, peer: &str, guests: usize| {
        let at_witness = at_witness.to_string();
        let mut more = vec!["--witness".into(), at_witness, "--peer".into(), peer.to_owned()];
        (0..guests).for_each(|number| more.extend(["--guest".into(), guest(number)]));
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        node(name, root, at, &more).0
    };
    let b = start("b", at_b, &format!("a={at_a}"), 0);
    let a = start("a", at_a, &format!("b={at_b}"), guests);
    Hosts { a, b, _witness: witness, directory }
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
