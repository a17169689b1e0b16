//! A witness and two nodes as processes, for tests of what operators ask of them.

use super::support::{HANG_GUARD, Running, free_address, node, witness};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use understudy::control::{Client, GuestStatus};

/// A witness and two nodes; a runs the guests.
pub(crate) struct Hosts {
    pub(crate) a: Running,
    pub(crate) b: Running,
    _witness: Running,
    at_witness: SocketAddr,
    at_a: SocketAddr,
    at_b: SocketAddr,
    /// Where b's metrics are.
    pub(crate) metrics: SocketAddr,
    directory: tempfile::TempDir,
}

fn guest(number: usize) -> String {
    format!("name=g{number},memory=8M,mac=52:54:00:00:00:0{number},ip=10.77.0.1{number},load=mixed,set=1M")
}

fn start(root: &Path, name: &str, at: SocketAddr, more: &[(&str, String)]) -> (Running, SocketAddr) {
    let disks = root.join(format!("{name}.disks")).display().to_string();
    let mut flags = vec!["--state", root.to_str().unwrap(), "--lab-disks", &*disks, "--disk-sync-rate", "8M"];
    more.iter().for_each(|(flag, value)| flags.extend([flag, &**value]));
    node(name, root, at, &flags)
}

fn of_b(at_witness: SocketAddr, at_a: SocketAddr) -> Vec<(&'static str, String)> {
    vec![("--witness", at_witness.to_string()), ("--peer", format!("a={at_a}"))]
}

impl Hosts {
    /// Guests g0, g1 … on a.
    pub(crate) fn with_guests(count: usize) -> Self {
        Self::of((0..count).map(guest))
    }

    /// These guests on a.
    pub(crate) fn of(guests: impl IntoIterator<Item = String>) -> Self {
        Self::told(guests, &[])
    }

    /// These guests on a; both nodes are told this as well.
    pub(crate) fn told(guests: impl IntoIterator<Item = String>, more: &[(&'static str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let (witness, at_witness, _) = witness(root, "127.0.0.1:0", &[]);
        let (at_a, at_b) = (free_address(), free_address());
        let (b, metrics) = start(root, "b", at_b, &[&of_b(at_witness, at_a), more].concat());
        let mut of_a = vec![("--witness", at_witness.to_string()), ("--peer", format!("b={at_b}"))];
        of_a.extend(guests.into_iter().map(|guest| ("--guest", guest)));
        of_a.extend_from_slice(more);
        let (a, _) = start(root, "a", at_a, &of_a);
        Self { a, b, _witness: witness, at_witness, at_a, at_b, metrics, directory }
    }

    pub(crate) fn kill_b(&mut self) {
        self.b.0.kill().unwrap();
        self.b.0.wait().unwrap();
    }

    pub(crate) fn start_b(&mut self) {
        (self.b, self.metrics) =
            start(self.directory.path(), "b", self.at_b, &of_b(self.at_witness, self.at_a));
    }

    pub(crate) fn client(&self, node: &str) -> Client {
        Client::new(self.control(node))
    }

    /// Where the control socket of a node is.
    pub(crate) fn control(&self, node: &str) -> PathBuf {
        self.directory.path().join(format!("{node}.sock"))
    }

    /// The command, for a node.
    pub(crate) fn ask(&self, node: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        command.args(words).arg("--control").arg(self.control(node));
        command
    }

    pub(crate) fn wait(&self, node: &str, name: &str, wanted: impl Fn(&GuestStatus) -> bool) {
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
}
