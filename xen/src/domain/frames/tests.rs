//! Frames on a simulated hypervisor: what is looked up, and what a failed mapping leaves behind.

use super::*;
use crate::abi::domctl;
use crate::simulated::{Asked, Simulated, payload};
use std::sync::Arc;
use zerocopy::FromBytes;

const PFNS: u64 = 4096;
/// The frame of pfn 0.
const FIRST: u64 = 5000;

fn frames() -> Frames {
    Frames::new(Xen::over(Simulated::new()).unwrap(), DomId(1), PFNS, 1000).unwrap()
}

#[test]
fn a_guest_that_no_host_can_keep_account_of_is_refused() {
    let xen = Xen::over(Simulated::new()).unwrap();
    assert_eq!(Frames::new(xen, DomId(1), u64::MAX, 1000).err(), Some(OutOfMemory));
}

/// Frames of a guest whose pfns all hold a page, on a kernel that fills no holes.
fn on(hypervisor: &Arc<Simulated>) -> Frames {
    hypervisor.answer(Asked::Domctl(domctl::GET_PAGE_FRAME_INFO), |call| {
        let count = payload::<domctl::PageFrameInfo>(call).num as usize;
        <[u64]>::mut_from_bytes(call.data().unwrap()).unwrap()[..count].fill(0);
        Ok(0)
    });
    hypervisor.kernel_fills(false);
    Frames::new(Xen::over(hypervisor.clone()).unwrap(), DomId(1), PFNS, 1000).unwrap()
}

fn usual(pfn: Pfn) -> Option<Gfn> {
    Some(Gfn(FIRST + pfn.0))
}

/// The frame of a pfn after the guest has moved pfn 700.
fn moved(pfn: Pfn) -> Option<Gfn> {
    if pfn.0 == 700 { Some(Gfn(9999)) } else { usual(pfn) }
}

fn copied(frames: &Frames, pfn: u64) -> Option<u8> {
    let mut page = [0; 4096];
    frames.copy(Pfn(pfn), &mut page).then_some(page[0])
}

#[test]
fn a_guest_whose_pages_changed_between_two_pauses_is_all_dirty_once() {
    let mut frames = frames();
    assert!(!frames.begin_pause(1000));
    frames.end_pause(1000);
    assert!(frames.begin_pause(1004), "it took four");
    // What was mapped no longer is, and given back: that is our doing.
    frames.end_pause(1002);
    assert!(!frames.begin_pause(1002));
    frames.end_pause(1002);
    assert!(frames.begin_pause(1001));
}

#[test]
fn what_changed_while_the_guest_ran_counts_at_the_next_pause_even_if_it_changed_back() {
    let mut frames = frames();
    frames.look_live(1001);
    frames.look_live(1000);
    assert!(frames.begin_pause(1000));
    frames.end_pause(1000);
    assert!(!frames.begin_pause(1000));
}

#[test]
fn a_page_count_that_nobody_saw_counts_as_changed() {
    let mut frames = frames();
    assert!(!frames.begin_pause(1000));
    frames.end_pause_unseen();
    assert!(frames.begin_pause(1000), "it could not be asked at the end of the pause");
    frames.end_pause(1000);
    // A pause whose beginning nobody looked at.
    frames.end_pause(1004);
    assert!(frames.begin_pause(1004));
}

#[test]
fn a_failed_remap_loses_no_page_of_its_piece() {
    let hypervisor = Simulated::new();
    hypervisor.write_frame(FIRST + 1, &[7; 4096]);
    hypervisor.write_frame(9999, &[9; 4096]);
    let mut frames = on(&hypervisor);
    assert!(!frames.begin_pause(1000));
    frames.look_up(&[Pfn(1), Pfn(700)], &usual, Unmapped::Fails).unwrap();
    assert_eq!(copied(&frames, 1), Some(7));

    hypervisor.fail_maps(Errno::ENOMEM);
    frames.look_up(&[Pfn(700)], &moved, Unmapped::Fails).unwrap_err();
    assert_eq!(frames.sure_type(Pfn(1)), None, "nothing of the piece is mapped");
    frames.look_up(&[Pfn(1)], &moved, Unmapped::Fails).unwrap_err();
    hypervisor.mend_maps();
    frames.end_pause(1000);

    assert!(frames.begin_pause(1000), "what the guest gave back meanwhile was not kept: all counts as dirty");
    let mut wanted = DirtyBitmap::new(PFNS);
    frames.mark_present(&mut wanted, &moved).unwrap();
    assert_eq!(wanted.count(), PFNS);
    assert!(frames.look_up(&[Pfn(1), Pfn(700)], &moved, Unmapped::Fails).unwrap());
    assert_eq!(frames.found_type(Pfn(1)), PageType::Normal);
    assert_eq!((copied(&frames, 1), copied(&frames, 700)), (Some(7), Some(9)));
}

#[test]
fn a_page_that_cannot_be_mapped_is_an_error_or_waits_and_is_never_absent_for_good() {
    for fills in [false, true] {
        let hypervisor = Simulated::new();
        let mut frames = on(&hypervisor);
        hypervisor.kernel_fills(fills);
        for errno in [Errno::ENOMEM, Errno::EINVAL, Errno::EFAULT] {
            hypervisor.break_frame(FIRST + 3, errno);
            let mut waits = DirtyBitmap::new(PFNS);
            frames.look_up(&[Pfn(2), Pfn(3)], &usual, Unmapped::Waits(&mut waits)).unwrap();
            assert_eq!(waits.runs(Pfn(0)).flatten().collect::<Vec<_>>(), [3], "the pause looks at it");
            assert_eq!((frames.sure_type(Pfn(3)), copied(&frames, 3)), (None, None));
            let error = frames.look_up(&[Pfn(3)], &usual, Unmapped::Fails).unwrap_err();
            let XenError::Map { errno: of, frame, .. } = error else { panic!("{error}") };
            assert_eq!((of, frame), (errno, Gfn(5003).into()));
        }
        hypervisor.mend_frame(FIRST + 3);
        hypervisor.write_frame(FIRST + 3, &[3; 4096]);
        frames.look_up(&[Pfn(3)], &usual, Unmapped::Fails).unwrap();
        assert_eq!((frames.sure_type(Pfn(3)), copied(&frames, 3)), (Some(PageType::Normal), Some(3)));
    }
}

#[test]
fn a_hole_that_mapping_others_left_is_looked_up_again() {
    let hypervisor = Simulated::new();
    let mut frames = on(&hypervisor);
    frames.look_up(&[Pfn(1), Pfn(700)], &usual, Unmapped::Fails).unwrap();
    assert!(frames.sure_type(Pfn(1)).is_some());
    // The guest gave pfn 1 back: its frame was kept until its piece was mapped anew.
    hypervisor.break_frame(FIRST + 1, Errno::EINVAL);
    let is_whole = frames.look_up(&[Pfn(700)], &moved, Unmapped::Fails).unwrap();
    assert!(!is_whole, "others have to be looked up again");
    assert_eq!((frames.sure_type(Pfn(1)), copied(&frames, 1)), (None, None), "and nothing panics");
    assert!(frames.look_up(&[Pfn(700)], &moved, Unmapped::Fails).unwrap());
}

#[test]
fn a_type_that_cannot_be_is_an_error() {
    let hypervisor = Simulated::new();
    let mut frames = on(&hypervisor);
    hypervisor.answer(Asked::Domctl(domctl::GET_PAGE_FRAME_INFO), |call| {
        let count = payload::<domctl::PageFrameInfo>(call).num as usize;
        <[u64]>::mut_from_bytes(call.data().unwrap()).unwrap()[..count].fill(6 << 28);
        Ok(0)
    });
    let error = frames.look_up(&[Pfn(1)], &usual, Unmapped::Fails).unwrap_err();
    assert!(matches!(error, XenError::Nonsense { .. }), "{error}");
}

#[test]
fn a_page_that_moves_to_an_empty_pfn_is_found_though_the_page_count_stays() {
    let hypervisor = Simulated::new();
    let mut frames = on(&hypervisor);
    let before = |pfn: Pfn| if pfn.0 == 9 { None } else { usual(pfn) };
    let after = |pfn: Pfn| match pfn.0 {
        8 => None,
        9 => Some(Gfn(FIRST + 8)),
        _ => usual(pfn),
    };
    assert!(!frames.begin_pause(1000));
    frames.look_up(&[Pfn(8), Pfn(9)], &before, Unmapped::Fails).unwrap();
    frames.end_pause(1000);
    let mut changed = Vec::new();
    frames.survey(&after, |pfn| changed.push(pfn.0)).unwrap();
    assert_eq!(changed, [8, 9]);
    assert!(!frames.begin_pause(1000));
    frames.look_up(&[Pfn(8), Pfn(9)], &after, Unmapped::Fails).unwrap();
    assert_eq!((frames.found_type(Pfn(8)), frames.found_type(Pfn(9))), (PageType::Absent, PageType::Normal));
}

/// The guest gives a page back, which is found. Then it gives another back and takes one: its page count stays the
/// same.
#[test]
fn what_is_given_back_and_taken_in_equal_amounts_is_seen() {
    let hypervisor = Simulated::new();
    let mut frames = on(&hypervisor);
    let no_pfn_3 = |pfn: Pfn| if pfn.0 == 3 { None } else { usual(pfn) };
    assert!(!frames.begin_pause(1000));
    frames.look_up(&[Pfn(1)], &usual, Unmapped::Fails).unwrap();
    frames.end_pause(1000);
    let mut gone = Vec::new();
    frames.survey(&no_pfn_3, |pfn| gone.push(pfn.0)).unwrap();
    assert_eq!((gone, frames.sure_type(Pfn(3))), (vec![3], None));

    assert!(!frames.begin_pause(1000));
    // Unmapped, the page that was given back is gone at last.
    frames.map_dropped(&no_pfn_3).unwrap();
    assert!(frames.sure_type(Pfn(1)).is_some(), "what is given back in its window from now on is kept");
    frames.end_pause(999);
    assert!(!frames.begin_pause(999));
    frames.end_pause(999);

    // The same, but the window cannot be mapped again before the guest runs.
    frames.survey_next = 0;
    frames.survey(&|_| None, |_| ()).unwrap();
    assert!(!frames.begin_pause(999));
    hypervisor.fail_maps(Errno::ENOMEM);
    frames.map_dropped(&no_pfn_3).unwrap_err();
    frames.end_pause(999);
    hypervisor.mend_maps();
    assert!(frames.begin_pause(999), "nobody can say what it took");
}

/// The guest moves the first frame of each piece of the window.
fn move_pieces(hypervisor: &Simulated) {
    for piece in 0..4 {
        let frame = FIRST + piece * 1024;
        hypervisor.write_frame(frame, &[1; 4096]);
        hypervisor.write_frame(20_000 + piece, &[2; 4096]);
        hypervisor.move_frame(frame, 20_000 + piece);
    }
}

#[test]
fn a_page_moved_onto_a_pfn_is_seen_once_its_piece_is_mapped_anew() {
    let hypervisor = Simulated::new();
    let mut frames = on(&hypervisor);
    let firsts = [0, 1024, 2048, 3072].map(Pfn);
    frames.look_up(&firsts, &usual, Unmapped::Fails).unwrap();
    move_pieces(&hypervisor);
    let seen = |frames: &Frames| firsts.map(|pfn| copied(frames, pfn.0).unwrap());
    frames.renew(1..1024).unwrap();
    assert_eq!(seen(&frames), [1, 1, 1, 1], "no piece begins there");
    frames.renew(1000..1100).unwrap();
    assert_eq!(seen(&frames), [1, 2, 1, 1]);
    frames.renew(0..PFNS).unwrap();
    assert_eq!(seen(&frames), [2, 2, 2, 2]);
    assert!(frames.sure_type(Pfn(5)).is_some(), "nothing has to be looked up for it");
    assert!(!frames.begin_pause(1000));
}

#[test]
fn a_piece_with_pages_given_back_is_left_to_the_pause() {
    let hypervisor = Simulated::new();
    let mut frames = on(&hypervisor);
    frames.look_up(&[Pfn(0)], &usual, Unmapped::Fails).unwrap();
    move_pieces(&hypervisor);
    hypervisor.answer(Asked::Domctl(domctl::GET_PAGE_FRAME_INFO), |call| {
        let count = payload::<domctl::PageFrameInfo>(call).num as usize;
        let frames = &mut <[u64]>::mut_from_bytes(call.data().unwrap()).unwrap()[..count];
        frames.iter_mut().for_each(|frame| *frame = if *frame == FIRST + 7 { 0xF << 28 } else { 0 });
        Ok(0)
    });
    frames.renew(0..PFNS).unwrap();
    assert_eq!(copied(&frames, 0), Some(1), "what was given back stays counted until then");
    assert!(!frames.begin_pause(1000), "nothing is dirty for that");
    frames.map_dropped(&usual).unwrap();
    assert_eq!(copied(&frames, 0), Some(2));
}

#[test]
fn a_piece_that_cannot_be_mapped_anew_makes_all_dirty_and_loses_nothing() {
    let hypervisor = Simulated::new();
    let mut frames = on(&hypervisor);
    frames.look_up(&[Pfn(0)], &usual, Unmapped::Fails).unwrap();
    hypervisor.fail_maps(Errno::ENOMEM);
    frames.renew(0..PFNS).unwrap_err();
    hypervisor.mend_maps();
    assert_eq!(frames.sure_type(Pfn(5)), None);
    assert!(frames.begin_pause(1000));
    let mut wanted = DirtyBitmap::new(PFNS);
    frames.mark_present(&mut wanted, &usual).unwrap();
    assert_eq!(wanted.count(), PFNS);
}

#[test]
fn a_full_copy_finds_every_page_where_it_is_by_then() {
    let hypervisor = Simulated::new();
    let mut frames = on(&hypervisor);
    frames.look_up(&[Pfn(0)], &usual, Unmapped::Fails).unwrap();
    move_pieces(&hypervisor);
    frames.forget(|| Ok::<_, XenError>(998)).unwrap();
    assert!(!frames.begin_pause(998), "what only our mapping had kept is no change of the guest's");
    frames.look_up(&[Pfn(0), Pfn(1024)], &usual, Unmapped::Fails).unwrap();
    assert_eq!((copied(&frames, 0), copied(&frames, 1024)), (Some(2), Some(2)));
}

#[test]
fn nothing_is_asked_or_mapped_anew_of_a_hole() {
    let hypervisor = Simulated::new();
    let mut frames = on(&hypervisor);
    hypervisor.answer(Asked::Domctl(domctl::GET_PAGE_FRAME_INFO), |call| {
        let count = payload::<domctl::PageFrameInfo>(call).num as usize;
        <[u64]>::mut_from_bytes(call.data().unwrap()).unwrap()[..count].fill(0xF << 28);
        Ok(0)
    });
    frames.look_up(&[Pfn(0)], &usual, Unmapped::Fails).unwrap();
    let replaced = hypervisor.replaced();
    let _ = hypervisor.asked();
    frames.renew(0..PFNS).unwrap();
    assert_eq!((hypervisor.replaced(), hypervisor.asked()), (replaced, Vec::new()));
}

#[test]
fn what_held_a_page_is_found_and_nothing_where_nothing_is_mapped() {
    let hypervisor = Simulated::new();
    let mut frames = on(&hypervisor);
    let next = |frames: &Frames, from, end| frames.next_held(Pfn(from), Pfn(end)).map(|pfn| pfn.0);
    assert_eq!(next(&frames, 0, PFNS), None, "nothing is mapped");
    hypervisor.answer(Asked::Domctl(domctl::GET_PAGE_FRAME_INFO), |call| {
        let count = payload::<domctl::PageFrameInfo>(call).num as usize;
        for frame in &mut <[u64]>::mut_from_bytes(call.data().unwrap()).unwrap()[..count] {
            *frame = if (FIRST + 700..FIRST + 710).contains(frame) { 0 } else { 0xF << 28 };
        }
        Ok(0)
    });
    frames.look_up(&[Pfn(700)], &usual, Unmapped::Fails).unwrap();
    assert_eq!((next(&frames, 0, PFNS), next(&frames, 700, 701)), (Some(700), Some(700)));
    assert_eq!((next(&frames, 705, PFNS), next(&frames, 709, u64::MAX)), (Some(705), Some(709)));
    assert_eq!(
        (next(&frames, 0, 700), next(&frames, 710, PFNS), next(&frames, PFNS, u64::MAX)),
        (None, None, None)
    );
}
