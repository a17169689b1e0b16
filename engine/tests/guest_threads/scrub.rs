//! The scrub end to end: a write that the dirty log did not tell of, or that the copy lost, is found by the secondary,
//! from capture to receiver, for a scripted guest and for one of the lab whose log is meddled with.

use super::rig::{Memory, PAGES, Rig, seeded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use understudy::guest::{Report, Work};
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{Description, DomainError, DomainState, Source};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_lab::{GuestConfig, LabGuest, LabSource, Mac, Port};
use understudy_session::Decline;
use understudy_session::primary::Capture;

/// Epochs in which the scrub comes by every frame.
const ROUND: usize = PAGES.div_ceil(64) as usize + 1;

/// Takes a checkpoint; false if the copy is found to be wrong by it.
fn is_right_after(rig: &mut Rig) -> bool {
    let epoch = rig.order(Capture::Delta, false);
    let is_right = rig.await_report(|report| match report {
        Report::Complete { epoch: complete, .. } if *complete == epoch => Some(true),
        Report::Broken { why: Decline::Diverged, .. } => Some(false),
        _ => None,
    });
    if is_right {
        rig.hand_over(Work::Commit(epoch));
        rig.protector.acked(epoch);
    }
    is_right
}

/// Takes checkpoints, each with writes that the log tells of, until the copy is found to be wrong; how many it took.
fn epochs_until_found(rig: &mut Rig) -> Option<usize> {
    for round in 0..ROUND {
        rig.memory.write(round as u64 * 5, 200);
        if !is_right_after(rig) {
            return Some(round);
        }
    }
    None
}

#[test]
fn a_write_that_the_log_does_not_tell_of_is_found_and_a_full_copy_heals_it() {
    // In each case frame 333 is written, and no drain says so.
    type Way = (&'static str, fn(&Memory));
    let ways: [Way; 3] = [
        ("missed", |memory| memory.write_unseen(333, 66)),
        ("taken by another reader of the log", |memory| {
            memory.write(333, 66);
            memory.0.lock().dirty.clear();
        }),
        ("written twice, back to nearly what it was", |memory| {
            memory.write_unseen(333, 1);
            memory.write_unseen(333, 135);
        }),
    ];
    for (way, lose) in ways {
        let mut rig = seeded();
        lose(&rig.memory);
        let found = epochs_until_found(&mut rig);
        assert!(found.is_some(), "{way}: not found in a round of {ROUND} epochs");
        let seed = rig.order(Capture::Seed, false);
        rig.acked(seed);
        rig.assert_same();
        assert_eq!(epochs_until_found(&mut rig), None, "{way}: nothing is found in a copy that is right");
    }
}

#[test]
fn a_log_that_was_switched_off_is_found() {
    let mut rig = seeded();
    let found = (0..ROUND).any(|round| {
        (0..PAGES).step_by(7).for_each(|pfn| rig.memory.write_unseen(pfn, 90 + round as u8));
        !is_right_after(&mut rig)
    });
    assert!(found, "nothing is drained, and everything is written");
}

/// A guest of the lab whose dirty log somebody meddles with.
struct Meddled {
    source: LabSource,
    how: Arc<AtomicU8>,
}

const LEFT_ALONE: u8 = 0;
/// Somebody else reads and clears the log before us.
const STOLEN: u8 = 1;
/// Somebody switched it off.
const OFF: u8 = 2;
/// Every third mark is missing.
const MISSED: u8 = 3;

impl Source for Meddled {
    fn describe(&mut self) -> Result<Description, DomainError> {
        self.source.describe()
    }
    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        self.source.begin_log_dirty()
    }
    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        self.source.end_log_dirty()
    }
    fn suspend(&mut self) -> Result<(), DomainError> {
        self.source.suspend()
    }
    fn resume(&mut self) -> Result<(), DomainError> {
        self.source.resume()
    }
    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        let mut drained = DirtyBitmap::new(into.page_count());
        if self.how.load(Ordering::SeqCst) == OFF {
            self.source.end_log_dirty()?;
        }
        self.source.drain_dirty(&mut drained)?;
        let keeps = |number: usize| match self.how.load(Ordering::SeqCst) {
            LEFT_ALONE | OFF => true,
            MISSED => !number.is_multiple_of(3),
            _ => false,
        };
        let marked = drained.runs(Pfn(0)).flatten().enumerate();
        marked.filter(|(number, _)| keeps(*number)).for_each(|(_, pfn)| into.set(Pfn(pfn)));
        Ok(())
    }
    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        self.source.copy_pages(wanted, from, staging, copiers)
    }
    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        self.source.capture_state(into)
    }
}

struct NoPort;

impl Port for NoPort {
    fn transmit(&self, _frame: &[u8]) {}
}

#[test]
fn a_lab_guest_whose_log_is_meddled_with_is_found_out_and_one_left_alone_is_not() {
    const LAB_PAGES: u64 = 256;
    let config = GuestConfig {
        memory_bytes: LAB_PAGES * 4096,
        load: "rate=50000,set=600K,skew=0.5,content=mixed".parse().unwrap(),
        seed: 7,
        ..GuestConfig::new("scrubbed", Mac([0, 0x16, 0x3E, 0, 0, 1]), std::net::Ipv4Addr::new(10, 0, 0, 1))
    };
    for how in [STOLEN, OFF, MISSED] {
        let guest = LabGuest::start(&config, Arc::new(NoPort)).unwrap();
        let told = Arc::new(AtomicU8::new(LEFT_ALONE));
        let mut rig = Rig::of(Box::new(Meddled { source: guest.source(), how: told.clone() }), LAB_PAGES);
        let seed = rig.order(Capture::Seed, false);
        rig.acked(seed);
        let is_right = |rig: &mut Rig| {
            std::thread::sleep(Duration::from_millis(2)); // the guest writes
            is_right_after(rig)
        };
        assert!((0..3 * ROUND).all(|_| is_right(&mut rig)), "nothing is found while nothing is wrong");
        told.store(how, Ordering::SeqCst);
        assert!((0..3 * ROUND).any(|_| !is_right(&mut rig)), "way {how} is not found");
        told.store(LEFT_ALONE, Ordering::SeqCst);
        let seed = rig.order(Capture::Seed, false);
        rig.acked(seed);
        assert!((0..3 * ROUND).all(|_| is_right(&mut rig)), "a full sync heals it");
        guest.stop();
    }
}
