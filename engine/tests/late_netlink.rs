//! A host whose kernel answers netlink five seconds late, as while somebody holds the lock of its network configuration:
//! the event loop of a node waits for none of it.
//!
//! Needs root and iproute2's `ip`: ignored unless it is asked for (`--include-ignored`), and fails where it cannot run.

#[path = "support/address.rs"]
mod address;

use address::free_address;
use nix::sched::{CloneFlags, unshare};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use understudy::config::Settings;
use understudy::control::{GuestRole, GuestState, GuestStatus, Wish};
use understudy::node::{Node, NodeHandle};
use understudy_lab::Switch;
use understudy_netbuf::kernel::ANSWERS_LATE_MS;

/// Guards against hanging; nothing is judged by it.
const HANG: Duration = Duration::from_secs(90);
const LATE_MS: u64 = 5_000;

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split_whitespace()).status().unwrap().success(), "ip {words}");
}

/// A node of a test. Its guests are numbers, each with the peer that holds its copy.
struct Host<'a> {
    name: &'a str,
    listen: SocketAddr,
    peers: &'a [(&'a str, SocketAddr)],
    more: &'a str,
    guests: &'a [(usize, &'a str)],
}

impl Host<'_> {
    fn start(&self, dir: &Path) -> NodeHandle {
        let Self { name, listen, more, .. } = self;
        let control = dir.join(format!("{name}.sock"));
        let control = control.display();
        let mut text =
            format!("node = \"{name}\"\nlisten = \"{listen}\"\ncontrol = \"{control}\"\n{more}\n[peers]\n");
        for (peer, address) in self.peers {
            text += &format!("{peer} = \"{address}\"\n");
        }
        text += "[timing]\ninterval = \"10ms\"\nsilence_max = \"20s\"\n";
        for (guest, peer) in self.guests {
            text += &format!(
                "[[guest]]\nname = \"g{guest}\"\npeer = \"{peer}\"\nmemory = \"8M\"\n\
                 mac = \"52:54:00:00:00:{guest:02x}\"\nip = \"10.77.0.1{guest}\"\nload = \"mixed,rate=500,set=1M\"\n"
            );
        }
        let path = dir.join(format!("{name}.toml"));
        std::fs::write(&path, text).unwrap();
        let (node, handle) = Node::open(Settings::read(&path).unwrap().decide().unwrap()).unwrap();
        node.spawn(handle).unwrap()
    }
}

/// A witness's process, which ends with the test, and where it listens.
fn witness(dir: &Path) -> (Witness, SocketAddr) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(["--log", "error", "witness", "--listen", "127.0.0.1:0", "--state"])
        .arg(dir.join("witness"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let listen = line.trim().strip_prefix("witness listening on ").expect("the first line says where");
    (Witness(process), listen.parse().unwrap())
}

struct Witness(Child);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(node: &NodeHandle, guest: &str, wished: impl Fn(&GuestStatus) -> bool) -> GuestStatus {
    let begun = Instant::now();
    loop {
        let status = node.status().unwrap();
        if let Some(status) = status.guests.iter().find(|status| status.name == guest && wished(status)) {
            return status.clone();
        }
        assert!(begun.elapsed() < HANG, "{guest} never came to stand as wished: {status:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The longest turn of the loop, as the metrics tell.
fn loop_stall_seconds(metrics: SocketAddr) -> f64 {
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("understudy_loop_stall_seconds "));
    line.expect("it is served").parse().unwrap()
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_late_kernel_stops_neither_acks_nor_answers_nor_a_switchover() {
    unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root and network namespaces");
    ip("link set lo up");
    for tap in ["a-g0", "a-g1"] {
        ip(&format!("tuntap add mode tap name {tap}"));
        ip(&format!("link set {tap} up"));
    }
    let dir = tempfile::tempdir().unwrap();
    let switch = Switch::start(&dir.path().join("switch"), None).unwrap();
    let (at_a, at_b, metrics) = (free_address(), free_address(), free_address());
    // Guests at b are on a switch: what is to be late is a's kernel.
    let uplink = format!("uplink = \"{}\"", switch.path().display());
    let b =
        Host { name: "b", listen: at_b, peers: &[("a", at_a)], more: &uplink, guests: &[] }.start(dir.path());
    let more = format!("taps = \"a-\"\nmetrics = \"{metrics}\"");
    let own = [(0, "b"), (1, "b")];
    let a =
        Host { name: "a", listen: at_a, peers: &[("b", at_b)], more: &more, guests: &own }.start(dir.path());
    let guests = ["g0", "g1"];
    let acked = guests.map(|guest| wait_for(&a, guest, |status| status.protected).acked);

    ANSWERS_LATE_MS.store(LATE_MS, Ordering::Relaxed);
    // Until every thread that asks the kernel once a second is in the middle of it.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_500) {
        assert!(a.status().is_some());
        loop_stall_seconds(metrics);
    }
    for (guest, before) in guests.into_iter().zip(acked) {
        wait_for(&a, guest, |status| status.acked > before.map(|epoch| epoch + 20));
    }
    a.wish("g1", Wish::Switchover).unwrap();
    wait_for(&b, "g1", |status| status.role == GuestRole::Primary);
    wait_for(&a, "g0", |status| status.protected);
    let stall = loop_stall_seconds(metrics);
    assert!(stall < LATE_MS as f64 / 1e3 / 2.0, "the loop has waited for the kernel: {stall} s");
    ANSWERS_LATE_MS.store(0, Ordering::Relaxed);
}

/// Host a ends, and b takes g2 over by the witness's word, while b's kernel answers late: g0, which b runs and c holds, is
/// checkpointed and acked on, and the taken over guest runs once the kernel has answered.
#[test]
#[ignore = "needs root and network namespaces"]
fn a_late_kernel_stops_neither_an_automatic_takeover_nor_acks_of_another_guest() {
    unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root and network namespaces");
    ip("link set lo up");
    for tap in ["b-g0", "b-g1"] {
        ip(&format!("tuntap add mode tap name {tap}"));
        ip(&format!("link set {tap} up"));
    }
    let dir = tempfile::tempdir().unwrap();
    let switch = Switch::start(&dir.path().join("switch"), None).unwrap();
    let (_witness, at_witness) = witness(dir.path());
    let (at_a, at_b, at_c, metrics) = (free_address(), free_address(), free_address(), free_address());
    let uplink = format!("uplink = \"{}\"\nwitness = \"{at_witness}\"", switch.path().display());
    let taps = format!("taps = \"b-\"\nmetrics = \"{metrics}\"\nwitness = \"{at_witness}\"");
    let c = Host { name: "c", listen: at_c, peers: &[("b", at_b)], more: &uplink, guests: &[] };
    let c = c.start(dir.path());
    let b = Host {
        name: "b",
        listen: at_b,
        peers: &[("a", at_a), ("c", at_c)],
        more: &taps,
        guests: &[(0, "c")],
    };
    let b = b.start(dir.path());
    let a = Host { name: "a", listen: at_a, peers: &[("b", at_b)], more: &uplink, guests: &[(1, "b")] };
    let a = a.start(dir.path());
    wait_for(&a, "g1", |status| status.protected);
    let acked = |node: &NodeHandle| wait_for(node, "g0", |status| status.protected).acked;
    acked(&b);

    ANSWERS_LATE_MS.store(LATE_MS, Ordering::Relaxed);
    a.stop().unwrap();
    wait_for(&b, "g1", |status| {
        status.role == GuestRole::Secondary && status.state == GuestState::Activating
    });
    let before = acked(&b);
    wait_for(&b, "g0", |status| status.acked > before.map(|epoch| epoch + 20));
    wait_for(&b, "g1", |status| status.role == GuestRole::Primary);
    let stall = loop_stall_seconds(metrics);
    assert!(stall < LATE_MS as f64 / 1e3 / 2.0, "the loop has waited for the kernel: {stall} s");
    ANSWERS_LATE_MS.store(0, Ordering::Relaxed);
    drop(c);
}
