//! Who is trusted changes while nodes run: by an invitation, by a removal, by a new key. Real processes.

#[path = "support/asking.rs"]
mod asking;
#[path = "support/connected.rs"]
mod connected;
#[path = "support/keys.rs"]
mod keys;
mod support;

use asking::{GUEST, client, guest, wait_for};
use connected::connected;
use keys::{make, three, tls, trust};
use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use support::{Running, free_address, node, witness};
use understudy::control::GuestStatus;

fn understudy(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_understudy")).args(["--log", "error"]).args(words).output().unwrap()
}

/// What a command that succeeds says.
fn done(words: &[&str]) -> String {
    let output = understudy(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that is refused says.
fn refused(words: &[&str]) -> String {
    let output = understudy(words);
    assert_eq!(output.status.code(), Some(6), "{words:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn directory(root: &Path, name: &str) -> String {
    tls(root, name).display().to_string()
}

/// The words of the line that `invite` prints, for `--tls` of somebody.
fn invited(root: &Path, inviter: &str, name: &str, at: SocketAddr) -> Vec<String> {
    let of = directory(root, inviter);
    let said = done(&["invite", name, "--address", &at.to_string(), "--tls", &of]);
    let line =
        said.lines().find_map(|line| line.trim().strip_prefix("understudy ")).expect("a line to paste");
    line.split(' ').map(String::from).collect()
}

fn join<'a>(line: &'a [String], directory: &'a str) -> Vec<&'a str> {
    line.iter().map(String::as_str).chain(["--tls", directory]).collect()
}

#[test]
fn one_line_makes_two_nodes_trust_each_other_once() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    make(root, &["a", "c"]);
    let (at_a, at_b) = (free_address(), free_address());
    let of_a = directory(root, "a");
    let _a = node("a", root, at_a, &["--tls", &of_a]);
    wait_for(&client(root, "a"), |_| Some(()));
    let (of_b, of_c) = (directory(root, "b"), directory(root, "c"));

    // Nobody is invited.
    let line = ["join", "b", &at_a.to_string(), &"0".repeat(64), &"0".repeat(32)].map(String::from);
    assert!(refused(&join(&line, &of_c)).contains("expects nobody"));
    let line = invited(root, "a", "b", at_a);
    // Not for another name, with another token, or where another is than the line names.
    let with = |at: usize, word: &str| {
        let mut line = line.clone();
        line[at] = word.to_owned();
        refused(&join(&line, &of_c))
    };
    assert!(with(1, "x").contains("no invitation for x"));
    assert!(with(1, "a").contains("is the name of this end"));
    assert!(with(4, &"0".repeat(32)).contains("not that of the invitation"));
    assert!(with(3, &"0".repeat(64)).contains("is not the one that the line of the invitation names"));
    assert_eq!(
        fs::read_dir(tls(root, "a").join("trust")).unwrap().count(),
        0,
        "nobody is trusted by all that"
    );

    let said = done(&join(&line, &of_b));
    let listed = done(&["trust", "list", "--tls", &of_b]);
    let own = listed.lines().next().unwrap().strip_prefix("own      ").unwrap();
    assert!(said.contains(own) && said.contains("a shows:"), "both fingerprints: {said}");
    assert!(done(&["trust", "list", "--tls", &of_a]).contains(&format!("b        {own}")));
    // The line was good once.
    assert!(refused(&join(&line, &of_c)).contains("expects nobody: the line was used"));
    // It links at once, and a was never restarted.
    let _b = node("b", root, at_b, &["--tls", &of_b, "--peer", &format!("a={at_a}")]);
    wait_for(&client(root, "a"), |status| connected(status, "b"));
    // Who has b's name has another certificate: it has to be removed by a person first.
    let line = invited(root, "a", "b", at_a);
    assert!(refused(&join(&line, &of_c)).contains("b has another certificate"));
}

#[test]
fn nodes_join_their_witness_by_a_line_as_well() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    make(root, &["witness"]);
    let (listen, of_witness) = (free_address(), directory(root, "witness"));
    let (_witness, _, _) = witness(root, &listen.to_string(), &["--tls", &of_witness]);
    let of_a = directory(root, "a");
    let line = invited(root, "witness", "a", listen);
    assert!(done(&join(&line, &of_a)).contains("witness shows:"));
    let _a = node("a", root, free_address(), &["--tls", &of_a, "--witness", &listen.to_string()]);
    wait_for(&client(root, "a"), |status| status.witness.connected.then_some(()));
}

/// The connections of the kernel between these addresses: the same ones as long as none was made anew.
fn connections(at: [SocketAddr; 2]) -> BTreeSet<String> {
    let spelled = |at: SocketAddr| {
        let SocketAddr::V4(at) = at else { panic!() };
        let at: SocketAddrV4 = at;
        format!("{:08X}:{:04X}", u32::from_le_bytes(at.ip().octets()), at.port())
    };
    let wanted = at.map(spelled);
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.get(3) == Some(&"01") && wanted.iter().any(|at| words[1..3].contains(&&**at))
    };
    let ends = |line: &str| line.split_whitespace().skip(1).take(2).collect::<Vec<_>>().join(" ");
    table.lines().filter(is_one).map(ends).collect()
}

/// Processes with a protected guest on a; the copy is on b.
struct Protected {
    root: tempfile::TempDir,
    a: Running,
    b: Option<Running>,
    witness: Running,
    at_a: SocketAddr,
    at_b: SocketAddr,
    listen: String,
}

impl Protected {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        three(root);
        let (at_a, at_b, listen) = (free_address(), free_address(), free_address().to_string());
        let (witness, _, _) = witness(root, &listen, &["--tls", &directory(root, "witness")]);
        let to_b = format!("b={at_b}");
        let of_a = directory(root, "a");
        let of_a = ["--tls", &of_a, "--witness", &listen, "--peer", &to_b, "--guest", GUEST];
        let (a, _) = node("a", root, at_a, &of_a);
        let mut this = Self { a, b: None, witness, at_a, at_b, listen, root: dir };
        this.start_b();
        this.is_protected();
        this
    }

    fn start_b(&mut self) {
        let root = self.root.path();
        let (of_b, to_a) = (directory(root, "b"), format!("a={}", self.at_a));
        let flags = ["--tls", &of_b, "--witness", &self.listen, "--peer", &to_a];
        self.b = Some(node("b", root, self.at_b, &flags).0);
    }

    fn is_protected(&self) -> GuestStatus {
        wait_for(&client(self.root.path(), "a"), |status| guest(status, |guest| guest.protected))
    }

    fn hang_up(&self, running: &Running) {
        let pid = nix::unistd::Pid::from_raw(running.0.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    }

    fn reload(&self, node: &str) {
        let control = self.root.path().join(format!("{node}.sock")).display().to_string();
        done(&["reload", "--control", &control]);
    }
}

#[test]
fn a_reload_and_a_new_key_leave_a_protected_guest_alone() {
    let mut pair = Protected::new();
    let root = pair.root.path().to_owned();
    let before = pair.is_protected();
    let links = connections([pair.at_a, pair.at_b]);
    assert!(!links.is_empty());
    // b gets a new key: those who know it take both, then b shows the new one, then the old one goes.
    make(&root, &["new"]);
    for who in ["a", "witness"] {
        let pin = tls(&root, who).join("trust/b.crt");
        let both = [pin.clone(), tls(&root, "new").join("own.crt")].map(|at| fs::read_to_string(at).unwrap());
        fs::write(pin, both.concat()).unwrap();
    }
    pair.reload("a");
    pair.hang_up(&pair.witness);
    for file in ["own.key", "own.crt"] {
        fs::copy(tls(&root, "new").join(file), tls(&root, "b").join(file)).unwrap();
    }
    pair.reload("b");
    pair.hang_up(pair.b.as_ref().unwrap());
    let acked = before.commit_us.count + 20;
    let client_a = client(&root, "a");
    let after = wait_for(&client_a, |status| guest(status, |it| it.protected && it.commit_us.count > acked));
    assert_eq!(after.generation, before.generation);
    assert_eq!(connections([pair.at_a, pair.at_b]), links, "the link is the one that it was");

    // Files that cannot be used change nothing.
    let key = tls(&root, "a").join("own.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let control = root.join("a.sock").display().to_string();
    let said = understudy(&["reload", "--control", &control]);
    assert!(!said.status.success());
    assert!(String::from_utf8_lossy(&said.stderr).contains("Nothing has changed"), "{said:?}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(connections([pair.at_a, pair.at_b]), links);

    // A new connection is made with the new key, and by now by it alone.
    for who in ["a", "witness"] {
        trust(&root, who, "new", "b");
    }
    pair.reload("a");
    pair.hang_up(&pair.witness);
    drop(pair.b.take());
    wait_for(&client_a, |status| guest(status, |guest| !guest.protected));
    pair.start_b();
    assert_eq!(pair.is_protected().generation, before.generation);
}

#[test]
fn who_is_trusted_no_more_loses_its_link_at_once_and_has_it_back_with_its_certificate() {
    let pair = Protected::new();
    let root = pair.root.path().to_owned();
    let before = pair.is_protected();
    let (of_a, control) = (directory(&root, "a"), root.join("a.sock").display().to_string());
    let remove = ["trust", "remove", "b", "--tls", &of_a, "--control", &control];
    assert!(done(&remove).contains("its link has ended"));
    let client_a = client(&root, "a");
    let reason = wait_for(&client_a, |status| {
        let peer = status.peers.iter().find(|it| it.node == "b" && !it.connected)?;
        Some(peer.reason.clone())
    });
    assert!(reason.contains("not trusted"), "{reason}");
    wait_for(&client(&root, "b"), |status| {
        let peer = status.peers.iter().find(|it| it.node == "a")?;
        (!peer.connected && peer.reason.contains("does not trust this end's certificate")).then_some(())
    });
    assert!(refused(&remove).contains("is not trusted by a file"));
    // a had the time to say that its guest goes on without b.
    wait_for(&client_a, |status| guest(status, |guest| !guest.protected));
    trust(&root, "a", "b", "b");
    pair.hang_up(&pair.a);
    let again = pair.is_protected();
    assert_eq!(again.generation, before.generation, "the guest stayed where it was");
}
