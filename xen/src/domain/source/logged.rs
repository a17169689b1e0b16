//! An HVM guest whose changes Xen logs, on a simulated hypervisor: what the source checks instead of assuming.

use super::scripted::{Guest, PFNS};
use super::*;
use crate::abi::domctl;
use crate::simulated::Asked;
use nix::errno::Errno;
use understudy_checkpoint::{PAGE_SIZE, PageType};

#[test]
fn a_log_that_others_switched_off_is_lost_and_not_empty() {
    let mut guest = Guest::new();
    guest.writes(3, 3);
    assert_eq!(guest.pause().unwrap(), [(3, 3)]);
    guest.world().is_logging = false;
    guest.writes(4, 4);
    assert!(matches!(guest.pause(), Err(DomainError::LogLost(_))));
    // A new beginning logs again.
    guest.source.end_log_dirty().unwrap();
    guest.source.begin_log_dirty().unwrap();
    guest.writes(5, 5);
    assert_eq!(guest.pause().unwrap(), [(5, 5)]);
}

#[test]
fn a_guest_that_ran_and_wrote_nothing_had_its_log_read_by_others() {
    let mut guest = Guest::new();
    assert!(matches!(guest.pause(), Err(DomainError::LogLost(_))));
    // One that does not take part may sleep.
    guest.world().takes_part = false;
    assert_eq!(guest.pause().unwrap(), []);
    // One that did not run wrote nothing.
    guest.world().takes_part = true;
    guest.writes(1, 1);
    assert_eq!(guest.copy().unwrap(), [(1, 1)]);
    assert_eq!(guest.copy().unwrap(), []);
}

/// A guest that has been protected for a while, on a Xen that can mark pages.
fn with_a_mark() -> Guest {
    let mut guest = Guest::new();
    guest.world().marking = Ok(0);
    // Frames are mapped in the first pause.
    for value in [2, 3] {
        guest.writes(3, value);
        assert_eq!(guest.pause().unwrap(), [(3, value)]);
    }
    assert_eq!(guest.world().dirty.len(), 4);
    guest
}

#[test]
fn a_log_that_another_tool_has_read_is_lost() {
    let mut guest = with_a_mark();
    guest.writes(4, 4);
    // As `xl migrate` does, whose connection breaks then: the log stays on.
    let marked: Vec<u64> = std::mem::take(&mut guest.world().dirty).into_iter().collect();
    // The guest writes what was marked, too, but one page.
    guest.writes(5, 5);
    marked.iter().filter(|pfn| **pfn != 4).skip(1).for_each(|pfn| guest.writes(*pfn, 1));
    let Err(DomainError::LogLost(why)) = guest.pause() else { panic!("it is not noticed") };
    assert!(why.contains("xl migrate"), "{why}");
    guest.source.end_log_dirty().unwrap();
    guest.source.begin_log_dirty().unwrap();
    guest.writes(6, 6);
    assert!(guest.pause().unwrap().contains(&(6, 6)), "a new beginning has its own log");
}

#[test]
fn a_log_that_another_tool_has_read_between_a_copy_ahead_and_the_pause_is_lost() {
    let mut guest = with_a_mark();
    guest.writes(4, 4);
    let mut ahead = DirtyBitmap::new(PFNS);
    guest.source.drain_dirty(&mut ahead).unwrap();
    assert_eq!(guest.copy_all(&ahead).unwrap().iter().filter(|page| **page == (4, 4)).count(), 1);
    guest.writes(6, 6);
    guest.world().dirty.clear();
    guest.writes(5, 5);
    assert!(matches!(guest.pause(), Err(DomainError::LogLost(_))));
}

#[test]
fn what_is_written_behind_a_copy_ahead_is_in_the_log_of_the_pause() {
    let mut guest = with_a_mark();
    [4, 5].into_iter().for_each(|pfn| guest.writes(pfn, 1));
    let mut ahead = DirtyBitmap::new(PFNS);
    guest.source.drain_dirty(&mut ahead).unwrap();
    let copied = guest.copy_all(&ahead).unwrap();
    assert!(copied.contains(&(4, 1)) && copied.contains(&(5, 1)), "{copied:?}");
    guest.writes(5, 2);
    let copied = guest.pause().unwrap();
    assert!(copied.contains(&(5, 2)) && !copied.iter().any(|(pfn, _)| *pfn == 4), "{copied:?}");
}

#[test]
fn a_log_that_nobody_else_has_read_is_whole_however_often_it_is_read() {
    let mut guest = with_a_mark();
    for value in 10..13 {
        guest.writes(4, value);
        let copied = guest.pause().unwrap();
        assert!(copied.contains(&(4, value)), "{copied:?}");
    }
    // While it runs, and twice in a pause, as when a copy had failed.
    guest.writes(7, 7);
    let mut wanted = DirtyBitmap::new(PFNS);
    guest.source.drain_dirty(&mut wanted).unwrap();
    assert!(wanted.get(Pfn(7)));
    guest.writes(8, 8);
    assert!(guest.copy().unwrap().contains(&(8, 8)));
    guest.copy().unwrap();
    guest.source.resume().unwrap();
    guest.world().takes_part = false;
    guest.pause().expect("a guest that writes nothing has the mark all the same");
}

#[test]
fn a_xen_that_makes_no_marks_is_asked_once() {
    let mut guest = Guest::new();
    for _ in 0..3 {
        guest.writes(3, 3);
        guest.pause().unwrap();
    }
    let asked = guest.hypervisor.asked().into_iter().filter(|asked| *asked == Asked::DeviceModel).count();
    assert_eq!(asked, 1);
}

#[test]
fn a_pause_makes_few_hypercalls_and_looks_for_moved_pages_when_it_is_over() {
    use crate::abi::memory::MAXIMUM_GPFN;
    const INFO: Asked = Asked::Domctl(domctl::GET_DOMAIN_INFO);
    const LOG: Asked = Asked::Domctl(domctl::SHADOW_OP);
    const TYPES: Asked = Asked::Domctl(domctl::GET_PAGE_FRAME_INFO);
    let mut guest = with_a_mark();
    guest.source.after_resume();
    guest.writes(4, 4);
    guest.hypervisor.asked();
    let before = guest.source.calls();
    guest.copy().unwrap();
    let asked = guest.hypervisor.asked();
    assert_eq!(guest.source.calls().since(before).hypercalls, asked.len() as u64);
    assert_eq!(asked, [INFO, Asked::Memory(MAXIMUM_GPFN), LOG, TYPES, Asked::DeviceModel, LOG]);
    guest.source.resume().unwrap();
    assert_eq!(guest.hypervisor.asked(), [INFO]);
    for looks in [1, 0] {
        guest.source.after_resume();
        assert_eq!(guest.hypervisor.asked(), vec![TYPES; looks]);
    }
    // What nobody did by then is done with the next pause.
    guest.writes(4, 5);
    guest.pause().unwrap();
    guest.hypervisor.asked();
    guest.source.suspend().unwrap();
    assert_eq!(guest.hypervisor.asked()[0], TYPES);
}

#[test]
fn a_guest_that_runs_though_resuming_it_failed_is_not_touched_again() {
    let mut guest = Guest::new();
    guest.writes(1, 1);
    guest.copy().unwrap();
    guest.world().resume_fails = Some(true);
    assert!(guest.source.resume().is_err());
    let mut state = DomainState::default();
    assert!(guest.source.capture_state(&mut state).is_err(), "it runs");
    guest.source.resume().unwrap();
    assert_eq!(guest.world().resumed, 1, "it runs already");
}

#[test]
fn a_guest_that_still_stands_is_resumed_again() {
    let mut guest = Guest::new();
    guest.writes(1, 1);
    guest.copy().unwrap();
    guest.world().resume_fails = Some(false);
    assert!(guest.source.resume().is_err());
    guest.world().resume_fails = None;
    guest.source.resume().unwrap();
    assert!(!guest.world().is_suspended);
}

#[test]
fn a_guest_that_suspended_though_suspending_it_failed_goes_on() {
    let mut guest = Guest::new();
    guest.world().suspend_fails = Some(true);
    assert!(guest.source.suspend().is_err());
    assert!(guest.world().is_suspended);
    guest.source.resume().unwrap();
    assert!(!guest.world().is_suspended);
}

#[test]
fn a_guest_that_suspends_late_goes_on_and_what_it_wrote_is_not_lost() {
    let mut guest = Guest::new();
    guest.world().suspend_fails = Some(false);
    assert!(guest.source.suspend().is_err());
    guest.source.look_after().unwrap();
    assert_eq!(guest.world().resumed, 0, "it has not followed yet");
    guest.world().suspend_fails = None;
    guest.writes(9, 9);
    guest.world().is_suspended = true;
    guest.source.look_after().unwrap();
    assert!(!guest.world().is_suspended);
    guest.source.look_after().unwrap();
    assert_eq!(guest.world().resumed, 1);
    assert_eq!(guest.pause().unwrap(), [(9, 9)]);
}

#[test]
fn a_guest_that_others_suspend_is_left_to_them() {
    let mut guest = Guest::new();
    guest.world().is_suspended = true;
    guest.source.look_after().unwrap();
    assert!(guest.world().is_suspended, "xl save is at it");
}

#[test]
fn a_guest_that_gets_more_pfns_is_described_anew() {
    let mut guest = Guest::new();
    assert_eq!(guest.source.describe().unwrap().page_count, PFNS);
    guest.world().gpfn_max = PFNS;
    for _ in 0..2 {
        assert!(matches!(guest.pause(), Err(DomainError::Outgrown(_))));
    }
    assert_eq!(guest.source.describe().unwrap().page_count, PFNS + 1);
    guest.source.begin_log_dirty().unwrap();
    guest.writes(PFNS, 8);
    assert_eq!(guest.pause().unwrap(), [(PFNS, 8)]);
}

#[test]
fn a_page_that_cannot_be_mapped_fails_the_pause_and_waits_for_it_while_the_guest_runs() {
    let mut guest = Guest::new();
    guest.writes(5, 5);
    guest.hypervisor.break_frame(5, Errno::ENOMEM);
    let mut wanted = DirtyBitmap::new(PFNS);
    guest.source.drain_dirty(&mut wanted).unwrap();
    assert_eq!(guest.copy_all(&wanted).unwrap(), [], "the guest runs: the page is left to the pause");
    guest.writes(6, 6);
    let error = guest.pause().unwrap_err();
    assert!(matches!(error, DomainError::Failed(_)), "{error}");
    guest.hypervisor.mend_frame(5);
    let mut wanted = DirtyBitmap::new(PFNS);
    [5, 6].into_iter().for_each(|pfn| wanted.set(Pfn(pfn)));
    guest.source.suspend().unwrap();
    assert_eq!(guest.copy_all(&wanted).unwrap(), [(5, 5), (6, 6)]);
    assert_eq!(guest.source.frames.found_type(Pfn(5)), PageType::Normal);
}

/// What the scrub reads of all pfns of a running guest.
fn looked_at(guest: &mut Guest) -> Vec<(u64, u8)> {
    let (mut all, mut staging) = (DirtyBitmap::new(PFNS), Staging::new(PFNS as usize));
    all.set_all();
    assert_eq!(guest.source.look_at_pages(&all, Pfn(0), &mut staging).unwrap(), None);
    staging.entries().iter().zip(staging.pages()).map(|(entry, page)| (entry.pfn().0, page[0])).collect()
}

#[test]
fn what_is_written_without_a_mark_and_what_moved_is_seen_by_the_scrub() {
    let mut guest = Guest::new();
    for pfn in [3, 4, 5] {
        guest.writes(pfn, 1);
    }
    assert_eq!(guest.pause().unwrap().len(), 3);
    // Xen writes one, another reader takes the mark of the next, the guest moves a page onto the third.
    guest.hypervisor.write_frame(3, &[30; PAGE_SIZE]);
    guest.writes(4, 40);
    guest.world().dirty.clear();
    guest.hypervisor.write_frame(200, &[50; PAGE_SIZE]);
    guest.hypervisor.move_frame(5, 200);
    let seen = looked_at(&mut guest);
    assert_eq!(seen.len(), PFNS as usize);
    assert_eq!(seen[3..6], [(3, 30), (4, 40), (5, 50)]);
    // What is written where the page is now is copied from there.
    guest.world().dirty.extend([5]);
    guest.hypervisor.write_frame(200, &[51; PAGE_SIZE]);
    assert_eq!(guest.pause().unwrap(), [(5, 51)]);
}

#[test]
fn a_log_of_xen_tells_of_the_guest_s_writes_and_a_full_copy_of_all_that_is_there() {
    let mut guest = Guest::new();
    // One vCPU.
    assert_eq!(guest.source.log_tells(), LogTells::GuestWrites { others_frames_max: 20 });
    guest.writes(5, 1);
    assert_eq!(guest.pause().unwrap(), [(5, 1)]);
    guest.hypervisor.write_frame(200, &[50; PAGE_SIZE]);
    guest.hypervisor.move_frame(5, 200);
    guest.source.end_log_dirty().unwrap();
    guest.source.begin_log_dirty().unwrap();
    let mut wanted = DirtyBitmap::new(PFNS);
    wanted.set(Pfn(5));
    assert_eq!(guest.copy_all(&wanted).unwrap(), [(5, 50)]);
}
