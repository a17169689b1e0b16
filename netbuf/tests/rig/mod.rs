//! A guest, its host and the outside world in three network namespaces of this machine.
//!
//! ```text
//!   guest            │ dom0 (the test's thread)      │ outside
//!   eth0 10.9.0.2 ───┼─ vif1.0 ─┐                    │
//!   fd00:9::2        │          br0 ── out0 ─────────┼─ eth0 10.9.0.1, fd00:9::1
//!                                                         ▲ capture
//! ```
//!
//! Needs root and iproute2's `ip` and `tc`: such tests are ignored unless they are asked for (`--include-ignored`), and
//! fail where they cannot run.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod capture;
pub(crate) mod engine;
pub(crate) mod judge;
pub(crate) mod scenario;

use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The guest's MAC address.
pub(crate) const GUEST_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 2];
/// The outside's MAC address.
pub(crate) const OUTSIDE_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 1];

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with a thread in it.
pub(crate) struct Place {
    tid: i32,
    jobs: mpsc::Sender<Job>,
}

impl Place {
    fn new() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        Self { tid: told.recv().unwrap(), jobs }
    }

    /// Does `work` inside.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.jobs.send(Box::new(move || drop(tell.send(work())))).unwrap();
        told.recv().expect("the work inside did not panic")
    }

    /// Starts a thread inside.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.run(move || std::thread::spawn(work))
    }

    pub(crate) fn ip(&self, words: &str) {
        let words = words.to_owned();
        self.run(move || ip(&words));
    }
}

/// `ip` in the calling thread's namespace.
pub(crate) fn ip(words: &str) {
    let done = Command::new("ip").args(words.split_whitespace()).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

/// What a command prints, in the calling thread's namespace.
pub(crate) fn output(command: &str) -> String {
    let mut words = command.split_whitespace();
    let done = Command::new(words.next().unwrap()).args(words).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The three places, wired. The calling thread is in dom0 from here on.
pub(crate) struct Rig {
    pub(crate) guest: Place,
    pub(crate) outside: Place,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(1500, 1)
    }

    /// With this MTU, and this many queues of the guest's card, each with its own processor's frames.
    pub(crate) fn with(mtu_bytes: u32, queues: u32) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root and network namespaces");
        let rig = Self { guest: Place::new(), outside: Place::new() };
        ip("link set lo up");
        ip("link add br0 type bridge mcast_snooping 0");
        ip(&format!("link set br0 mtu {mtu_bytes} up"));
        for (port, place, mac, host) in
            [("vif1.0", &rig.guest, GUEST_MAC, 2), ("out0", &rig.outside, OUTSIDE_MAC, 1)]
        {
            let tid = place.tid;
            let shape = format!("mtu {mtu_bytes} numtxqueues {queues} numrxqueues {queues}");
            ip(&format!("link add {port} {shape} type veth peer name eth0 netns {tid} {shape}"));
            ip(&format!("link set {port} master br0 up"));
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            place.ip("link set lo up");
            place.ip(&format!("link set eth0 mtu {mtu_bytes} address {mac} up"));
            place.ip(&format!("addr add 10.9.0.{host}/24 dev eth0"));
            place.ip(&format!("addr add fd00:9::{host}/64 dev eth0 nodad"));
        }
        ["vif1.0", "out0"].into_iter().for_each(wait_until_forwarding);
        rig
    }

    /// A second interface of the guest, `vif1.1`, which the guest calls `eth1`.
    pub(crate) fn add_second_interface(&self) {
        let tid = self.guest.tid;
        ip(&format!("link add vif1.1 type veth peer name eth1 netns {tid}"));
        ip("link set vif1.1 master br0 up");
        self.guest.ip("link set eth1 address 02:00:00:00:01:03 up");
    }
}

/// Keeps the calling thread, and all that it will start, on one processor: a veth queues frames on the processor
/// at hand, and with several of them it changes their order. That is not what these tests are about.
pub(crate) fn stay_on_one_processor() {
    let this_thread = nix::unistd::Pid::from_raw(0);
    let may = sched_getaffinity(this_thread).unwrap();
    let first = (0..CpuSet::count()).find(|processor| may.is_set(*processor).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(first).unwrap();
    sched_setaffinity(this_thread, &one).unwrap();
}

/// Waits until the bridge takes frames from a port; a port that was just brought up is not ready at once.
pub(crate) fn wait_until_forwarding(port: &str) {
    let is_forwarding = || output(&format!("ip -d link show {port}")).contains("state forwarding");
    for _ in 0..500 {
        if is_forwarding() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{port} does not forward");
}

/// Frames that this machine's processors have dropped because too many waited for them (`netdev_max_backlog`).
pub(crate) fn backlog_drops() -> u64 {
    let lines = std::fs::read_to_string("/proc/thread-self/net/softnet_stat").unwrap();
    let second = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    lines.lines().filter_map(second).sum()
}

/// What the host's network consists of, to see that nothing was left behind.
pub(crate) fn inventory() -> String {
    let links = output("ip -o link");
    let names = links.lines().filter_map(|line| line.split_whitespace().nth(1));
    let names: Vec<_> = names.map(str::to_owned).collect();
    let filters = names.iter().map(|name| {
        let device = name.trim_end_matches(':').split('@').next().unwrap();
        output(&format!("tc filter show dev {device} ingress"))
    });
    // A hook on which nothing hangs may stay.
    let qdiscs = output("tc qdisc show");
    let qdiscs: Vec<_> = qdiscs.lines().filter(|line| !line.contains("clsact")).collect();
    names.join(" ") + &qdiscs.join("\n") + &filters.collect::<String>()
}
