//! The plug qdisc against a kernel that has one. This binary can be copied to a Debian dom0 and run there.
//!
//! Needs root, `ip` and `tc`, and the modules ifb, sch_plug, sch_ingress, act_mirred, and cls_matchall or
//! cls_u32.

mod rig;

use nix::unistd::{SysconfVar, sysconf};
use rig::capture::{Capture, let_pass};
use rig::judge::{AckLog, Verdict};
use rig::scenario::{self, Guest, ReleasesEarly};
use rig::{Rig, engine, inventory, ip};
use std::sync::Arc;
use understudy_checkpoint::Epoch;
use understudy_netbuf::Limits;
use understudy_netbuf::kernel::{Connection, KernelError, OutputCommit, PlugOutput, Start, leftovers};

fn attach(limits: Limits, start: Start) -> PlugOutput {
    PlugOutput::attach(&["vif1.0"], Epoch(0), limits, start).unwrap()
}

#[test]
#[ignore = "needs root and network namespaces and sch_plug"]
fn every_protocol_waits_for_its_ack() {
    let rig = Rig::new();
    let before = inventory();
    let output = attach(Limits::default(), Start::Holding);
    scenario::every_protocol_waits_for_its_ack(&rig, &output);
    output.pass().unwrap();
    output.detach().unwrap();
    scenario::nothing_is_left(&before);
}

#[test]
#[ignore = "needs root and network namespaces and sch_plug"]
fn a_hundred_thousand_frames_with_epochs_in_flight() {
    let rig = Rig::new();
    let output = attach(Limits::default(), Start::Holding);
    let output = Arc::new(output);
    let backlog_drops = rig::backlog_drops();
    let verdict = scenario::many_frames(&rig, output.clone(), 100_000);
    let (stats, backlog_drops) = (output.stats().unwrap(), rig::backlog_drops() - backlog_drops);
    assert_eq!((verdict.early, verdict.twice, stats.dropped()), (0, 0, 0), "{verdict:?} {stats:?}");
    // An ifb lets a group out at once. The veth to the outside, which a real host has not, queues it on the
    // processor at hand: up to 1000 frames, and several processors mix.
    assert!(verdict.lost as u64 <= backlog_drops, "{verdict:?} {backlog_drops}");
    if sysconf(SysconfVar::_NPROCESSORS_ONLN).unwrap() == Some(1) {
        assert_eq!(verdict.reordered, 0, "{verdict:?}");
    }
}

#[test]
#[ignore = "needs root and network namespaces and sch_plug"]
fn tcp_and_udp_work_with_super_packets() {
    let rig = Rig::new();
    let output = attach(Limits::default(), Start::Passing);
    let output = Arc::new(output);
    let longest = scenario::real_traffic(&rig, output.clone());
    assert!(longest > 1514, "{longest} bytes: no super-packet came through whole");
    assert_eq!(output.stats().unwrap().dropped(), 0);
}

#[test]
#[ignore = "needs root and network namespaces and sch_plug"]
fn a_killed_engine_leaves_output_held_and_a_new_one_takes_over() {
    let rig = Rig::new();
    let before = inventory();
    let probe = attach(Limits::default(), Start::Passing);
    probe.detach().unwrap();
    let capture = Capture::start(&rig.outside);
    let (guest, mut acks) = (Guest::new(&rig, Epoch(0)), AckLog::default());
    let mut engine = engine::start("plug");
    (0..20).for_each(|sequence| guest.send(sequence));
    engine.kill().unwrap();
    engine.wait().unwrap();
    let_pass();
    let found = leftovers::find(&mut Connection::open().unwrap()).unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|leftover| !leftover.in_use() && leftover.pid() == engine.id()));
    let output = attach(Limits::default(), Start::Holding);
    (20..40).for_each(|sequence| guest.send(sequence));
    let_pass();
    let ended = guest.checkpoint(&output);
    acks.ack(ended);
    output.release(ended).unwrap();
    let verdict = Verdict::of(&capture.finish(), &acks, 40);
    assert_eq!((verdict.seen, verdict.early, verdict.lost), (20, 0, 20), "{verdict:?}");
    output.pass().unwrap();
    output.detach().unwrap();
    scenario::nothing_is_left(&before);
}

#[test]
#[ignore = "needs root and network namespaces and sch_plug"]
fn a_mutant_that_releases_early_is_caught() {
    let rig = Rig::new();
    let real = attach(Limits::default(), Start::Holding);
    let mutant = ReleasesEarly(real);
    let verdict = scenario::many_frames(&rig, Arc::new(mutant), 5_000);
    assert!(verdict.early > 1_000, "{verdict:?}");
}

#[test]
#[ignore = "needs root and network namespaces and sch_plug"]
fn output_passes_until_the_first_cut() {
    let rig = Rig::new();
    let output = attach(Limits::default(), Start::Passing);
    let capture = Capture::start(&rig.outside);
    let (guest, mut acks) = (Guest::new(&rig, Epoch(0)), AckLog::default());
    acks.ack(Epoch(0));
    (0..100).for_each(|sequence| guest.send(sequence));
    guest.checkpoint(&output);
    (100..150).for_each(|sequence| guest.send(sequence));
    let_pass();
    let ended = guest.checkpoint(&output);
    acks.ack(ended);
    output.release(ended).unwrap();
    let verdict = Verdict::of(&capture.finish(), &acks, 150);
    assert!(verdict.is_clean(), "{verdict:?}");
}

#[test]
#[ignore = "needs root and network namespaces and sch_plug"]
fn a_full_plug_warns_drops_and_counts() {
    let rig = Rig::new();
    let limits = Limits { bytes_max: 100 * 160, ..Limits::default() };
    let output = attach(limits, Start::Holding);
    let guest = Guest::new(&rig, Epoch(0));
    (0..200).for_each(|sequence| guest.send(sequence));
    let_pass();
    assert!(output.take_pressure());
    let stats = output.stats().unwrap();
    assert!(stats.dropped() >= 100 && stats.queue.held_bytes <= limits.bytes_max, "{stats:?}");
}

#[test]
#[ignore = "needs root and network namespaces and sch_plug"]
fn a_fenced_plug_lets_nothing_out() {
    let rig = Rig::new();
    let output = attach(Limits::default(), Start::Holding);
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(&rig, Epoch(0));
    (0..20).for_each(|sequence| guest.send(sequence));
    let ended = guest.checkpoint(&output);
    output.fence().unwrap();
    output.release(ended).unwrap();
    output.pass().unwrap();
    (20..40).for_each(|sequence| guest.send(sequence));
    assert!(capture.finish().iter().all(|seen| !seen.from_guest));
}

#[test]
#[ignore = "needs root and network namespaces and sch_plug"]
fn a_removed_device_is_a_typed_error_and_holds_on() {
    let rig = Rig::new();
    let output = attach(Limits::default(), Start::Holding);
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(&rig, Epoch(0));
    guest.checkpoint(&output);
    ip("link del us-vif1.0");
    let gone = output.release(Epoch(0));
    assert!(matches!(&gone, Err(KernelError::Gone { name }) if name == "us-vif1.0"), "{gone:?}");
    (0..20).for_each(|sequence| guest.send(sequence));
    assert!(capture.finish().iter().all(|seen| !seen.from_guest));
    ip("link del vif1.0");
    output.detach().unwrap();
}

#[test]
#[ignore = "needs root and network namespaces and sch_plug"]
fn a_dropped_handle_holds_on() {
    let rig = Rig::new();
    let output = attach(Limits::default(), Start::Holding);
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(&rig, Epoch(0));
    drop(output);
    (0..20).for_each(|sequence| guest.send(sequence));
    assert!(capture.finish().iter().all(|seen| !seen.from_guest));
}
