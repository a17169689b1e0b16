//! Two nodes, each a process of its own, a guest of the lab, and a copy of it that runs on the other node (COLO): what leaves before
//! its ack, what a difference costs, when the mode `auto` does without, and that clients go on wherever the guest goes.

#[path = "support/address.rs"]
mod address;

use address::free_address;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use understudy::config::ModeChoice;
use understudy::control::{Client, GuestState, GuestStatus, Protection, Wish};
use understudy_lab::memcached::Request;
use understudy_lab::{Answer, Mac, Outcome, Patience, Station, Switch};

/// Guards against hanging; nothing is judged by it.
const HANG: Duration = Duration::from_secs(60);
const PATIENCE: Patience = Patience { attempts: 50, timeout: Duration::from_millis(200) };
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);

/// A node, which ends with this.
struct Node {
    process: Child,
    control: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Node {
    fn client(&self) -> Client {
        Client::new(&self.control)
    }

    fn guest(&self) -> Option<GuestStatus> {
        // It may not listen yet.
        let status = self.client().status().ok()?;
        status.guests.into_iter().find(|status| status.name == "g")
    }

    /// Waits until the guest's status is as wished.
    fn wait_for(&self, wished: impl Fn(&GuestStatus) -> bool) -> GuestStatus {
        let begun = Instant::now();
        loop {
            let status = self.guest();
            if let Some(status) = status.clone().filter(&wished) {
                return status;
            }
            assert!(begun.elapsed() < HANG, "the guest never came to stand as wished: {status:#?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn protect(&self, mode: ModeChoice) {
        let guest = "g".to_owned();
        let (to, interval_ms, pacing, find_changes) = (None, None, None, None);
        let protection = Protection { guest, to, interval_ms, pacing, find_changes, mode: Some(mode) };
        self.client().protect(protection).unwrap();
    }
}

/// What is said to the nodes beside the usual.
#[derive(Clone, Copy, Default)]
struct Setup {
    mode: &'static str,
    of_a: &'static str,
    of_b: &'static str,
}

/// Two hosts, a switch, no witness. The guest begins on a.
struct Pair {
    switch: Switch,
    a: Option<Node>,
    b: Node,
    dir: TempDir,
    at: [SocketAddr; 2],
}

impl Pair {
    fn of(mode: &'static str) -> Self {
        Self::with(Setup { mode, ..Setup::default() })
    }

    fn with(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let switch = Switch::start(&dir.path().join("switch"), None).unwrap();
        let at = [free_address(), free_address()];
        let b = node(dir.path(), "b", at[1], ("a", at[0]), setup.of_b);
        let guest = format!(
            "[[guest]]\nname = \"g\"\nmemory = \"8M\"\nmac = \"52:54:00:00:00:10\"\nip = \"{GUEST}\"\n\
             load = \"mixed,rate=2000,set=2M\"\nmode = \"{}\"\n",
            setup.mode
        );
        let a = Some(node(dir.path(), "a", at[0], ("b", at[1]), &(setup.of_a.to_owned() + &guest)));
        Self { switch, a, b, dir, at }
    }

    fn a(&self) -> &Node {
        self.a.as_ref().unwrap()
    }

    fn client(&self) -> Station {
        let mac = Mac([0x52, 0x54, 0, 0, 1, 1]);
        Station::connect(self.switch.path(), "client", mac, Ipv4Addr::new(10, 77, 0, 200)).unwrap()
    }

    /// The host of the guest is gone, and a person says so.
    fn lose_a(&mut self) {
        drop(self.a.take());
        self.b.wait_for(|status| status.state == GuestState::Alone);
        self.b.client().wish("g", Wish::ForceTakeover).unwrap();
        self.b.wait_for(|status| status.takeover.is_some());
    }

    /// It is there again, and holds the copy.
    fn a_returns(&mut self) {
        self.a = Some(node(self.dir.path(), "a", self.at[0], ("b", self.at[1]), ""));
    }
}

fn node(dir: &Path, name: &str, listen: SocketAddr, peer: (&str, SocketAddr), more: &str) -> Node {
    let control = dir.join(format!("{name}.sock"));
    let text = format!(
        "node = \"{name}\"\nlisten = \"{listen}\"\ncontrol = \"{}\"\nuplink = \"{}\"\n\
         [peers]\n{} = \"{}\"\n[timing]\ninterval = \"50ms\"\n{more}",
        control.display(),
        dir.join("switch").display(),
        peer.0,
        peer.1,
    );
    let path = dir.join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.args(["node", "--config"]).arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    Node { process: command.spawn().unwrap(), control }
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
    pair.a().wait_for(is_live);
    set(&mut client, "warm", "up");
    let before = pair.a().wait_for(is_live);
    for round in 0..300 {
        set(&mut client, "key", &round.to_string());
        assert_eq!(value(&mut client, "key"), round.to_string());
    }
    let after = pair.a().guest().unwrap();
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
    pair.a().wait_for(is_live);
    let count = |status: &GuestStatus| status.colo.diverged.values().sum::<u64>();
    for round in 0..5 {
        let before = pair.a().wait_for(is_live);
        let begun = Instant::now();
        // Just after the copy was set, both may say the same.
        while pair.a().guest().is_none_or(|now| count(&now) == count(&before)) {
            let said = answer(client.ask(GUEST, &Request::Stats, PATIENCE).unwrap());
            assert!(matches!(said, Answer::Stats { .. }), "{said:?}");
            assert!(begun.elapsed() < HANG, "round {round}: {:#?}", pair.a().guest());
        }
        pair.a().wait_for(|now| is_live(now) && now.colo.base > before.colo.base);
        set(&mut client, "key", &round.to_string());
    }
}

#[test]
fn clients_go_on_from_the_copy_when_the_guests_host_is_lost_and_again_on_the_way_back() {
    let mut pair = Pair::of("colo");
    let mut client = pair.client();
    pair.a().wait_for(is_live);
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
    let live = pair.b.wait_for(is_live);
    assert_eq!(live.colo.mode, "colo");
    add(&mut client, 100);
    let after = pair.b.guest().unwrap();
    assert!(after.colo.released_by_match > live.colo.released_by_match, "{:#?}", after.colo);
    pair.b.client().wish("g", Wish::Switchover).unwrap();
    pair.a().wait_for(is_live);
    add(&mut client, 100);
}

#[test]
fn the_mode_is_changed_while_the_guest_runs() {
    let pair = Pair::of("remus");
    let mut client = pair.client();
    pair.a().wait_for(|status| status.protected);
    set(&mut client, "key", "1");
    assert_eq!(pair.a().guest().unwrap().colo.released_by_match, 0);
    pair.a().protect(ModeChoice::Colo);
    pair.a().wait_for(is_live);
    set(&mut client, "key", "2");
    pair.a().protect(ModeChoice::Remus);
    let back = pair.a().wait_for(|status| !is_live(status));
    assert_eq!((&*back.colo.mode, &*back.colo.reason), ("remus", ""));
    set(&mut client, "key", "3");
    let after = pair.a().guest().unwrap();
    assert_eq!(after.colo.released_by_match, back.colo.released_by_match);
}

/// Each host sends other answers now and then: what a client hears is one guest's all the same.
#[test]
fn auto_does_without_a_copy_that_differs_and_says_why() {
    let colo = "[colo]\nrest = \"3600s\"\n";
    let differs = "[lab]\ndiverge = \"chance=1,what=value\"\n";
    let pair = Pair::with(Setup { mode: "auto", of_a: colo, of_b: differs });
    let mut client = pair.client();
    pair.a().wait_for(|status| status.protected);
    let begun = Instant::now();
    let rests = loop {
        set(&mut client, "key", "1");
        let status = pair.a().guest().unwrap();
        if status.colo.reason.contains("too little; it is tried again") {
            break status;
        }
        assert!(begun.elapsed() < HANG, "{:#?}", status.colo);
    };
    assert!(rests.colo.diverged["silence"] + rests.colo.diverged["content"] > 0, "{:#?}", rests.colo);
    assert!(rests.protected && !rests.colo.live && rests.colo.mode == "auto");
    assert_eq!(value(&mut client, "key"), "1");
}

#[test]
fn auto_goes_live_where_much_waits() {
    let pair = Pair::of("auto");
    let mut client = pair.client();
    let idle = pair.a().wait_for(|status| status.protected && !status.colo.reason.is_empty());
    assert!(!idle.colo.live, "{:#?}", idle.colo);
    let begun = Instant::now();
    while pair.a().guest().is_none_or(|status| status.colo.released_by_match <= 100) {
        set(&mut client, "key", "1");
        assert!(begun.elapsed() < HANG, "{:#?}", pair.a().guest());
    }
}

/// The image takes 8 MiB, and so would a copy.
#[test]
fn where_there_is_no_room_for_a_copy_the_guest_is_protected_without_and_says_so() {
    let pair = Pair::with(Setup { mode: "colo", of_a: "", of_b: "[limits]\nimage_max = \"12M\"\n" });
    let mut client = pair.client();
    let status = pair.a().wait_for(|status| status.colo.reason.contains("b cannot run a copy of it"));
    assert!(status.protected && !status.colo.live, "{status:#?}");
    set(&mut client, "key", "1");
    assert_eq!(pair.a().guest().unwrap().colo.released_by_match, 0);
}
