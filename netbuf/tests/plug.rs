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

/// `None`, and a message, without `sch_plug`; then nothing may be left behind either.
fn attach(limits: Limits, start: Start) -> Option<PlugOutput> {
    let before = inventory();
    match PlugOutput::attach(&["vif1.0"], Epoch(0), limits, start) {
        Ok(output) => Some(output),
        Err(KernelError::Unsupported(error)) => {
            scenario::nothing_is_left(&before);
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_protocol_waits_for_its_ack() {
    let Some(rig) = Rig::new() else { return };
    let before = inventory();
    let Some(output) = attach(Limits::default(), Start::Holding) else { return };
    scenario::every_protocol_waits_for_its_ack(&rig, &output);
    output.pass().unwrap();
    output.detach().unwrap();
    scenario::nothing_is_left(&before);
}

#[test]
fn a_hundred_thousand_frames_with_epochs_in_flight() {
    let Some(rig) = Rig::new() else { return };
    let Some(output) = attach(Limits::default(), Start::Holding) else { return };
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
fn tcp_and_udp_work_with_super_packets() {
    let Some(rig) = Rig::new() else { return };
    let Some(output) = attach(Limits::default(), Start::Passing) else { return };
    let output = Arc::new(output);
    let longest = scenario::real_traffic(&rig, output.clone());
    assert!(longest > 1514, "{longest} bytes: no super-packet came through whole");
    assert_eq!(output.stats().unwrap().dropped(), 0);
}

#[test]
fn a_killed_engine_leaves_output_held_and_a_new_one_takes_over() {
    let Some(rig) = Rig::new() else { return };
    let before = inventory();
    let Some(probe) = attach(Limits::default(), Start::Passing) else { return };
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
    let output = attach(Limits::default(), Start::Holding).unwrap();
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

/// Not a test of its own: the engine process that other tests start and kill.
#[test]
fn engine_process() {
    engine::run("plug", || attach(Limits::default(), Start::Holding));
}

#[test]
fn a_mutant_that_releases_early_is_caught() {
    let Some(rig) = Rig::new() else { return };
    let Some(real) = attach(Limits::default(), Start::Holding) else { return };
    let mutant = ReleasesEarly(real);
    let verdict = scenario::many_frames(&rig, Arc::new(mutant), 5_000);
    assert!(verdict.early > 1_000, "{verdict:?}");
}

#[test]
fn output_passes_until_the_first_cut() {
    let Some(rig) = Rig::new() else { return };
    let Some(output) = attach(Limits::default(), Start::Passing) else { return };
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
fn a_full_plug_warns_drops_and_counts() {
    let Some(rig) = Rig::new() else { return };
    let limits = Limits { bytes_max: 100 * 160, ..Limits::default() };
    let Some(output) = attach(limits, Start::Holding) else { return };
    let guest = Guest::new(&rig, Epoch(0));
    (0..200).for_each(|sequence| guest.send(sequence));
    let_pass();
    assert!(output.take_pressure());
    let stats = output.stats().unwrap();
    assert!(stats.dropped() >= 100 && stats.queue.held_bytes <= limits.bytes_max, "{stats:?}");
}

#[test]
fn a_fenced_plug_lets_nothing_out() {
    let Some(rig) = Rig::new() else { return };
    let Some(output) = attach(Limits::default(), Start::Holding) else { return };
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
fn a_removed_device_is_a_typed_error_and_holds_on() {
    let Some(rig) = Rig::new() else { return };
    let Some(output) = attach(Limits::default(), Start::Holding) else { return };
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
fn a_dropped_handle_holds_on() {
    let Some(rig) = Rig::new() else { return };
    let Some(output) = attach(Limits::default(), Start::Holding) else { return };
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(&rig, Epoch(0));
    drop(output);
    (0..20).for_each(|sequence| guest.send(sequence));
    assert!(capture.finish().iter().all(|seen| !seen.from_guest));
}
