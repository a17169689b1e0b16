//! Two nodes in one process, a real link between them, a lab guest and a client on a real switch.

#[path = "support/address.rs"]
mod address;

use address::free_address;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use understudy::config::Settings;
use understudy::control::{GuestState, GuestStatus, Wish};
use understudy::node::{Node, NodeHandle};
use understudy_lab::{Answer, Mac, Outcome, Patience, Station, Switch};
use understudy_session::NodeName;

/// Guards against hanging; nothing is judged by it.
const HANG: Duration = Duration::from_secs(60);
const PATIENCE: Patience = Patience { attempts: 50, timeout: Duration::from_millis(100) };

fn name(text: &str) -> NodeName {
    NodeName(text.to_owned())
}

fn ip(guest: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 10 + guest as u8)
}

/// Two hosts, a switch, no witness.
struct Pair {
    switch: Switch,
    a: NodeHandle,
    b: NodeHandle,
    dir: TempDir,
}

impl Pair {
    fn with_guests(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let switch = Switch::start(&dir.path().join("switch"), None).unwrap();
        let (at_a, at_b) = (free_address(), free_address());
        let b = node(dir.path(), "b", at_b, ("a", at_a), 0);
        let a = node(dir.path(), "a", at_a, ("b", at_b), count);
        Self { switch, a, b, dir }
    }

    fn client(&self) -> Station {
        let mac = Mac([0x52, 0x54, 0, 0, 1, 1]);
        Station::connect(self.switch.path(), "client", mac, Ipv4Addr::new(10, 77, 0, 200)).unwrap()
    }
}

fn node(dir: &Path, name: &str, listen: SocketAddr, peer: (&str, SocketAddr), guests: usize) -> NodeHandle {
    let mut text = format!(
        "node = \"{name}\"\nlisten = \"{listen}\"\ncontrol = \"{}\"\nuplink = \"{}\"\n\
         [peers]\n{} = \"{}\"\n[timing]\ninterval = \"5ms\"\n",
        dir.join(format!("{name}.sock")).display(),
        dir.join("switch").display(),
        peer.0,
        peer.1,
    );
    for guest in 0..guests {
        text += &format!(
            "[[guest]]\nname = \"g{guest}\"\nmemory = \"8M\"\nmac = \"52:54:00:00:00:{guest:02x}\"\nip = \"{}\"\n\
             load = \"mixed,rate=2000,set=2M\"\n",
            ip(guest),
        );
    }
    let path = dir.join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    let config = Settings::read(&path).unwrap().decide().unwrap();
    let (node, handle) = Node::open(config).unwrap();
    node.spawn(handle).unwrap()
}

/// Waits until the guest's status at `node` is as wished.
fn wait_for(node: &NodeHandle, guest: &str, wished: impl Fn(&GuestStatus) -> bool) -> GuestStatus {
    let begun = Instant::now();
    loop {
        let status = node.status().unwrap();
        if let Some(status) = status.guests.iter().find(|status| status.name == guest)
            && wished(status)
        {
            return status.clone();
        }
        assert!(begun.elapsed() < HANG, "{guest} never came to stand as wished: {status:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until `status --exit-code` says that the guests stand so.
fn wait_for_exit_code(code: i32, control: &Path, guests: &[&str]) {
    let begun = Instant::now();
    loop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        command.args(["status", "--exit-code", "--control"]).arg(control).args(guests);
        let said = command.output().unwrap();
        if said.status.code() == Some(code) {
            return;
        }
        assert!(begun.elapsed() < HANG, "{guests:?} never came to {code}: {said:?}");
    }
}

fn acked_more_than(node: &NodeHandle, guest: &str, acks: u64) {
    wait_for(node, guest, |status| status.protected && status.commit_us.count > acks);
}

fn set(client: &mut Station, guest: usize, key: &str, value: &str) {
    assert_eq!(answer(client.set(ip(guest), key, value.as_bytes(), PATIENCE).unwrap()), Answer::Stored);
}

fn value(client: &mut Station, guest: usize, key: &str) -> String {
    match answer(client.get(ip(guest), key, PATIENCE).unwrap()) {
        Answer::Value(value) => String::from_utf8(value).unwrap(),
        other => panic!("{other:?} instead of a value"),
    }
}

fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answered { answer, .. } => answer,
        other => panic!("the guest does not answer: {other:?}"),
    }
}

#[test]
fn what_a_client_was_told_survives_a_takeover_that_a_person_decides() {
    let pair = Pair::with_guests(1);
    let mut client = pair.client();
    acked_more_than(&pair.a, "g0", 3);
    set(&mut client, 0, "answer", "42");
    let Pair { a, b, switch: _switch, dir: _dir } = pair;
    a.stop().unwrap();
    // Without a witness nothing happens by itself.
    wait_for(&b, "g0", |status| status.state == GuestState::Alone);
    b.wish("g0", Wish::ForceTakeover).unwrap();
    let taken = wait_for(&b, "g0", |status| status.takeover.is_some());
    assert!(!taken.protected, "there is no other host yet");
    assert_eq!(value(&mut client, 0, "answer"), "42");
}

#[test]
fn a_link_that_flaps_costs_a_resync_and_no_full_copy() {
    let pair = Pair::with_guests(1);
    acked_more_than(&pair.a, "g0", 3);
    for flap in 1..=5 {
        let before = wait_for(&pair.a, "g0", |status| status.protected).commit_us.count;
        pair.b.cut_link(name("a"));
        wait_for(&pair.a, "g0", |_| pair.a.replay_stats("g0").unwrap().resyncs >= flap);
        acked_more_than(&pair.a, "g0", before + 3);
    }
    assert_eq!(pair.a.replay_stats("g0").unwrap().seeds, 1);
    let copy = pair.b.copy_committed("g0").unwrap();
    assert_eq!(copy.image.entries().count(), 2048);
}

#[test]
fn a_guest_moves_there_and_back_by_wish_and_loses_nothing() {
    let pair = Pair::with_guests(1);
    let mut client = pair.client();
    acked_more_than(&pair.a, "g0", 3);
    for (from, to, visits) in [(&pair.a, &pair.b, "1"), (&pair.b, &pair.a, "2"), (&pair.a, &pair.b, "3")] {
        wait_for(from, "g0", |status| status.protected);
        set(&mut client, 0, "visits", visits);
        from.wish("g0", Wish::Switchover).unwrap();
        wait_for(to, "g0", |status| status.takeover.is_some() && status.protected);
        assert_eq!(value(&mut client, 0, "visits"), visits);
    }
}

#[test]
fn eight_guests_share_one_link_and_each_is_protected() {
    let pair = Pair::with_guests(8);
    let mut client = pair.client();
    for guest in 0..8 {
        acked_more_than(&pair.a, &format!("g{guest}"), 5);
        set(&mut client, guest, "me", &guest.to_string());
    }
    let Pair { a, b, switch: _switch, dir } = pair;
    let (at_a, at_b) = (dir.path().join("a.sock"), dir.path().join("b.sock"));
    wait_for_exit_code(0, &at_a, &[]);
    wait_for_exit_code(0, &at_b, &["g3"]);
    wait_for_exit_code(3, &at_a, &["g3", "g8"]);
    a.wish("g3", Wish::Unprotect).unwrap();
    wait_for_exit_code(3, &at_a, &[]);
    wait_for_exit_code(0, &at_a, &["g2", "g4"]);
    a.wish("g3", Wish::Protect).unwrap();
    wait_for_exit_code(0, &at_a, &[]);
    a.stop().unwrap();
    wait_for_exit_code(5, &at_a, &[]);
    for guest in 0..8 {
        let guest_name = format!("g{guest}");
        wait_for(&b, &guest_name, |status| status.state == GuestState::Alone);
        b.wish(&guest_name, Wish::ForceTakeover).unwrap();
        wait_for(&b, &guest_name, |status| status.takeover.is_some());
        assert_eq!(value(&mut client, guest, "me"), guest.to_string());
    }
}

#[test]
fn a_node_that_ends_lets_nothing_out_that_was_held() {
    let pair = Pair::with_guests(1);
    let mut client = pair.client();
    acked_more_than(&pair.a, "g0", 3);
    assert!(client.resolve(ip(0), PATIENCE).unwrap().is_some());
    let Pair { a, b, switch: _switch, dir: _dir } = pair;
    // Without the other host and a person's word, output is held from here on.
    b.stop().unwrap();
    wait_for(&a, "g0", |status| status.state == GuestState::MarkingStale);
    let impatient = Patience { attempts: 1, timeout: Duration::from_millis(50) };
    for _ in 0..5 {
        assert_eq!(client.get(ip(0), "nothing", impatient).unwrap(), Outcome::Unknown);
    }
    a.stop().unwrap();
    let late = Patience { attempts: 1, timeout: Duration::from_millis(200) };
    assert!(client.ping(ip(0), late).unwrap().is_none());
}
