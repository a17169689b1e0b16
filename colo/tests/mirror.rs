//! The log of a copy's input.

use proptest::prelude::*;
use understudy_checkpoint::Epoch;
use understudy_colo::mirror::{Full, Limits, Mirror, Missing, Number};
use understudy_colo::packet::{Card, Frame, Offload};

const OFFLOAD: Offload = Offload { is_checksum_partial: true, segment_bytes: 1448 };

fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame { card: Card(1), offload: OFFLOAD, bytes }
}

fn push(mirror: &mut Mirror, byte: u8) -> Result<u64, Full> {
    mirror.push(frame(&[byte; 100])).map(|number| number.0)
}

fn after(mirror: &Mirror, epoch: u64) -> Result<Vec<u8>, Missing> {
    Ok(mirror.after(Epoch(epoch))?.map(|(_, frame)| frame.bytes[0]).collect())
}

#[test]
fn after_a_mark_and_no_frame_more() {
    let mut mirror = Mirror::new(Limits::default());
    push(&mut mirror, 1).unwrap();
    mirror.mark(Epoch(7)).unwrap();
    assert_eq!(push(&mut mirror, 2), Ok(1));
    push(&mut mirror, 3).unwrap();
    mirror.mark(Epoch(8)).unwrap();
    push(&mut mirror, 4).unwrap();
    assert_eq!(after(&mirror, 7).unwrap(), [2, 3, 4]);
    assert_eq!(after(&mirror, 8).unwrap(), [4]);
    assert_eq!(after(&mirror, 6), Err(Missing::Mark(Epoch(6))));
    let (number, first) = mirror.after(Epoch(8)).unwrap().next().unwrap();
    assert_eq!((number.0, first), (3, frame(&[4; 100])));
    mirror.forget(Epoch(8));
    assert_eq!(after(&mirror, 7), Err(Missing::Mark(Epoch(7))));
    assert_eq!(after(&mirror, 8).unwrap(), [4]);
    mirror.forget(Epoch(9));
    assert_eq!(mirror.load().0, 1, "it may be in no image of epoch 9");
}

/// A guest takes in what has come for it when it likes: a cut may leave some of what was logged long before.
#[test]
fn what_comes_before_its_cut_is_told_is_kept_whatever_is_forgotten_meanwhile() {
    let mut mirror = Mirror::beginning_at(Number(7), Limits::default());
    push(&mut mirror, 1).unwrap();
    push(&mut mirror, 2).unwrap();
    // The first epoch that a copy is set to is cut, and one before it is committed, before anybody hears of that.
    mirror.forget(Epoch(1));
    mirror.mark_at(Epoch(2), Number(7)).unwrap();
    assert_eq!(after(&mirror, 2).unwrap(), [1, 2]);
    push(&mut mirror, 3).unwrap();
    mirror.forget(Epoch(3));
    mirror.mark_at(Epoch(3), Number(8)).unwrap();
    assert_eq!(after(&mirror, 3).unwrap(), [2, 3]);
    mirror.forget(Epoch(3));
    assert_eq!(mirror.load().0, 2);
}

#[test]
fn while_a_copy_runs_what_the_guest_has_taken_is_forgotten_however_much_that_is() {
    let mut mirror = Mirror::new(Limits { frames_max: 10, ..Limits::default() });
    mirror.mark(Epoch(7)).unwrap();
    push(&mut mirror, 0).unwrap();
    mirror.taken(Number(1));
    assert_eq!(after(&mirror, 7).unwrap(), [0], "a copy of 7 has not run, and lacks it");
    mirror.has_run(Epoch(7));
    for number in 1..1_000_u64 {
        assert_eq!(push(&mut mirror, number as u8), Ok(number));
        mirror.taken(Number(number.saturating_sub(2)));
    }
    assert_eq!(after(&mirror, 7), Err(Missing::Mark(Epoch(7))), "it is not set to that again");
    mirror.mark_at(Epoch(8), Number(998)).unwrap();
    // Epoch 8 is on its way: a copy may be set to it.
    mirror.taken(Number(999));
    push(&mut mirror, 1).unwrap();
    assert_eq!(after(&mirror, 8).unwrap(), [998_u64 as u8, 999_u64 as u8, 1]);
    mirror.has_run(Epoch(8));
    assert_eq!(mirror.load().0, 2, "what is not taken may be missing from the next image");
}

#[test]
fn a_mark_before_what_was_forgotten_is_no_mark_to_begin_from() {
    let mut mirror = Mirror::new(Limits::default());
    mirror.mark(Epoch(7)).unwrap();
    mirror.has_run(Epoch(7));
    (0..10).for_each(|byte| _ = push(&mut mirror, byte).unwrap());
    mirror.taken(Number(8));
    mirror.mark_at(Epoch(8), Number(7)).unwrap();
    assert_eq!(after(&mirror, 8), Err(Missing::Input(Epoch(8))));
    mirror.mark_at(Epoch(9), Number(8)).unwrap();
    assert_eq!(after(&mirror, 9).unwrap(), [8, 9]);
}

#[test]
fn a_loss_is_told_until_the_next_cut() {
    let mut mirror = Mirror::new(Limits { frames_max: 2, ..Limits::default() });
    mirror.mark(Epoch(1)).unwrap();
    push(&mut mirror, 1).unwrap();
    push(&mut mirror, 2).unwrap();
    assert_eq!(push(&mut mirror, 3), Err(Full));
    assert_eq!(after(&mirror, 1), Err(Missing::Input(Epoch(1))));
    mirror.mark(Epoch(2)).unwrap();
    assert!(after(&mirror, 2).unwrap().is_empty(), "what was lost is in this image");
    assert_eq!(push(&mut mirror, 4), Err(Full), "the log is as full as before");
    assert_eq!(after(&mirror, 2), Err(Missing::Input(Epoch(2))));
    mirror.forget(Epoch(2));
    assert_eq!(after(&mirror, 2), Err(Missing::Input(Epoch(2))), "room does not bring it back");
    mirror.mark(Epoch(3)).unwrap();
    assert_eq!(push(&mut mirror, 5), Ok(4), "the lost ones have numbers");
    assert_eq!(after(&mirror, 3).unwrap(), [5]);
}

#[test]
fn an_epoch_that_is_made_again() {
    let mut mirror = Mirror::new(Limits::default());
    mirror.mark(Epoch(1)).unwrap();
    push(&mut mirror, 1).unwrap();
    mirror.mark(Epoch(2)).unwrap();
    mirror.mark(Epoch(3)).unwrap();
    push(&mut mirror, 2).unwrap();
    mirror.mark(Epoch(2)).unwrap();
    push(&mut mirror, 3).unwrap();
    assert_eq!(after(&mirror, 1).unwrap(), [1, 2, 3]);
    assert_eq!(after(&mirror, 2).unwrap(), [3]);
    assert_eq!(after(&mirror, 3), Err(Missing::Mark(Epoch(3))));
}

#[test]
fn memory_is_bounded_and_used_again() {
    let limits = Limits { frames_max: 1 << 20, bytes_max: 1 << 20 };
    let mut mirror = Mirror::new(limits);
    let mut fitted = 0;
    while mirror.push(frame(&[7; 1500])).is_ok() {
        fitted += 1;
    }
    assert!((650..=700).contains(&fitted), "{fitted}");
    for epoch in 0..100 {
        mirror.mark(Epoch(epoch)).unwrap();
        mirror.forget(Epoch(epoch));
        for _ in 0..300 {
            mirror.push(frame(&[epoch as u8; 1500])).unwrap();
        }
        assert!(mirror.load().1 <= limits.bytes_max);
        assert_eq!(after(&mirror, epoch).unwrap(), [epoch as u8; 300]);
    }
    assert_eq!(Mirror::new(limits).push(frame(&vec![7; 2 << 20])), Err(Full));
    assert!(Mirror::new(limits).push(frame(&vec![7; 500 << 10])).is_ok(), "longer than a chunk");
    let mut mirror = Mirror::new(Limits { frames_max: 3, ..limits });
    (1..=3).for_each(|epoch| mirror.mark(Epoch(epoch)).unwrap());
    assert_eq!(mirror.mark(Epoch(4)), Err(Full));
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    /// With so many of the frames before it not in the image.
    Mark(usize),
    Forget(u64),
    HasRun(u64),
    /// So many frames are not taken.
    Taken(usize),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Beside a log without a bound: what is given is what that has, or nothing.
    #[test]
    fn a_log_is_right_or_says_that_it_is_not(
        steps in prop::collection::vec(prop_oneof![
            6 => prop_oneof![1_usize..2000, 100_000_usize..300_000].prop_map(Step::Push),
            2 => (0_usize..5).prop_map(Step::Mark),
            1 => (0_u64..3).prop_map(Step::Forget),
            1 => (0_u64..3).prop_map(Step::HasRun),
            2 => (0_usize..4).prop_map(Step::Taken),
        ], 0..120),
    ) {
        let limits = Limits { frames_max: 40, bytes_max: 1 << 20 };
        let mut mirror = Mirror::new(limits);
        let (mut all, mut marks, mut forgotten) = (Vec::<(Vec<u8>, bool)>::new(), Vec::<usize>::new(), 0);
        let mut taken = 0;
        for step in steps {
            match step {
                Step::Push(bytes) => {
                    let bytes = vec![all.len() as u8; bytes];
                    let pushed = mirror.push(frame(&bytes));
                    prop_assert!(pushed.is_err() || pushed.unwrap().0 == all.len() as u64);
                    all.push((bytes, pushed.is_ok()));
                }
                Step::Mark(back) => {
                    let last = marks.last().copied().unwrap_or(0);
                    let next = all.len().saturating_sub(back).max(taken).max(last);
                    if mirror.mark_at(Epoch(marks.len() as u64), Number(next as u64)).is_ok() {
                        marks.push(next);
                    }
                }
                Step::Taken(back) => {
                    taken = all.len().saturating_sub(back).max(taken);
                    mirror.taken(Number(taken as u64));
                }
                Step::HasRun(back) => {
                    let base = (marks.len() as u64).saturating_sub(back + 1);
                    if base < marks.len() as u64 {
                        forgotten = forgotten.max(base + 1);
                        mirror.has_run(Epoch(base));
                    }
                }
                Step::Forget(back) => {
                    forgotten = (marks.len() as u64).saturating_sub(back).max(forgotten);
                    mirror.forget(Epoch(forgotten));
                }
            }
            prop_assert!(mirror.load().0 <= limits.frames_max && mirror.load().1 <= limits.bytes_max);
            for (epoch, from) in marks.iter().enumerate() {
                let told = |bytes: &[u8]| (bytes.len(), bytes[0], bytes[bytes.len() - 1]);
                let given = mirror.after(Epoch(epoch as u64)).map(|frames| {
                    frames.map(|(number, frame)| (number.0 as usize, told(frame.bytes))).collect::<Vec<_>>()
                });
                let expected: Vec<_> = (*from..).zip(all[*from..].iter().map(|one| told(&one.0))).collect();
                let is_whole = all[*from..].iter().all(|one| one.1);
                let epoch = Epoch(epoch as u64);
                prop_assert_eq!(given, match () {
                    () if epoch.0 < forgotten => Err(Missing::Mark(epoch)),
                    () if !is_whole => Err(Missing::Input(epoch)),
                    () => Ok(expected),
                });
            }
        }
    }
}
