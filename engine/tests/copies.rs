//! Two nodes in one process, a guest of the lab, and a copy of it that runs on the other node (COLO): what leaves before its ack,
//! what a difference costs, and that clients go on wherever the guest goes.

#[path = "support/address.rs"]
mod address;

use address::free_address;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use understudy::config::{ModeChoice, Settings};
use understudy::control::{Client, GuestStatus, Protection, Wish};
use understudy::node::{Node, NodeHandle};
use understudy_lab::memcached::Request;
use understudy_lab::{Answer, Mac, Outcome, Patience, Station, Switch};

/// Guards against hanging; nothing is judged by it.
const HANG: Duration = Duration::from_secs(60);
const PATIENCE: Patience = Patience { attempts: 50, timeout: Duration::from_millis(200) };
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);

/// Two hosts, a switch, no witness. The guest begins on a.
struct Pair {
    switch: Switch,
    a: Option<NodeHandle>,
    b: NodeHandle,
    dir: TempDir,
    at: [SocketAddr; 2],
}

impl Pair {
    fn of(mode: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let switch = Switch::start(&dir.path().join("switch"), None).unwrap();
        let at = [free_address(), free_address()];
        let b = node(dir.path(), "b", at[1], ("a", at[0]), None);
        let a = Some(node(dir.path(), "a", at[0], ("b", at[1]), Some(mode)));
        Self { switch, a, b, dir, at }
    }

    fn a(&self) -> &NodeHandle {
        self.a.as_ref().unwrap()
    }

    fn client(&self) -> Station {
        let mac = Mac([0x52, 0x54, 0, 0, 1, 1]);
        Station::connect(self.switch.path(), "client", mac, Ipv4Addr::new(10, 77, 0, 200)).unwrap()
    }

    /// The host of the guest is gone, and a person says so.
    fn lose_a(&mut self) {
        self.a.take().unwrap().stop().unwrap();
        wait_for(&self.b, |status| status.acked.is_some());
        self.b.wish("g", Wish::ForceTakeover).unwrap();
        wait_for(&self.b, |status| status.takeover.is_some());
    }

    /// It is there again, and holds the copy.
    fn a_returns(&mut self) {
        self.a = Some(node(self.dir.path(), "a", self.at[0], ("b", self.at[1]), None));
    }
}

fn node(
    dir: &Path,
    name: &str,
    listen: SocketAddr,
    peer: (&str, SocketAddr),
    mode: Option<&str>,
) -> NodeHandle {
    let mut text = format!(
        "node = \"{name}\"\nlisten = \"{listen}\"\ncontrol = \"{}\"\nuplink = \"{}\"\n\
         [peers]\n{} = \"{}\"\n[timing]\ninterval = \"50ms\"\n",
        dir.join(format!("{name}.sock")).display(),
        dir.join("switch").display(),
        peer.0,
        peer.1,
    );
    if let Some(mode) = mode {
        text += &format!(
            "[[guest]]\nname = \"g\"\nmemory = \"8M\"\nmac = \"52:54:00:00:00:10\"\nip = \"{GUEST}\"\n\
             load = \"mixed,rate=2000,set=2M\"\nmode = \"{mode}\"\n"
        );
    }
    let path = dir.join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    let config = Settings::read(&path).unwrap().decide().unwrap();
    let (node, handle) = Node::open(config).unwrap();
    node.spawn(handle).unwrap()
}

fn status_of(node: &NodeHandle) -> Option<GuestStatus> {
    node.status().unwrap().guests.into_iter().find(|status| status.name == "g")
}

/// Waits until the guest's status at `node` is as wished.
fn wait_for(node: &NodeHandle, wished: impl Fn(&GuestStatus) -> bool) -> GuestStatus {
    let begun = Instant::now();
    loop {
        let status = status_of(node);
        if let Some(status) = status.clone().filter(&wished) {
            return status;
        }
        assert!(begun.elapsed() < HANG, "the guest never came to stand as wished: {status:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_live(status: &GuestStatus) -> bool {
    status.colo.live
}

fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answered { answer, .. } => answer,
        other => panic!("the guest does not answer: {other:?}"),
    }
}

fn set(client: &mut Station, key: &str, value: &str) {
    assert_eq!(answer(client.set(GUEST, key, value.as_bytes(), PATIENCE).unwrap()), Answer::Stored);
}

fn value(client: &mut Station, key: &str) -> String {
    match answer(client.get(GUEST, key, PATIENCE).unwrap()) {
        Answer::Value(value) => String::from_utf8(value).unwrap(),
        other => panic!("{other:?} instead of a value"),
    }
}

#[test]
fn what_both_guests_send_leaves_before_its_ack() {
    let pair = Pair::of("colo");
    let mut client = pair.client();
    wait_for(pair.a(), is_live);
    set(&mut client, "warm", "up");
    let before = wait_for(pair.a(), is_live);
    for round in 0..300 {
        set(&mut client, "key", &round.to_string());
        assert_eq!(value(&mut client, "key"), round.to_string());
    }
    let after = status_of(pair.a()).unwrap();
    let by_match = after.colo.released_by_match - before.colo.released_by_match;
    let by_ack = after.colo.released_by_ack - before.colo.released_by_ack;
    assert!(by_match > 10 * by_ack, "{by_match} left by a match, {by_ack} by an ack: {:#?}", after.colo);
    assert_eq!(after.colo.mode, "colo");
    assert!(after.colo.match_us.count >= by_match);
}

/// `stats` tells of what the load has written, which depends on each host's clock.
#[test]
fn a_difference_costs_a_checkpoint_and_the_copy_goes_on() {
    let pair = Pair::of("colo");
    let mut client = pair.client();
    wait_for(pair.a(), is_live);
    for round in 0..5 {
        let before = wait_for(pair.a(), is_live);
        let said = answer(client.ask(GUEST, &Request::Stats, PATIENCE).unwrap());
        assert!(matches!(said, Answer::Stats { .. }), "{said:?}");
        let after = wait_for(pair.a(), |now| is_live(now) && now.colo.base > before.colo.base);
        let count = |status: &GuestStatus| status.colo.diverged.values().sum::<u64>();
        assert!(count(&after) > count(&before), "round {round}: {:#?}", after.colo);
        set(&mut client, "key", &round.to_string());
    }
}

#[test]
fn clients_go_on_from_the_copy_when_the_guests_host_is_lost_and_again_on_the_way_back() {
    let mut pair = Pair::of("colo");
    let mut client = pair.client();
    wait_for(pair.a(), is_live);
    set(&mut client, "count", "0");
    let mut last = 0;
    let mut add = |client: &mut Station, times: u64| {
        for _ in 0..times {
            // A request that is repeated counts twice: UDP.
            let add = Request::Incr { key: b"count", by: 1, noreply: false };
            match answer(client.ask(GUEST, &add, PATIENCE).unwrap()) {
                Answer::Number(sum) if sum > last => last = sum,
                other => panic!("{other:?} after {last}"),
            }
        }
    };
    add(&mut client, 100);
    pair.lose_a();
    add(&mut client, 100);
    // The mode is kept, and the guest that was a copy has a copy of its own.
    pair.a_returns();
    let live = wait_for(&pair.b, is_live);
    assert_eq!(live.colo.mode, "colo");
    add(&mut client, 100);
    let after = status_of(&pair.b).unwrap();
    assert!(after.colo.released_by_match > live.colo.released_by_match, "{:#?}", after.colo);
    pair.b.wish("g", Wish::Switchover).unwrap();
    wait_for(pair.a(), is_live);
    add(&mut client, 100);
}

#[test]
fn the_mode_is_changed_while_the_guest_runs() {
    let pair = Pair::of("remus");
    let mut client = pair.client();
    wait_for(pair.a(), |status| status.protected);
    set(&mut client, "key", "1");
    assert_eq!(status_of(pair.a()).unwrap().colo.released_by_match, 0);
    let control = Client::new(pair.dir.path().join("a.sock"));
    let protect = |mode| {
        let guest = "g".to_owned();
        let (to, interval_ms, pacing, find_changes) = (None, None, None, None);
        control
            .protect(Protection { guest, to, interval_ms, pacing, find_changes, mode: Some(mode) })
            .unwrap();
    };
    protect(ModeChoice::Colo);
    wait_for(pair.a(), is_live);
    set(&mut client, "key", "2");
    protect(ModeChoice::Remus);
    let back = wait_for(pair.a(), |status| !is_live(status));
    assert_eq!((&*back.colo.mode, &*back.colo.reason), ("remus", ""));
    set(&mut client, "key", "3");
    let after = status_of(pair.a()).unwrap();
    assert_eq!(after.colo.released_by_match, back.colo.released_by_match);
}
