//! A guest whose log tells of its own writes only, as Xen's does: what hypervisor and backends write is mended and ends no
//! protection; marks that were lost end it, or are mended as well.

use super::rig::{PAGES, Rig, seed};
use understudy::guest::{Report, Work};
use understudy_checkpoint::domain::LogTells;
use understudy_session::primary::Capture;

const OTHERS_MAX: u64 = 10;

/// Epochs in which the scrub comes by every frame, and what it found is sent.
const ROUND: usize = PAGES.div_ceil(64) as usize + 4;

fn seeded() -> Rig {
    seed(Rig::whose_log_tells(LogTells::GuestWrites { others_frames_max: OTHERS_MAX }))
}

/// Takes a checkpoint: how many pages were found to have changed without a mark, or `None` if that was an alarm. The copy
/// declines nothing.
fn checkpoint(rig: &mut Rig) -> Option<u64> {
    let epoch = rig.order(Capture::Delta, false);
    let (mut unmarked, mut is_complete) = (None, false);
    while unmarked.is_none() || !is_complete {
        // `Some(None)` is an alarm.
        let told = rig.await_report(|report| match report {
            Report::Encoded { epoch: of, encoded, .. } if *of == epoch => {
                Some(Some(Some(encoded.unmarked_pages)))
            }
            Report::Complete { epoch: of, .. } if *of == epoch => Some(Some(None)),
            Report::CaptureFailed { epoch: of, needs_seed, .. } => {
                assert!(*of == epoch && *needs_seed);
                Some(None)
            }
            _ => None,
        })?;
        unmarked = unmarked.or(told);
        is_complete |= told.is_none();
    }
    rig.hand_over(Work::Commit(epoch));
    rig.protector.acked(epoch);
    unmarked
}

/// How many were found in so many rounds; `None` after an alarm. The guest writes something in each epoch.
fn found_in(rig: &mut Rig, rounds: usize) -> Option<u64> {
    (0..rounds * ROUND).try_fold(0, |found, epoch| {
        rig.memory.write(epoch as u64 * 5 % PAGES, 200);
        Some(found + checkpoint(rig)?)
    })
}

#[test]
fn what_others_write_is_mended_each_time_and_no_alarm() {
    let mut rig = seeded();
    for round in 0..4u8 {
        (0..OTHERS_MAX).for_each(|number| rig.memory.write_unseen(301 + number, 70 + round));
        assert_eq!(found_in(&mut rig, 1), Some(OTHERS_MAX), "round {round}");
        rig.assert_same();
    }
    assert_eq!(found_in(&mut rig, 1), Some(0), "nothing is found in a copy that is right");
}

#[test]
fn a_single_mark_that_was_taken_is_mended() {
    let mut rig = seeded();
    rig.memory.write(333, 66);
    rig.memory.0.lock().dirty.clear();
    assert_eq!(found_in(&mut rig, 1), Some(1));
    rig.assert_same();
}

#[test]
fn marks_that_a_reader_of_the_log_takes_are_an_alarm_and_a_full_copy_heals_it() {
    let mut rig = seeded();
    (0..PAGES).step_by(7).for_each(|pfn| rig.memory.write(pfn, 66));
    rig.memory.0.lock().dirty.clear();
    assert_eq!(found_in(&mut rig, 1), None, "an alarm");
    let seed = rig.order(Capture::Seed, false);
    rig.acked(seed);
    rig.assert_same();
    assert_eq!(found_in(&mut rig, 2), Some(0));
}

#[test]
fn what_agrees_here_goes_to_the_other_side_to_be_compared() {
    let mut rig = seeded();
    rig.memory.write_unseen(333, 66);
    let mut checked = 0;
    // The epoch after the full sync has nothing to be compared as yet.
    for _ in 0..=PAGES.div_ceil(64) {
        let epoch = rig.order(Capture::Delta, false);
        checked += rig.await_report(|report| match report {
            Report::Encoded { epoch: of, encoded, .. } if *of == epoch => Some(encoded.checked_pages),
            _ => None,
        });
        rig.protector.acked(epoch);
    }
    assert_eq!(checked, PAGES - 1);
}
