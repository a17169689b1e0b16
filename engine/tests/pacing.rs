//! When checkpoints are made, as an operator and a client see it: a real pair, a guest of the lab, a client on its switch.

mod support;

use std::process::{Command, Output};
use std::time::{Duration, Instant};
use support::{HANG_GUARD, Running, free_address, node, witness};
use tempfile::TempDir;
use understudy::control::{Client, GuestStatus};
use understudy_lab::memcached::Request;
use understudy_lab::{Outcome, Patience, Station, Switch};

/// Two hosts and their witness; the guest g1 runs at a, and is asked through the switch.
struct Pair {
    directory: TempDir,
    switch: Switch,
    _processes: [Running; 3],
}

impl Pair {
    fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let switch = Switch::start(&directory.path().join("switch"), None).unwrap();
        let uplink = switch.path().to_str().unwrap().to_owned();
        let (at_a, at_b) = (free_address(), free_address());
        let (witness, at_witness, _) = witness(directory.path(), "127.0.0.1:0", &[]);
        let at_witness = at_witness.to_string();
        let peer = format!("a={at_a}");
        let args = ["--witness", &at_witness, "--peer", &peer, "--uplink", &uplink];
        let (b, _) = node("b", directory.path(), at_b, &args);
        let peer = format!("b={at_b}");
        let guest = "name=g1,memory=8M,mac=52:54:00:00:00:01,ip=10.77.0.11";
        let args = ["--witness", &at_witness, "--peer", &peer, "--uplink", &uplink, "--guest", guest];
        let (a, _) = node("a", directory.path(), at_a, &[&args, flags].concat());
        let pair = Self { directory, switch, _processes: [a, b, witness] };
        pair.wait_for(|guest| guest.protected);
        pair
    }

    fn control(&self) -> String {
        self.directory.path().join("a.sock").to_str().unwrap().to_owned()
    }

    fn guest(&self) -> GuestStatus {
        self.wait_for(|_| true)
    }

    fn wait_for(&self, wished: impl Fn(&GuestStatus) -> bool) -> GuestStatus {
        let (client, begun) = (Client::new(self.control()), Instant::now());
        loop {
            let guests = client.status().map(|status| status.guests).unwrap_or_default();
            if let Some(guest) = guests.into_iter().find(|guest| wished(guest)) {
                return guest;
            }
            assert!(begun.elapsed() < HANG_GUARD, "the guest never came to stand as wished");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn protect(&self, flags: &[&str]) -> Output {
        let control = self.control();
        let args = [&["protect", "g1", "--control", &control], flags].concat();
        Command::new(env!("CARGO_BIN_EXE_understudy")).args(args).output().unwrap()
    }

    /// Asks `count` times, one after the other.
    fn ask(&self, count: u32) {
        let mac = "52:54:00:00:00:99".parse().unwrap();
        let mut station =
            Station::connect(self.switch.path(), "client", mac, [10, 77, 0, 99].into()).unwrap();
        let patience = Patience { timeout: Duration::from_secs(20), attempts: 1 };
        for number in 0..count {
            let request = Request::Get { key: b"nothing" };
            let outcome = station.ask([10, 77, 0, 11].into(), &request, patience).unwrap();
            assert!(matches!(outcome, Outcome::Answered { .. }), "request {number}: {outcome:?}");
        }
    }
}

/// With a minute until the next checkpoint by time, a client that waits for each of its answers can have them only because
/// an answer that is held makes a checkpoint.
#[test]
fn a_client_that_asks_one_thing_after_the_other_waits_for_no_clock() {
    let pair = Pair::start(&["--pacing", "interval-max=60s"]);
    let before = pair.guest();
    assert_eq!(
        before.pacing,
        "interval-min=100us,interval-max=60s,pause-share=25%,cpu-share=100%,link-rate=1073741824"
    );
    pair.ask(40);
    let after = pair.guest();
    let made = after.acked.unwrap() - before.acked.unwrap();
    assert!(made >= 40, "each answer needs a commit of its own, and there were {made}");
    assert!(
        matches!(
            after.paced_by.as_deref(),
            Some("output" | "batch" | "interval_min" | "pause_share" | "cpu_share" | "encoder")
        ),
        "{after:?}"
    );
}

#[test]
fn pacing_is_changed_while_the_guest_runs_and_what_cannot_be_is_refused() {
    let pair = Pair::start(&[]);
    assert_eq!(pair.guest().interval_ms, 200.0, "by output, as a node is where nothing is said");

    // An idle guest costs what its longest interval says, but for one that is in flight and one at the edge.
    let quiet = |guest: &GuestStatus| guest.paced_by.as_deref() == Some("quiet");
    let (before, begun) = (pair.wait_for(quiet), Instant::now());
    std::thread::sleep(Duration::from_millis(700));
    let made = pair.guest().acked.unwrap() - before.acked.unwrap();
    assert!(made as f64 <= begun.elapsed().as_secs_f64() / 0.2 + 2.0, "{made} checkpoints");
    pair.wait_for(quiet);

    assert!(pair.protect(&["--interval", "15ms"]).status.success());
    let guest = pair.wait_for(|guest| guest.paced_by.as_deref() == Some("clock"));
    assert_eq!((guest.pacing.as_str(), guest.interval_ms), ("interval=15ms", 15.0));

    assert!(pair.protect(&["--pacing", "interval-max=80ms,pause-share=10%"]).status.success());
    let guest = pair.wait_for(quiet);
    assert!(guest.pacing.contains("interval-max=80ms,pause-share=10%"), "{}", guest.pacing);

    // A budget that is not said stays.
    assert!(pair.protect(&["--pacing", "cpu-share=50%"]).status.success());
    let guest = pair.wait_for(|guest| guest.pacing.contains("cpu-share=50%"));
    assert!(guest.pacing.contains("interval-max=80ms,pause-share=10%"), "{}", guest.pacing);

    for (flags, says) in [
        (&["--pacing", "interval-max=10ms,interval-min=20ms"][..], "longer than interval-max"),
        (&["--pacing", "pause-share=100%"], "pause-share is 100"),
        (&["--pacing", "speed=9"], "not one of interval-min"),
        (&["--interval", "5ms", "--pacing", "output"], "--pacing"),
    ] {
        let refused = pair.protect(flags);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(says), "{flags:?}: {said}");
    }
    assert_eq!(pair.guest().pacing, guest.pacing, "what was refused changed nothing");
}
