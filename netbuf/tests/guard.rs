//! Other programs of the host take away what holds output, in every way there is. No cut may succeed for an epoch in
//! which a frame may have left.

mod rig;

use rig::capture::{Capture, let_pass};
use rig::scenario::{self, Guest};
use rig::{Rig, ip, output as printed, wait_until_forwarding};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;
use understudy_netbuf::Limits;
use understudy_netbuf::kernel::{Breach, KernelError, OutputCommit, OwnQueue, Start};

const HANG_GUARD: Duration = Duration::from_secs(20);

fn attach(start: Start) -> OwnQueue {
    OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), start).unwrap()
}

fn sh(script: &str) {
    let done = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A held guest, and the alarm's word.
struct Held {
    rig: Rig,
    output: OwnQueue,
    alarms: Receiver<()>,
}

impl Held {
    /// Holding since the cut of epoch 0.
    fn new() -> Self {
        let (tell, alarms) = channel();
        let held = Self { alarms, ..Self::silent() };
        held.output.on_alarm(move || {
            let _ = tell.send(());
        });
        held.alarms.recv().unwrap();
        held
    }

    /// The same, of which nobody hears alarms yet.
    fn silent() -> Self {
        let rig = Rig::new();
        let output = attach(Start::Passing);
        output.cut(Epoch(0)).unwrap();
        Self { rig, output, alarms: channel().1 }
    }

    /// Waits until nothing is wrong any more.
    fn wait_until_whole(&self) {
        let begun = Instant::now();
        while let Some(fault) = self.output.fault() {
            assert!(begun.elapsed() < HANG_GUARD, "{fault:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_for_alarm(&self) {
        self.alarms.recv_timeout(HANG_GUARD).expect("the alarm is given");
    }

    /// The cut of an epoch in which the host did `what` fails, whoever is faster.
    fn assert_leaks(self, what: &str, breach: Breach) {
        sh(what);
        let cut = self.output.cut(Epoch(1));
        assert!(matches!(cut, Err(KernelError::NotHeld { .. })), "{what}: {cut:?}");
        self.wait_for_alarm();
        assert_eq!(self.output.leak().map(|it| it.breach), Some(breach), "{what}");
        self.wait_until_whole();
        // What holds is back, and yet something may have left before the ack of its epoch.
        let cut = self.output.cut(Epoch(2));
        assert!(
            matches!(&cut, Err(KernelError::NotHeld { name, .. }) if name == "vif1.0"),
            "{what}: {cut:?}"
        );
        self.assert_holds_again(what);
    }

    /// Nothing has left by it, and everything is as it was.
    fn assert_repaired(self, what: &str) {
        sh(what);
        self.wait_for_alarm();
        self.wait_until_whole();
        assert_eq!(self.output.leak(), None, "{what}");
        self.assert_holds_again(what);
    }

    /// Cuts until that succeeds: of a tap that was just made anew the kernel may still have something to tell. The epoch
    /// that is open then.
    fn begin_to_hold(&self) -> Epoch {
        let begun = Instant::now();
        for epoch in 3.. {
            match self.output.cut(Epoch(epoch)) {
                Ok(()) => return Epoch(epoch + 1),
                Err(KernelError::NotHeld { breach: Breach::Doubted, .. }) => self.wait_until_whole(),
                Err(error) => panic!("{error}"),
            }
            assert!(begun.elapsed() < HANG_GUARD);
        }
        unreachable!("epochs do not end");
    }

    fn assert_holds_again(&self, what: &str) {
        self.output.pass().unwrap();
        assert_eq!(self.output.leak(), None, "{what}: whatever leaves now may");
        let open = self.begin_to_hold();
        let guest = Guest::new(&self.rig, open);
        guest.send_until_held(&self.output);
        let capture = Capture::start(&self.rig.outside);
        (0..20).for_each(|sequence| guest.send(sequence));
        let_pass();
        self.output.cut(open).unwrap();
        self.output.release(Epoch(open.0 - 1)).unwrap();
        let_pass();
        let held = self.output.stats().unwrap().queue.held_frames;
        assert!(held >= 20, "{what}: {held} held");
        self.output.release(open).unwrap();
        let came = capture.finish().iter().filter(|seen| seen.told.is_some()).count();
        assert_eq!(came, 20, "{what}");
    }
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_hook_that_is_deleted() {
    Held::new().assert_leaks("tc qdisc del dev vif1.0 clsact", Breach::Removed);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn filters_that_are_flushed() {
    Held::new().assert_leaks("tc filter del dev vif1.0 ingress", Breach::Removed);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn the_one_filter_that_is_deleted() {
    Held::new().assert_leaks("tc filter del dev vif1.0 ingress prio 1", Breach::Removed);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_hook_that_is_replaced_as_policing_does() {
    let what = "tc qdisc del dev vif1.0 clsact; tc qdisc add dev vif1.0 ingress || true";
    Held::new().assert_leaks(what, Breach::Removed);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_filter_of_the_same_classifier_and_priority() {
    let pass = "tc filter add dev vif1.0 ingress prio 1 protocol all bpf bytecode '1,6 0 0 0' da";
    Held::new().assert_leaks(pass, Breach::InFront { priority: 1 });
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_filter_that_takes_frames_from_the_tap() {
    let what = "tc filter add dev us-vif1.0 egress prio 7 bpf bytecode '1,6 0 0 2' da";
    Held::new().assert_leaks(what, Breach::Diverted);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_filter_of_the_taps_queue() {
    let what = "tc qdisc replace dev us-vif1.0 root handle 1: htb default 1; \
                tc filter add dev us-vif1.0 parent 1: protocol all prio 7 bpf bytecode '1,6 0 0 2' da";
    Held::new().assert_leaks(what, Breach::Diverted);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_panic_ends_no_thread_that_holds_output() {
    let held = Held::silent();
    let (is_first, name) = (AtomicBool::new(true), || std::thread::current().name().unwrap_or("").to_owned());
    let (tell, alarms) = channel();
    held.output.on_alarm(move || {
        assert!(!(name() == "netbuf-guard" && is_first.swap(false, Ordering::Relaxed)), "as the test says");
        let _ = tell.send(());
    });
    sh("tc filter del dev us-vif1.0 ingress");
    held.wait_until_whole();
    alarms.try_iter().for_each(drop);
    sh("tc filter del dev us-vif1.0 ingress");
    alarms.recv_timeout(HANG_GUARD).expect("the thread goes on and gives the next alarm");
    held.wait_until_whole();
    held.assert_holds_again("a panic");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_interface_that_is_moved_away_and_comes_back() {
    let held = Held::new();
    sh(
        "ip netns add us-test-$$; ip link set vif1.0 netns us-test-$$; ip -n us-test-$$ link set vif1.0 netns $$; \
        ip netns del us-test-$$; ip link set vif1.0 master br0 up",
    );
    wait_until_forwarding("vif1.0");
    held.wait_for_alarm();
    // Its filters went when it left: the guard may see that first.
    let leak = held.output.leak().map(|it| it.breach);
    assert!(matches!(leak, Some(Breach::Moved | Breach::Removed)), "{leak:?}");
    held.wait_until_whole();
    held.assert_holds_again("moved");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_interface_that_is_away_is_said_to_be() {
    let held = Held::new();
    sh("ip netns add us-test-$$; ip link set vif1.0 netns us-test-$$; ip netns del us-test-$$");
    assert!(held.output.cut(Epoch(1)).is_err());
    held.wait_for_alarm();
    let moved = Some(Breach::Moved);
    let leak = held.output.leak().map(|it| it.breach);
    assert!(matches!(leak, Some(Breach::Moved | Breach::Removed)), "{leak:?}");
    held.output.pass().unwrap();
    // It may be where somebody has given it a way out.
    assert_eq!(held.output.fault().map(|it| it.breach), moved);
    assert!(held.output.cut(Epoch(2)).is_err() && !held.output.is_gone());
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_hook_that_is_there_already_is_used() {
    let rig = Rig::new();
    sh("tc qdisc add dev vif1.0 ingress");
    let output = attach(Start::Holding);
    scenario::no_frame_leaves(&rig, &output);
    output.cut(Epoch(0)).unwrap();
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_tap_that_is_set_down() {
    Held::new().assert_repaired("ip link set us-vif1.0 down");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_tap_whose_room_is_taken() {
    Held::new().assert_repaired("ip link set us-vif1.0 mtu 1280");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_tap_that_is_deleted() {
    Held::new().assert_repaired("ip link del us-vif1.0");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_tap_that_is_deleted_is_no_unplugged_card() {
    let held = Held::new();
    let mut epochs = (1..).map(Epoch);
    for _ in 0..20 {
        let mut deletes = Command::new("ip").args(["link", "del", "us-vif1.0"]).spawn().unwrap();
        // Cuts before the tap is deleted, while it is being made anew, and after.
        while deletes.try_wait().unwrap().is_none() {
            let cut = held.output.cut(epochs.next().unwrap());
            assert!(matches!(cut, Ok(()) | Err(KernelError::NotHeld { .. })), "{cut:?}");
        }
        held.wait_until_whole();
    }
    assert!(!held.output.is_gone());
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_way_back_that_is_deleted() {
    Held::new().assert_repaired("tc filter del dev us-vif1.0 ingress");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn what_others_may_do_is_no_breach() {
    let held = Held::new();
    for what in [
        "tc filter add dev vif1.0 ingress prio 50 protocol ip bpf bytecode '1,6 0 0 2' da",
        "tc filter del dev vif1.0 ingress prio 50",
        "tc qdisc replace dev vif1.0 root pfifo",
        "ip link set vif1.0 nomaster; ip link set vif1.0 master br0",
        "ip link set vif1.0 down; ip link set vif1.0 up",
        "ip link set vif1.0 down; ip link set vif1.0 name zz1; ip link set zz1 name vif1.0; ip link set vif1.0 up",
    ] {
        sh(what);
        assert_eq!(held.output.leak(), None, "{what}");
        held.wait_until_whole();
    }
    assert_eq!(held.output.faults(), (None, 0));
    wait_until_forwarding("vif1.0");
    held.assert_holds_again("nothing");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn what_leaves_while_everything_may_is_put_right_before_it_may_not() {
    let rig = Rig::new();
    let output = attach(Start::Passing);
    sh("tc qdisc del dev vif1.0 clsact");
    // Unless the guard was faster, and has put it right already.
    if let Err(error) = output.cut(Epoch(0)) {
        assert!(matches!(error, KernelError::NotHeld { .. }), "{error}");
        let begun = Instant::now();
        while let Some(fault) = output.fault() {
            assert!(begun.elapsed() < HANG_GUARD, "{fault:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(output.leak(), None, "it could leave");
        output.cut(Epoch(1)).unwrap();
    }
    scenario::no_frame_leaves(&rig, &output);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_interface_with_a_filter_in_front_is_refused_and_left_as_it_was() {
    let _rig = Rig::new();
    sh("tc qdisc add dev vif1.0 clsact");
    sh("tc filter add dev vif1.0 ingress prio 1 protocol ip bpf bytecode '1,6 0 0 0' da");
    let before = printed("tc filter show dev vif1.0 ingress");
    let refused = OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), Start::Holding);
    assert!(
        matches!(&refused, Err(KernelError::NotHeld { breach: Breach::InFront { priority: 1 }, .. })),
        "{refused:?}"
    );
    drop(refused);
    assert_eq!(printed("tc filter show dev vif1.0 ingress"), before);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_interface_that_is_unplugged_has_leaked_nothing() {
    let held = Held::new();
    ip("link del vif1.0");
    let cut = held.output.cut(Epoch(1));
    assert!(matches!(&cut, Err(KernelError::Gone { name }) if name == "vif1.0"), "{cut:?}");
    assert!(held.output.is_gone() && held.output.leak().is_none());
}
