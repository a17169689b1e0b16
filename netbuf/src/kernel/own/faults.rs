//! Tests: each request to the kernel in turn is refused or not answered. Held output must not leak, nothing may be left
//! behind, and no guest that nobody holds may stay cut off.

use super::*;
use crate::kernel::CutOff;
use crate::kernel::netlink::faults::{self, Fault};
use crate::kernel::redirect::{self, Device};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::process::Command;
use std::time::{Duration, Instant};

const GONE: Fault = Fault::Refused(Errno::ENODEV);
const FAULTS: [Fault; 5] = [
    Fault::Refused(Errno::EPERM),
    GONE,
    Fault::Refused(Errno::EBUSY),
    Fault::Refused(Errno::ENOBUFS),
    Fault::Unanswered,
];

fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let done = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Makes a network namespace with an interface `vif1.0`.
fn host() {
    unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root and network namespaces");
    run("ip link add vif1.0 type veth peer name guest0");
    run("ip link set vif1.0 up");
}

fn inventory() -> String {
    // The hook stays, with nothing on it.
    let qdiscs = run("tc qdisc show");
    let qdiscs: Vec<_> = qdiscs.lines().filter(|line| !line.contains("clsact")).collect();
    run("ip -br link") + &qdiscs.join("\n") + &run("tc filter show dev vif1.0 ingress")
}

/// Waits until the inventory equals `before`: a tap goes with its last descriptor, which a process forked by another
/// test may have for a moment.
fn assert_stands_at(before: &str, what: &str) {
    let begun = Instant::now();
    while inventory() != before && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(inventory(), before, "{what}");
}

fn attach() -> Result<OwnQueue, KernelError> {
    let begun = Instant::now();
    while run("ip -br link").contains("us-vif1.0") && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), Start::Holding)
}

fn let_go(queue: OwnQueue) {
    queue.pass().unwrap();
    queue.detach().unwrap();
}

/// Whether a redirect of ours is on the interface.
fn is_kept() -> bool {
    let mut connection = Connection::open().unwrap();
    let vif = Device::find(&mut connection, "vif1.0").unwrap();
    !redirect::ours(&mut connection, &vif).unwrap().is_empty()
}

/// Runs `work` once for each of its requests and each fault.
fn with_each_request_struck(by: &[Fault], mut work: impl FnMut(&str)) {
    for &fault in by {
        for request in 0.. {
            faults::plan(request, fault);
            work(&format!("{fault:?} of request {request}"));
            if !faults::clear() {
                assert!(request > 0, "no request was struck");
                break;
            }
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces"]
fn attaching_that_fails_leaves_the_interface_as_it_was() {
    host();
    let before = inventory();
    let mut refusals = 0;
    with_each_request_struck(&FAULTS, |what| {
        match attach() {
            // One of those that may be refused.
            Ok(queue) => faults::suspended(|| let_go(queue)),
            Err(error) => {
                refusals += 1;
                assert!(!error.to_string().is_empty());
            }
        }
        assert_stands_at(&before, what);
    });
    assert!(refusals > 10, "{refusals}");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn attaching_that_fails_where_a_dead_engine_held_lets_nothing_out() {
    host();
    with_each_request_struck(&FAULTS, |what| {
        // The tap of an engine that is gone goes with it; its redirect stays.
        faults::suspended(|| drop(attach().unwrap()));
        drop(attach());
        assert!(faults::suspended(is_kept), "{what}");
    });
}

#[test]
#[ignore = "needs root and network namespaces"]
fn cutting_off_that_fails_is_said_and_one_that_does_not_holds() {
    host();
    let before = inventory();
    with_each_request_struck(&FAULTS, |what| {
        let cut_off = CutOff::new("vif1.0");
        faults::suspended(|| {
            if let Ok(cut_off) = cut_off {
                assert!(is_kept() || run("ip -br link show vif1.0").contains("DOWN"), "{what}");
                cut_off.lift().unwrap();
            }
            run("ip link set vif1.0 up");
            assert_stands_at(&before, what);
        });
    });
}

#[test]
#[ignore = "needs root and network namespaces"]
fn detaching_gives_the_direct_way_back_though_a_request_fails() {
    host();
    let before = inventory();
    // A kernel that says that the interface is gone is believed.
    let by = FAULTS.map(|fault| if fault == GONE { Fault::Refused(Errno::EAGAIN) } else { fault });
    with_each_request_struck(&by, |what| {
        let queue = faults::suspended(|| {
            let queue = attach().unwrap();
            queue.pass().unwrap();
            queue
        });
        queue.detach().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_stands_at(&before, what);
    });
}
