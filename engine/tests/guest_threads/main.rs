//! The threads of a guest that runs and of its copy, joined by a plain channel instead of a link: whatever goes
//! wrong on the way, the copy ends as the guest was.

mod ahead;
mod kept;
mod rig;
mod scrub;
mod starts;
mod unmarked;

use crossbeam::channel::bounded;
use rig::{Clogged, GENERATION, PAGES, Rig, seed, seeded};
use std::sync::atomic::Ordering;
use std::time::Duration;
use understudy::guest::{CaptureOrder, Report};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::LogTells;
use understudy_session::primary::Capture;

#[test]
fn more_dirty_pages_than_staging_holds_lengthen_the_pause_and_none_is_lost() {
    let mut rig = seeded();
    (0..PAGES).for_each(|pfn| rig.memory.write(pfn, 250));
    let epoch = rig.order(Capture::Delta, false);
    let pause = rig.await_report(|report| match report {
        Report::Captured { epoch: captured, pause, dirty_pages } if *captured == epoch => {
            Some((*pause, *dirty_pages))
        }
        _ => None,
    });
    assert!(pause.0.overflows > 0, "{pause:?}");
    assert_eq!(pause.1, PAGES);
    rig.acked(epoch);
    rig.assert_same();
}

#[test]
fn a_guest_does_not_stand_still_for_as_long_as_a_slow_link_takes() {
    let mut rig = seed(Rig::scripted(LogTells::Everything, Duration::from_secs(2)));
    (0..PAGES).for_each(|pfn| rig.memory.write(pfn, 250));
    let (clogs, clogged) = bounded(0);
    let (epoch, capture) = (rig.next, Capture::Delta);
    rig.next = epoch.next();
    let outlet = Box::new(Clogged(clogged));
    let order = CaptureOrder {
        generation: GENERATION,
        epoch,
        capture,
        stay_paused: false,
        now: Rig::ordered_at(epoch),
        outlet,
    };
    rig.protector.capture(order).unwrap();
    let why = rig.await_report(|report| match report {
        Report::CaptureFailed { guest_gone: false, needs_seed: false, why, .. } => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("raise staging"), "{why}");
    // The link takes something again: nothing was lost.
    drop(clogs);
    let epoch = rig.order(Capture::Delta, false);
    rig.acked(epoch);
    rig.assert_same();
}

#[test]
fn a_capture_that_fails_after_its_drain_leaves_its_pages_to_the_next() {
    let mut rig = seeded();
    (100..400).for_each(|pfn| rig.memory.write(pfn, 77));
    rig.failures.store(2, Ordering::SeqCst);
    for _ in 0..2 {
        let epoch = rig.order(Capture::Delta, false);
        rig.await_report(|report| match report {
            Report::CaptureFailed { epoch: failed, guest_gone: false, needs_seed: false, .. } => {
                (*failed == epoch).then_some(())
            }
            _ => None,
        });
    }
    rig.memory.write(5, 78);
    let epoch = rig.order(Capture::Delta, false);
    let begun_anew = rig.await_report(|report| match report {
        Report::Captured { epoch: captured, dirty_pages, .. } => (*captured == epoch).then_some(*dirty_pages),
        _ => None,
    });
    assert_eq!(begun_anew, 301);
    rig.acked(epoch);
    rig.assert_same();
}

#[test]
fn a_lost_dirty_log_makes_the_next_checkpoint_a_copy_of_everything() {
    let mut rig = seeded();
    (100..400).for_each(|pfn| rig.memory.write(pfn, 77));
    rig.log_losses.store(1, Ordering::SeqCst);
    let failed = rig.order(Capture::Delta, false);
    rig.await_report(|report| match report {
        Report::CaptureFailed { epoch, guest_gone: false, needs_seed: true, .. } => {
            (*epoch == failed).then_some(())
        }
        _ => None,
    });
    let epoch = rig.order(Capture::Delta, false);
    let dirty_pages = rig.await_report(|report| match report {
        Report::Captured { epoch: captured, dirty_pages, .. } => (*captured == epoch).then_some(*dirty_pages),
        _ => None,
    });
    assert_eq!(dirty_pages, PAGES);
    rig.acked(epoch);
    rig.assert_same();
}

#[test]
fn epochs_that_a_lost_link_swallowed_come_again_with_the_resync() {
    let mut rig = seeded();
    let base = rig.order(Capture::Delta, false);
    rig.acked(base);
    for round in 0..4u8 {
        (0..50).for_each(|pfn| rig.memory.write(pfn * 7 + u64::from(round), 100 + round));
        let lost = rig.order(Capture::Delta, true);
        rig.await_report(|report| match report {
            Report::Captured { epoch, .. } => (*epoch == lost).then_some(()),
            _ => None,
        });
    }
    let resync = rig.order(Capture::Resync { base }, false);
    rig.acked(resync);
    rig.assert_same();
    rig.memory.write(1, 9);
    let after = rig.order(Capture::Delta, false);
    rig.acked(after);
    rig.assert_same();
}

/// They are made anew after a panic, and do not know what the guest wrote since the copy's epoch.
#[test]
fn new_threads_build_on_no_copy_before_a_full_sync() {
    let mut rig = Rig::new();
    for capture in [Capture::Resync { base: Epoch(0) }, Capture::Delta] {
        let refused = rig.order(capture, false);
        rig.await_report(|report| match report {
            Report::CaptureFailed { epoch, guest_gone: false, needs_seed: true, .. } => {
                (*epoch == refused).then_some(())
            }
            _ => None,
        });
    }
    let seed = rig.order(Capture::Seed, false);
    rig.acked(seed);
    rig.assert_same();
}
