//! `understudy remus` as a script meets it: a real node with a guest of the lab, and how each run ends.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Instant;
use support::{HANG_GUARD, Running, free_address, node, witness};
use tempfile::TempDir;
use understudy::control::{Client, GuestState, GuestStatus, Wish};

/// Two hosts and their witness; the guest g1 runs at a.
struct Pair {
    directory: TempDir,
    a: Running,
    _others: [Running; 2],
}

impl Pair {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (at_a, at_b) = (free_address(), free_address());
        let (witness, at_witness, _) = witness(directory.path(), "127.0.0.1:0", &[]);
        let at_witness = at_witness.to_string();
        let peer = format!("a={at_a}");
        let args = ["--witness", &at_witness, "--peer", &peer];
        let (b, _) = node("b", directory.path(), at_b, &args);
        let peer = format!("b={at_b}");
        let guest = "name=g1,memory=8M,mac=52:54:00:00:00:01,ip=10.77.0.11";
        let args = ["--witness", &at_witness, "--peer", &peer, "--guest", guest];
        let (a, _) = node("a", directory.path(), at_a, &args);
        let pair = Self { directory, a, _others: [b, witness] };
        pair.wait_for(|guest| guest.protected);
        pair
    }

    fn control(&self) -> String {
        self.directory.path().join("a.sock").to_str().unwrap().to_owned()
    }

    /// Waits until the guest at a is as wished.
    fn wait_for(&self, wished: impl Fn(&GuestStatus) -> bool) -> GuestStatus {
        let (client, begun) = (Client::new(self.control()), Instant::now());
        loop {
            let status = client.status().ok();
            let guest = status.and_then(|status| status.guests.into_iter().find(|guest| wished(guest)));
            if let Some(guest) = guest {
                return guest;
            }
            assert!(begun.elapsed() < HANG_GUARD, "the guest never came to stand as wished");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn remus(&self, args: &[&str]) -> Remus {
        let mut process = command(&[&["--control", &self.control()], args].concat()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Remus { process, lines }
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.arg("remus").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// One that was started and stays.
struct Remus {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Remus {
    fn says(&mut self, words: &str) {
        let line = self.lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(words)));
        assert!(line.is_some(), "it ended and never said {words:?}");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }

    fn ends(self, code: i32) {
        let output = self.process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_sets_the_interval_stays_and_ctrl_c_ends_protection() {
    let pair = Pair::start();
    let mut remus = pair.remus(&["-Fdn", "-i", "40", "g1", "b"]);
    remus.says("protected; its copy is on b, a checkpoint every 40 ms");
    assert_eq!(pair.wait_for(|_| true).interval_ms, 40.0);
    remus.signal(Signal::SIGINT);
    remus.says("goes on without a copy");
    remus.ends(0);
    let guest = pair.wait_for(|_| true);
    assert_eq!((guest.state, guest.wished), (GuestState::Unprotected, false));

    // Once more, as a script does; this time somebody else ends it.
    let mut again = pair.remus(&["g1", "b"]);
    again.says("protected; its copy is on b, a checkpoint every 40 ms");
    Client::new(pair.control()).wish("g1", Wish::Unprotect).unwrap();
    again.says("goes on without a copy");
    again.ends(0);
}

#[test]
fn a_guest_that_moved_is_what_was_wished() {
    let pair = Pair::start();
    let mut remus = pair.remus(&["g1", "b"]);
    remus.says("protected");
    Client::new(pair.control()).wish("g1", Wish::Switchover).unwrap();
    remus.says("runs on b now");
    remus.ends(0);
}

#[test]
fn the_node_goes_on_without_it_and_it_does_not_without_the_node() {
    let mut pair = Pair::start();
    let mut killed = pair.remus(&["g1", "b"]);
    killed.says("protected");
    killed.signal(Signal::SIGKILL);
    killed.process.wait().unwrap();
    assert!(pair.wait_for(|_| true).protected, "the node goes on");

    let mut remus = pair.remus(&["g1", "b"]);
    remus.says("protected");
    pair.a.0.kill().unwrap();
    pair.a.0.wait().unwrap();
    remus.ends(5);
}

/// Ends at once, with this code and these words.
fn refused(args: &[&str], code: i32, words: &str) {
    let output = command(args).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?} said {}", said(&output));
    assert!(said(&output).contains(words), "{args:?} said {}", said(&output));
}

#[test]
fn what_cannot_be_ends_with_its_reason() {
    let nowhere = Path::new("/nowhere/a.sock").to_str().unwrap();
    refused(&["--control", nowhere, "g1", "b"], 5, "Start `understudy node");
    refused(&["-c", "g1", "b"], 6, "COLO (-c) is not there yet");
    refused(&["-p", "g1", "b"], 2, "give -c");
    refused(&["-d", "g1", "b"], 2, "only with -F");
    refused(&["-n", "g1", "b"], 2, "only with -F");
    refused(&["-b", "g1", "b"], 2, "only with -F");
    refused(&["-Fb", "g1", "b"], 6, "There are no checkpoints of g1: ");
    refused(&["g1"], 2, "HOST");

    let pair = Pair::start();
    let control = pair.control();
    refused(&["--control", &control, "g1", "c"], 6, "c is not a peer of this host's node, which has b");
    refused(&["--control", &control, "g2", "b"], 6, "--hypervisor xen");
    assert!(pair.wait_for(|_| true).protected, "nothing of this changes anything");
}
