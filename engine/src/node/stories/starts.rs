//! Stories of guests that are started here, or could not be: what follows for them, and for what was held of them.

use super::*;
use crate::guest::{BoxedSource, Still};
use understudy_checkpoint::domain::Description;

/// What is to make its checkpoints cannot be had at the moment of its takeover. It runs here and nowhere else.
#[test]
fn a_guest_that_runs_and_cannot_be_copied_yet_is_an_unprotected_primary_and_is_protected_once_it_can() {
    let mut story = Story::taking_over();
    story.bench.threads_missing.store(2, Ordering::Relaxed);
    let machine = Arc::new(Fake { takes_marks: true.into(), can_reopen: true.into(), ..Fake::default() });
    let output = story.outputs.frames(Epoch(2));
    let guest = running(&machine, &output);
    output.transmit(b"a frame");
    story.report(1, Report::Activated { guest });
    assert_eq!((story.state(), leaves(&output)), (Some(primary::State::Unprotected), 1));
    assert!(!machine.is_left.load(Ordering::Relaxed) && !machine.is_stopped.load(Ordering::Relaxed));
    let reason = story.status().reason;
    assert!(reason.contains("nothing can copy it"), "{reason}");
    let stands = ToPrimary::Stand { generation: Generation(2), standing: Standing::Nothing };
    story.hear(Inbound::ToPrimary(stands));
    for _ in 0..60 {
        story.hear(Inbound::ToPrimary(ToPrimary::Heartbeat { generation: Generation(2) }));
        story.pass(Span::from_ms(100));
    }
    assert_eq!(*story.bench.orders.lock(), [primary::Capture::Seed]);
}

/// Hosts are upgraded one after the other: what the other one cannot hold is not sent to it.
#[test]
fn a_guest_with_disks_is_not_offered_to_a_peer_that_knows_none_and_is_once_it_does() {
    let mut story = Story::new();
    story.outside.is_peer_old = true;
    let with_disk = Description { disks_bytes: vec![1 << 20], ..description() };
    let source = BoxedSource(Box::new(Still::described(with_disk)));
    let output = story.outputs.frames(Epoch(0));
    let found = RunningGuest { source, ..running(&Arc::new(Fake::default()), &output) };
    story.guests.add(NewPrimary::of("web", found, node("a")), &mut story.outside).unwrap();
    let offers = |story: &Story| story.outside.said.iter().any(|said| matches!(said, Said::Offered(_)));
    let reason = story.status().reason;
    assert!(reason.contains("too old") && !offers(&story), "{reason}");
    story.outside.is_peer_old = false;
    story.hear(Inbound::Ready);
    assert!(offers(&story));
}

/// Nobody waits for it any more, as after a panic of what kept its copy: it may be the only one.
#[test]
fn a_guest_that_is_started_though_nobody_waits_for_it_is_paused_and_kept() {
    let mut story = Story::new();
    let (machine, output) = (Arc::new(Fake::default()), story.outputs.frames(Epoch(2)));
    let guest = running(&machine, &output);
    story.report(9, Report::Activated { guest });
    assert!(machine.is_left.load(Ordering::Relaxed) && !machine.is_stopped.load(Ordering::Relaxed));
    output.transmit(b"a frame");
    assert_eq!(leaves(&output), 0);
}

#[test]
fn a_guest_that_cannot_be_started_for_a_moment_is_tried_again_and_says_so() {
    let mut story = Story::taking_over();
    let ordered = |story: &Story| story.bench.work.lock().iter().filter(|work| **work == "activate").count();
    story.report(1, Report::ActivationDelayed { error: "too many open files".into() });
    assert_eq!((story.secondary(), ordered(&story)), (Some(secondary::State::Activating), 1));
    let reason = story.status().reason;
    assert!(reason.contains("tried again") && reason.contains("too many open files"), "{reason}");
    story.pass(Span::from_ms(1_000));
    assert_eq!(ordered(&story), 2);
    story.pass(Span::from_ms(60_000));
    assert_eq!(ordered(&story), 2, "it is being started");
    story.report(1, Report::ActivationDelayed { error: "too many open files".into() });
    assert_eq!(story.secondary(), Some(secondary::State::ActivationFailed));
    assert_eq!(story.bench.work.lock().last(), Some(&"save"), "it is for a person now");
    let advice = "the last commit is in this process alone".to_owned();
    story.report(1, Report::ImageSaved { advice });
    let reason = story.status().reason;
    assert!(reason.contains("too many open files") && reason.contains("in this process alone"), "{reason}");
}

/// A person had it back elsewhere: it is not started a second time.
#[test]
fn a_guest_that_somebody_had_back_before_it_could_be_started_here_is_not_tried_again() {
    let mut story = Story::taking_over();
    story.primary(ToSecondary::Heartbeat { generation: Generation(3) });
    story.report(1, Report::ActivationDelayed { error: "too many open files".into() });
    assert_ne!(story.secondary(), Some(secondary::State::Activating));
}

/// Nobody reports what is not being done: the node does not wait for it.
#[test]
fn a_node_ends_at_once_while_a_guest_waits_to_be_started_again() {
    let mut story = Story::taking_over();
    story.report(1, Report::ActivationDelayed { error: "too many open files".into() });
    let begun = std::time::Instant::now();
    story.guests.leave(&story.reports, Duration::from_secs(600));
    assert!(begun.elapsed() < Duration::from_secs(300));
    assert!(!story.bench.work.lock().contains(&"rescue"), "its thread saves it, and is waited for");
}
