//! Real nodes, and a whole drill, with etcd as their witness.

use crate::cluster::Etcd;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn understudy() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.args(["--log", "error"]).stdin(Stdio::null());
    command
}

#[test]
#[ignore = "needs etcd"]
fn guests_change_hands_by_etcds_word_as_by_our_own_witness() {
    let etcd = Etcd::start_with_certificates();
    let files = etcd.files().of("node");
    let drill = understudy()
        .args(["drill", "--fail", "kill,hang,partition,switchover", "--memory", "16M", "--output", "json"])
        .args(["--witness", &etcd.address().to_string()])
        .args(["--etcd-ca", files.ca.to_str().unwrap(), "--etcd-key", files.key.to_str().unwrap()])
        .args(["--etcd-certificate", files.certificate.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&drill.stderr);
    assert!(drill.status.success(), "{said}\n{}", String::from_utf8_lossy(&drill.stdout));
    let report: serde_json::Value = serde_json::from_slice(&drill.stdout).unwrap();
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!((rounds.len(), &report["held"]), (8, &true.into()), "{report}");
    for round in rounds {
        eprintln!("{}: {}", round["failure"], round["ending"]);
    }
    let left = etcd.ctl(0, &["get", "--prefix", "--keys-only", "understudy/"]);
    assert_eq!(left.trim(), "", "the drill's keys are gone with it");
}

/// A node with a guest or without.
struct Node {
    process: Child,
    control: String,
}

impl Node {
    fn start(
        name: &str,
        directory: &Path,
        listen: SocketAddr,
        peer: (&str, SocketAddr),
        etcd: &Etcd,
        fence: &str,
    ) -> Self {
        let control = directory.join(format!("{name}.sock")).to_str().unwrap().to_owned();
        let mut command = understudy();
        command.args(["node", "--node", name, "--listen", &listen.to_string(), "--control", &control]);
        command.args(["--peer", &format!("{}={}", peer.0, peer.1), "--witness", &etcd.address().to_string()]);
        if name == "a" {
            let guest = format!("name=g1,memory=16M,mac=52:54:00:00:00:01,ip=10.77.0.11,fence={fence}");
            command.args(["--guest", &guest, "--fence-watchdog", "4s"]);
        }
        Self { process: command.stdout(Stdio::null()).spawn().unwrap(), control }
    }

    fn status(&self) -> serde_json::Value {
        let output =
            understudy().args(["status", "--output", "json", "--control", &self.control]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn state(&self) -> String {
        self.status()["guests"][0]["state"].as_str().unwrap_or_default().to_owned()
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
#[ignore = "needs etcd"]
fn a_pair_goes_on_without_a_majority_and_takes_nothing_over_by_a_restored_state() {
    let directory = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (at_a, at_b) = (free(), free());
    let b = Node::start("b", directory.path(), at_b, ("a", at_a), &etcd, "off");
    let mut a = Node::start("a", directory.path(), at_a, ("b", at_b), &etcd, "off");
    etcd.wait("the guest is protected", || a.state() == "protected");
    let witness = a.status()["witness"].clone();
    assert_eq!((&witness["kind"], &witness["connected"]), (&"etcd".into(), &true.into()), "{witness}");
    assert_eq!(witness["address"], etcd.address().to_string());
    let snapshot = etcd.save();

    etcd.kill(1);
    etcd.kill(2);
    etcd.wait("it is said that etcd is away", || a.status()["witness"]["connected"] == false);
    assert_eq!(a.state(), "protected", "protection needs no witness");
    etcd.begin(1);
    etcd.begin(2);
    etcd.wait("etcd is back", || [&a, &b].iter().all(|node| node.status()["witness"]["connected"] == true));

    // The store moves on, as it does with every change of any guest, and then goes back.
    etcd.ctl(0, &["put", "understudy/another", "1"]);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    etcd.restore(&snapshot);
    etcd.wait("the nodes have noticed", || {
        [&a, &b].iter().all(|node| {
            let reason = node.status()["witness"]["reason"].as_str().unwrap_or_default().to_owned();
            reason.contains("gone back in time")
        })
    });
    assert_eq!(a.state(), "protected");
    a.kill();
    etcd.wait("the copy is alone", || b.state() == "alone");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(b.state(), "alone", "nobody takes over by the word of an older state");
}

#[test]
#[ignore = "needs etcd"]
fn a_hung_host_is_reset_before_its_lease_in_etcd_is_taken_away_though_a_member_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (at_a, at_b) = (free(), free());
    let b = Node::start("b", directory.path(), at_b, ("a", at_a), &etcd, "enforce");
    let mut a = Node::start("a", directory.path(), at_a, ("b", at_b), &etcd, "enforce");
    etcd.wait("the guest is protected", || a.state() == "protected");
    assert_eq!(a.status()["fencing"]["watchdog"], "armed");
    etcd.kill(2);
    let pid = nix::unistd::Pid::from_raw(a.process.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let mut was_reset = false;
    etcd.wait("b runs the guest", || {
        // Looked at before the other side is.
        let reset = a.process.try_wait().unwrap().is_some();
        let runs = b.status()["guests"][0]["role"] == "primary";
        assert!(!runs || was_reset || reset, "the hung host is still there");
        was_reset |= reset;
        runs
    });
    let lease = etcd.ctl(0, &["get", "--print-value-only", "understudy/.lease/a"]);
    assert!(lease.contains(r#""standing":"taken""#), "{lease}");
}
