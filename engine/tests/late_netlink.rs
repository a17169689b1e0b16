//! A host whose kernel answers netlink five seconds late, as while somebody holds the lock of its network configuration:
//! the event loop of a node waits for none of it.
//!
//! Needs root and iproute2's `ip`: ignored unless it is asked for (`--include-ignored`), and fails where it cannot run.

#[path = "support/address.rs"]
mod address;

use address::free_address;
use nix::sched::{CloneFlags, unshare};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use understudy::config::Settings;
use understudy::control::{GuestRole, GuestStatus, Wish};
use understudy::node::{Node, NodeHandle};
use understudy_lab::Switch;
use understudy_netbuf::kernel::ANSWERS_LATE_MS;

/// Guards against hanging; nothing is judged by it.
const HANG: Duration = Duration::from_secs(90);
const LATE_MS: u64 = 5_000;

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split_whitespace()).status().unwrap().success(), "ip {words}");
}

fn node(dir: &Path, name: &str, listen: SocketAddr, peer: (&str, SocketAddr), more: &str) -> NodeHandle {
    let control = dir.join(format!("{name}.sock"));
    let control = control.display();
    let text = format!(
        "node = \"{name}\"\nlisten = \"{listen}\"\ncontrol = \"{control}\"\n{more}\n[peers]\n{} = \"{}\"\n\
         [timing]\ninterval = \"10ms\"\nsilence = \"20s\"\n",
        peer.0, peer.1,
    );
    let guests = (0..2).map(|guest| {
        format!(
            "[[guest]]\nname = \"g{guest}\"\nmemory = \"8M\"\nmac = \"52:54:00:00:00:{guest:02x}\"\n\
             ip = \"10.77.0.1{guest}\"\nload = \"mixed,rate=500,set=1M\"\n"
        )
    });
    let guests: String = guests.filter(|_| name == "a").collect();
    let path = dir.join(format!("{name}.toml"));
    std::fs::write(&path, text + &guests).unwrap();
    let (node, handle) = Node::open(Settings::read(&path).unwrap().decide().unwrap()).unwrap();
    node.spawn(handle).unwrap()
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
    let b = node(dir.path(), "b", at_b, ("a", at_a), &uplink);
    let a = node(dir.path(), "a", at_a, ("b", at_b), &format!("taps = \"a-\"\nmetrics = \"{metrics}\""));
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
