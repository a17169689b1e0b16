//! The own queue against this machine's kernel: real frames through real taps, filters and bridges.

mod rig;

use rig::capture::{Capture, Seen, let_pass};
use rig::judge::{AckLog, Verdict};
use rig::scenario::{self, Guest, ReleasesEarly};
use rig::{GUEST_MAC, Rig, engine, inventory, ip, stay_on_one_processor, wait_until_forwarding};
use std::sync::Arc;
use understudy_checkpoint::Epoch;
use understudy_netbuf::Limits;
use understudy_netbuf::kernel::{Connection, KernelError, OutputCommit, OwnQueue, Start, leftovers};

const REVERSE_ARP: [u8; 2] = [0x80, 0x35];

fn attach(start: Start) -> OwnQueue {
    OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), start).unwrap()
}

#[test]
#[ignore = "needs root and network namespaces"]
fn every_protocol_waits_for_its_ack() {
    let rig = Rig::new();
    let before = inventory();
    let output = attach(Start::Holding);
    scenario::every_protocol_waits_for_its_ack(&rig, &output);
    output.pass().unwrap();
    output.detach().unwrap();
    scenario::nothing_is_left(&before);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_hundred_thousand_frames_with_epochs_in_flight() {
    stay_on_one_processor();
    let rig = Rig::new();
    let output = Arc::new(attach(Start::Holding));
    let backlog_drops = rig::backlog_drops();
    let verdict = scenario::many_frames(&rig, output.clone(), 100_000);
    let (stats, backlog_drops) = (output.stats().unwrap(), rig::backlog_drops() - backlog_drops);
    let wrong = (verdict.early, verdict.twice, verdict.reordered, stats.dropped());
    assert_eq!(wrong, (0, 0, 0, 0), "{verdict:?} {stats:?}");
    // On a slow machine the veth to the outside, behind the buffer, drops what its processor has no room for.
    assert!(verdict.lost as u64 <= backlog_drops, "{verdict:?} {backlog_drops}");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn tcp_and_udp_work_with_super_packets() {
    let rig = Rig::new();
    let output = Arc::new(attach(Start::Passing));
    let longest = scenario::real_traffic(&rig, output.clone());
    assert!(longest > 9014, "{longest} bytes: no super-packet came through whole");
    assert_eq!(output.stats().unwrap().dropped(), 0);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn tcp_and_udp_work_with_an_mtu_of_9000() {
    let rig = Rig::with(9000, 1);
    let output = Arc::new(attach(Start::Passing));
    let longest = scenario::real_traffic(&rig, output.clone());
    assert!(longest > 9014, "{longest} bytes: no super-packet came through whole");
    assert_eq!(output.stats().unwrap().dropped(), 0);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn tcp_and_udp_work_with_several_queues() {
    let rig = Rig::with(9000, 4);
    assert!(rig::output("ip -d link show vif1.0").contains("numtxqueues 4 numrxqueues 4"));
    let output = Arc::new(attach(Start::Passing));
    let longest = scenario::real_traffic(&rig, output.clone());
    assert!(longest > 9014, "{longest} bytes: no super-packet came through whole");
    assert_eq!(output.stats().unwrap().dropped(), 0);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn every_protocol_waits_for_its_ack_with_several_queues() {
    let rig = Rig::with(1500, 4);
    let output = attach(Start::Holding);
    scenario::every_protocol_waits_for_its_ack(&rig, &output);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_killed_engine_leaves_output_held_and_a_new_one_takes_over() {
    let rig = Rig::new();
    let before = inventory();
    let capture = Capture::start(&rig.outside);
    let (guest, mut acks) = (Guest::new(&rig, Epoch(0)), AckLog::default());
    let mut engine = engine::start("own");
    guest.send_all(0..20);
    engine.kill().unwrap();
    engine.wait().unwrap();
    guest.send_all(20..40);
    let_pass();
    let found = leftovers::find(&mut Connection::open().unwrap()).unwrap();
    assert_eq!(found.len(), 1);
    assert!(!found[0].in_use().unwrap() && found[0].pid() == engine.id());
    assert_eq!(found[0].interface(), "vif1.0");
    assert!(found[0].to_string().contains("output is dropped"), "{}", found[0]);
    let output = attach(Start::Holding);
    guest.send_all(40..60);
    let_pass();
    guest.checkpoint_and_release(&output, &mut acks);
    let seen = capture.finish();
    let verdict = Verdict::of(&seen, &acks, 60);
    // What the dead engine held is lost with it, as frames on a wire are; nothing of it came out.
    assert_eq!((verdict.seen, verdict.early, verdict.lost), (20, 0, 40), "{verdict:?}");
    output.pass().unwrap();
    output.detach().unwrap();
    scenario::nothing_is_left(&before);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn leftovers_of_a_killed_engine_are_repaired() {
    let rig = Rig::new();
    let before = inventory();
    let mut engine = engine::start("own");
    let mut connection = Connection::open().unwrap();
    let in_use = leftovers::find(&mut connection).unwrap();
    let refused = leftovers::repair(&mut connection, &in_use[0]);
    assert!(matches!(refused, Err(KernelError::InUse { pid, .. }) if pid == engine.id()), "{refused:?}");
    engine.kill().unwrap();
    engine.wait().unwrap();
    let found = leftovers::find(&mut connection).unwrap();
    let said = leftovers::repair(&mut connection, &found[0]).unwrap();
    assert_eq!(said, "vif1.0: removed the redirect; its output passes unheld");
    scenario::nothing_is_left(&before);
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(&rig, Epoch(0));
    guest.send_all(0..20);
    assert_eq!(capture.finish().iter().filter(|seen| seen.told.is_some()).count(), 20);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_second_engine_is_refused_and_the_first_goes_on() {
    let rig = Rig::new();
    let output = attach(Start::Holding);
    let second = OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), Start::Holding);
    assert!(matches!(second, Err(KernelError::InUse { name, .. }) if name == "us-vif1.0"));
    scenario::every_protocol_waits_for_its_ack(&rig, &output);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_mutant_that_releases_early_is_caught() {
    let rig = Rig::new();
    let mutant = ReleasesEarly(attach(Start::Holding));
    let verdict = scenario::many_frames(&rig, Arc::new(mutant), 5_000);
    assert!(verdict.early > 0, "{verdict:?}");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn output_passes_until_the_first_cut_and_none_slips_through_at_the_switch() {
    let rig = Rig::new();
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(&rig, Epoch(0));
    let mut acks = AckLog::default();
    // Output of the time before protection needs none.
    acks.ack(Epoch(0));
    guest.send_all(0..50);
    let output = attach(Start::Passing);
    guest.send_all(50..100);
    guest.checkpoint(&output);
    guest.send_all(100..150);
    let_pass();
    let ended = guest.checkpoint(&output);
    // The guest's kernel may say a word of its own.
    assert!(output.stats().unwrap().queue.held_frames >= 50);
    acks.ack(ended);
    output.release(ended).unwrap();
    let verdict = Verdict::of(&capture.finish(), &acks, 150);
    assert!(verdict.is_clean(), "{verdict:?}");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_full_queue_warns_drops_and_counts() {
    let rig = Rig::new();
    let limits = Limits { bytes_max: 100 * 170, frames_max: 1000, pressure_percent: 50 };
    let output = OwnQueue::attach(&["vif1.0"], Epoch(0), limits, Start::Holding).unwrap();
    let guest = Guest::new(&rig, Epoch(0));
    guest.send_all(0..40);
    let_pass();
    assert!(!output.take_pressure());
    guest.send_all(40..60);
    let_pass();
    assert!(output.take_pressure());
    assert!(!output.take_pressure());
    guest.send_all(60..200);
    let_pass();
    let stats = output.stats().unwrap();
    // The guest's kernel may say a word of its own.
    assert!(stats.queue.held_bytes <= limits.bytes_max && stats.queue.held_frames >= 90, "{stats:?}");
    assert!(stats.dropped() >= 100, "{stats:?}");
    assert!(stats.queue.held_frames as u64 + stats.dropped() >= 200, "{stats:?}");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn pressure_is_told_without_being_asked_for() {
    let rig = Rig::new();
    let limits = Limits { bytes_max: 100 * 170, frames_max: 1000, pressure_percent: 50 };
    let output = OwnQueue::attach(&["vif1.0"], Epoch(0), limits, Start::Holding).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    output.on_alarm(move || {
        let _ = tell.send(());
    });
    // Whoever gives an alarm is called once for what was before.
    told.recv().unwrap();
    output.tell_at(None); // frames that wait are no news to a clock
    let guest = Guest::new(&rig, Epoch(0));
    guest.send_all(0..20);
    let_pass();
    assert!(told.try_recv().is_err());
    guest.send_all(20..70);
    told.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    assert!(output.take_pressure());
}

#[test]
#[ignore = "needs root and network namespaces"]
fn the_host_speaks_for_its_guest_when_the_guest_may() {
    let rig = Rig::new();
    let output = attach(Start::Holding);
    let_pass();
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(&rig, Epoch(0));
    output.announce(GUEST_MAC);
    let ended = guest.checkpoint(&output);
    output.announce(GUEST_MAC);
    let_pass();
    output.release(ended).unwrap();
    let spoken = |seen: &Seen| seen.ether_type == REVERSE_ARP;
    let heard: Vec<_> = capture.finish().into_iter().filter(spoken).collect();
    assert_eq!(heard.len(), 1, "after its ack: {heard:?}");
    let capture = Capture::start(&rig.outside);
    output.fence().unwrap();
    output.announce(GUEST_MAC);
    let heard: Vec<_> = capture.finish().into_iter().filter(spoken).collect();
    assert_eq!(heard, [], "a fenced guest is not spoken for");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_fenced_queue_lets_nothing_out() {
    let rig = Rig::new();
    let output = attach(Start::Holding);
    // What the guest's kernel said of its own before nothing was held has arrived by then.
    let_pass();
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(&rig, Epoch(0));
    guest.send_all(0..20);
    let ended = guest.checkpoint(&output);
    output.fence().unwrap();
    output.release(ended).unwrap();
    output.pass().unwrap();
    guest.send_all(20..40);
    let_pass();
    assert!(matches!(output.detach(), Err(KernelError::StillHolding)));
    guest.send_all(40..60);
    let leaked: Vec<_> = capture.finish().into_iter().filter(|seen| seen.from_guest).collect();
    assert_eq!(leaked, []);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn detaching_while_held_is_refused() {
    let _rig = Rig::new();
    assert!(matches!(attach(Start::Holding).detach(), Err(KernelError::StillHolding)));
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_removed_interface_is_a_typed_error_and_others_go_on() {
    let rig = Rig::new();
    rig.add_second_interface();
    let capture = Capture::start(&rig.outside);
    let vifs = ["vif1.1", "vif1.0"];
    let output = OwnQueue::attach(&vifs, Epoch(0), Limits::default(), Start::Holding).unwrap();
    let guest = Guest::new(&rig, Epoch(0));
    guest.checkpoint(&output);
    ip("link del us-vif1.1");
    guest.send_all(0..50);
    let_pass();
    // It is made anew meanwhile; whoever cuts before that is told.
    let cut = output.cut(Epoch(1));
    assert!(matches!(cut, Ok(()) | Err(KernelError::NotHeld { .. })), "{cut:?}");
    let _ = output.release(Epoch(1));
    let named = |name: &str, result: Result<(), KernelError>| {
        assert!(matches!(&result, Err(KernelError::Gone { name: gone }) if gone == name), "{result:?}");
    };
    ip("link del vif1.1");
    named("vif1.1", output.cut(Epoch(2)));
    named("vif1.1", output.stats().map(drop));
    let mut acks = AckLog::default();
    acks.ack(Epoch(0));
    assert_eq!(Verdict::of(&capture.finish(), &acks, 50).lost, 0);
    // The one that is left is still held; once it is gone too there is nothing to hold.
    ip("link del vif1.0");
    output.detach().unwrap();
    scenario::no_tap_is_left();
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_interface_is_plugged_in_while_another_is_held() {
    let rig = Rig::new();
    let output = attach(Start::Holding);
    output.cut(Epoch(0)).unwrap();
    rig.add_second_interface();
    let plugged = OwnQueue::attach(&["vif1.1"], Epoch(1), Limits::default(), Start::Holding).unwrap();
    for handle in [&output, &plugged] {
        handle.cut(Epoch(1)).unwrap();
        handle.release(Epoch(1)).unwrap();
        handle.pass().unwrap();
    }
    plugged.detach().unwrap();
    output.detach().unwrap();
    scenario::no_tap_is_left();
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_missing_interface_is_said_and_leaves_nothing() {
    let _rig = Rig::new();
    let before = inventory();
    let vifs = ["vif1.0", "vif9.9"];
    let refused = OwnQueue::attach(&vifs, Epoch(0), Limits::default(), Start::Holding);
    assert!(matches!(refused, Err(KernelError::Gone { name }) if name == "vif9.9"));
    scenario::nothing_is_left(&before);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_renamed_interface_stays_held() {
    let rig = Rig::new();
    let capture = Capture::start(&rig.outside);
    let output = attach(Start::Holding);
    let (guest, mut acks) = (Guest::new(&rig, Epoch(0)), AckLog::default());
    ip("link set vif1.0 down");
    ip("link set vif1.0 name vif7.0");
    ip("link set vif7.0 up");
    wait_until_forwarding("vif7.0");
    guest.send_until_held(&output);
    guest.send_all(0..50);
    let_pass();
    guest.checkpoint_and_release(&output, &mut acks);
    let verdict = Verdict::of(&capture.finish(), &acks, 50);
    assert!(verdict.is_clean(), "{verdict:?}");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn the_host_itself_says_nothing_through_a_tap() {
    let _rig = Rig::new();
    ip("link add quiet0 type veth peer name quiet1");
    ip("link set quiet0 up");
    let output = OwnQueue::attach(&["quiet0"], Epoch(0), Limits::default(), Start::Holding).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(output.stats().unwrap().queue.held_frames, 0);
}
