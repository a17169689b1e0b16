//! The cost of output commit for each epoch and interface, beside a bare netlink round trip.
//!
//! Prints a table. Its last column is the median as a multiple of the round trip that takes the lock of every network
//! change. Needs root, network namespaces and `ip`; without them it says so and ends.

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, sendto,
    setsockopt, socket, sockopt,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;
use understudy_netbuf::Limits;
use understudy_netbuf::kernel::{OutputCommit, OwnQueue, Start};

const ROUNDS: u64 = 2_000;
const VIFS: [&str; 8] = ["vif1.0", "vif1.1", "vif1.2", "vif1.3", "vif1.4", "vif1.5", "vif1.6", "vif1.7"];

fn main() {
    // `cargo test` runs benches too, without this word; a table is not a test.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    if !nix::unistd::geteuid().is_root() || unshare(CloneFlags::CLONE_NEWNET).is_err() {
        println!("skipped: needs root and network namespaces");
        return;
    }
    ip("link add br0 type bridge");
    ip("link set br0 up");
    for (number, vif) in VIFS.iter().enumerate() {
        ip(&format!("link add {vif} type veth peer name guest{number}"));
        ip(&format!("link set {vif} master br0 up"));
        ip(&format!("link set guest{number} addrgenmode none up"));
    }
    println!("{:<48} {:>9} {:>9} {:>9} {:>12}", "microseconds", "median", "p99", "max", "round trips");
    let bare = round_trip();
    for count in [1, 2, 4, 8] {
        match OwnQueue::attach(&VIFS[..count], Epoch(0), Limits::default(), Start::Holding) {
            Ok(output) => epochs(bare, &format!("own queue, interfaces: {count}"), &output),
            Err(error) => println!("own queue: {error}"),
        }
    }
    for frames in [10, 1_000] {
        through(bare, frames);
    }
    cuts_under_load(bare);
}

/// Requests without this crate: one that describes an interface, and one that changes nothing under the lock
/// that every change of the network takes. The median of the latter is what all else is
/// compared with.
fn round_trip() -> Duration {
    const GET_LINK: u16 = 18;
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 5;
    let kernel = NetlinkAddr::new(0, 0);
    let protocol = SockProtocol::NetlinkRoute;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    let measured =
        [("netlink: describe", GET_LINK), ("netlink: change nothing", NEW_LINK)].map(|(name, kind)| {
            let mut message = [0u8; 32];
            message[0] = 32;
            message[4..6].copy_from_slice(&kind.to_ne_bytes());
            message[6..8].copy_from_slice(&REQUEST_AND_ACK.to_ne_bytes());
            message[20..24].copy_from_slice(&1i32.to_ne_bytes());
            let mut answer = [0; 8192];
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                let start = Instant::now();
                sendto(netlink.as_raw_fd(), &message, &kernel, MsgFlags::empty()).expect("netlink");
                // A description comes before its ack.
                for _ in 0..if kind == GET_LINK { 2 } else { 1 } {
                    recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("netlink");
                }
                times.push(start.elapsed());
            }
            times.sort_unstable();
            (name, times)
        });
    let bare = measured[1].1[ROUNDS as usize / 2];
    for (name, times) in measured {
        line(bare, name, times);
    }
    bare
}

fn epochs(bare: Duration, name: &str, output: &dyn OutputCommit) {
    let (mut cuts, mut releases) = (Vec::new(), Vec::new());
    for epoch in (0..ROUNDS).map(Epoch) {
        let start = Instant::now();
        output.cut(epoch).expect("cut");
        cuts.push(start.elapsed());
        let start = Instant::now();
        output.release(epoch).expect("release");
        releases.push(start.elapsed());
    }
    line(bare, &format!("{name}: cut"), cuts);
    line(bare, &format!("{name}: release, nothing held"), releases);
}

/// A release of held frames: how long the call takes, and how long until the last frame is at a neighbour.
fn through(bare: Duration, frames: usize) {
    let output = OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), Start::Holding);
    let Ok(output) = output else { return };
    let (guest, neighbour) = (packet_socket("guest0"), packet_socket("guest1"));
    setsockopt(&neighbour, sockopt::RcvBufForce, &(64 << 20)).expect("root");
    // The neighbour speaks once, so that the bridge knows where it is.
    send(neighbour.as_raw_fd(), &frame(9, 8), MsgFlags::empty()).expect("the neighbour sends");
    let frame = frame(8, 9);
    let mut into = [0; 2048];
    let (mut calls, mut last_frames) = (Vec::new(), Vec::new());
    for epoch in (0..100).map(Epoch) {
        for _ in 0..frames {
            send(guest.as_raw_fd(), &frame, MsgFlags::empty()).expect("the guest sends");
        }
        while output.stats().expect("stats").queue.held_frames < frames {
            std::thread::yield_now();
        }
        output.cut(epoch).expect("cut");
        let start = Instant::now();
        output.release(epoch).expect("release");
        calls.push(start.elapsed());
        for _ in 0..frames {
            recv(neighbour.as_raw_fd(), &mut into, MsgFlags::empty()).expect("the neighbour receives");
        }
        last_frames.push(start.elapsed());
    }
    line(bare, &format!("own queue: release of {frames} frames, the call"), calls);
    line(bare, &format!("own queue: release of {frames} frames, the last"), last_frames);
}

/// How long a cut takes while the queue is busy: it may find a turn of 64 frames under way.
fn cuts_under_load(bare: Duration) {
    let output = OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), Start::Holding);
    let Ok(output) = output else { return };
    let guest = packet_socket("guest0");
    let done = AtomicBool::new(false);
    let mut cuts = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                send(guest.as_raw_fd(), &frame(8, 9), MsgFlags::empty()).expect("the guest sends");
            }
        });
        for epoch in (0..500).map(Epoch) {
            std::thread::sleep(Duration::from_millis(2));
            let start = Instant::now();
            output.cut(epoch).expect("cut");
            cuts.push(start.elapsed());
            output.release(epoch).expect("release");
        }
        done.store(true, Ordering::Relaxed);
    });
    line(bare, "own queue: cut under full load", cuts);
}

/// A full frame between two addresses of this bench.
fn frame(from: u8, to: u8) -> Vec<u8> {
    let address = |last| [2, 0, 0, 0, 0, last];
    [&address(to)[..], &address(from), &[0x88, 0xb6], &[0; 1486]].concat()
}

fn packet_socket(interface: &str) -> OwnedFd {
    let protocol = SockProtocol::EthAll;
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).expect("root");
    let mut addresses = getifaddrs().expect("interfaces").filter(|it| it.interface_name == interface);
    let address = addresses.find_map(|it| it.address?.as_link_addr().copied()).expect("just made");
    bind(socket.as_raw_fd(), &address).expect("it is up");
    socket
}

fn line(bare: Duration, name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 1000].as_secs_f64() * 1e6;
    let ratio = at(500) / (bare.as_secs_f64() * 1e6);
    println!("{name:<48} {:>9.2} {:>9.2} {:>9.2} {ratio:>12.2}", at(500), at(990), at(1000));
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split_whitespace()).status().expect("the program ip");
    assert!(done.success(), "ip {words}");
}
