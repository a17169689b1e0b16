//! Pages that are copied ahead of the pause, of a guest that writes while they are copied: what the copy gets is what the
//! guest had in the pause, whatever was written when.

use super::rig::{Memory, PAGES, Rig, copy_each, description, seed, seeded};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use understudy::guest::{PauseTimes, Report};
use understudy_checkpoint::domain::{Description, DomainError, DomainState, Source};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{PAGE_SIZE, PageEntry, PageType, Pfn};
use understudy_session::primary::Capture;

/// Pages that one capture copies ahead at most, with as much room for all of them again: half of the rig's staging.
const AHEAD_MAX: u64 = 20;

/// A write of the guest while its pages are copied: when so many have been copied, to this frame.
type WriteMeanwhile = (usize, u64);

/// A way to be wrong, in place of which the pipeline would be wrong in the same way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// What is written while pages are copied is not in the log.
    UnloggedMeanwhile,
    /// The log is cleared when the copy ends, instead of before it begins.
    ClearedAfterCopy,
}

/// A guest that writes while its pages are copied.
struct Writing {
    memory: Memory,
    meanwhile: Arc<Mutex<Vec<WriteMeanwhile>>>,
    mutant: Mutant,
    is_suspended: bool,
    /// Pages copied since it ran.
    copied: usize,
    value: u8,
}

impl Writing {
    /// Copies a page of the running guest. What is written to it just then is half in the copy.
    fn copy_live(&mut self, pfn: u64, page: &mut [u8]) {
        let copied = self.copied;
        self.copied += 1;
        page.fill(self.memory.content(pfn));
        let mut meanwhile = self.meanwhile.lock();
        for (_, written) in meanwhile.extract_if(.., |(at, _)| *at <= copied) {
            self.value = self.value.wrapping_add(1);
            match self.mutant {
                Mutant::UnloggedMeanwhile => self.memory.write_unseen(written, self.value),
                _ => self.memory.write(written, self.value),
            }
            if written == pfn {
                page[PAGE_SIZE / 2..].fill(self.value);
            }
        }
    }
}

impl Source for Writing {
    fn describe(&mut self) -> Result<Description, DomainError> {
        Ok(description())
    }
    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        self.memory.0.lock().dirty.clear();
        Ok(())
    }
    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn suspend(&mut self) -> Result<(), DomainError> {
        (self.is_suspended, self.copied) = (true, 0);
        Ok(())
    }
    fn resume(&mut self) -> Result<(), DomainError> {
        self.is_suspended = false;
        Ok(())
    }
    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        let mut frames = self.memory.0.lock();
        frames.dirty.iter().for_each(|pfn| into.set(Pfn(*pfn)));
        if self.mutant != Mutant::ClearedAfterCopy || self.is_suspended {
            frames.dirty.clear();
        }
        Ok(())
    }
    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        _copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        let end = copy_each(wanted, from, staging, |pfn, page| {
            if self.is_suspended {
                page.fill(self.memory.content(pfn));
            } else {
                self.copy_live(pfn, page);
            }
        });
        if end.is_some() {
            return Ok(end);
        }
        if self.mutant == Mutant::ClearedAfterCopy && !self.is_suspended {
            self.memory.0.lock().dirty.clear();
        }
        Ok(None)
    }
    fn look_at_pages(
        &mut self,
        wanted: &DirtyBitmap,
        _from: Pfn,
        staging: &mut Staging,
    ) -> Result<Option<Pfn>, DomainError> {
        for pfn in wanted.runs(Pfn(0)).flatten() {
            staging.extend([PageEntry::new(Pfn(pfn), PageType::Normal)])[0].fill(self.memory.content(pfn));
        }
        Ok(None)
    }
    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        into.libxc.extend_from_slice(&[7; 64]);
        Ok(())
    }
}

/// A guest and its copy, after checkpoints from which copying ahead is known to be worth it.
struct Story {
    rig: Rig,
    meanwhile: Arc<Mutex<Vec<WriteMeanwhile>>>,
    value: u8,
}

impl Story {
    fn new(mutant: Mutant) -> Self {
        let (memory, meanwhile) = <(Memory, Arc<Mutex<Vec<WriteMeanwhile>>>)>::default();
        let source = Writing {
            memory: memory.clone(),
            meanwhile: meanwhile.clone(),
            mutant,
            is_suspended: false,
            copied: 0,
            value: 100,
        };
        let mut story =
            Self { rig: seed(Rig { memory, ..Rig::of(Box::new(source), PAGES) }), meanwhile, value: 0 };
        story.checkpoint(0..AHEAD_MAX, Vec::new());
        story
    }

    /// A checkpoint of what is written before and while pages are copied. Returns its pause and its pages.
    fn checkpoint(
        &mut self,
        before: impl IntoIterator<Item = u64>,
        meanwhile: Vec<WriteMeanwhile>,
    ) -> (PauseTimes, u64) {
        self.value = self.value.wrapping_add(1);
        before.into_iter().for_each(|pfn| self.rig.memory.write(pfn, self.value));
        *self.meanwhile.lock() = meanwhile;
        let epoch = self.rig.order(Capture::Delta, false);
        let captured = self.rig.await_report(|report| match report {
            Report::Captured { epoch: captured, pause, dirty_pages } if *captured == epoch => {
                Some((*pause, *dirty_pages))
            }
            _ => None,
        });
        self.meanwhile.lock().clear();
        self.rig.acked(epoch);
        self.rig.assert_same();
        captured
    }
}

#[test]
fn a_pause_copies_again_what_was_written_meanwhile_and_nothing_else() {
    let mut story = Story::new(Mutant::None);
    let (pause, dirty_pages) = story.checkpoint(50..66, vec![(3, 50), (3, 65), (8, 58), (15, 300)]);
    assert_eq!((pause.ahead_pages, pause.again_pages, dirty_pages), (16, 3, 17));
    // More than there would be room for if all of it came again.
    let (pause, dirty_pages) = story.checkpoint(100..130, vec![(9, 100)]);
    assert_eq!((pause.ahead_pages, pause.again_pages, dirty_pages), (10, 1, 30));
    assert_eq!(pause.overflows, 0);
    // Next to nothing: all of it in the pause, from the next checkpoint on.
    story.checkpoint([7], Vec::new());
    let (pause, dirty_pages) = story.checkpoint([7], Vec::new());
    assert_eq!((pause.ahead_pages, dirty_pages), (0, 1));
}

#[test]
fn what_was_copied_ahead_of_a_pause_that_failed_is_copied_with_the_next() {
    let mut rig = seeded();
    (0..AHEAD_MAX).for_each(|pfn| rig.memory.write(pfn, 60));
    let epoch = rig.order(Capture::Delta, false);
    rig.acked(epoch);
    (100..100 + AHEAD_MAX).for_each(|pfn| rig.memory.write(pfn, 61));
    rig.failures.store(1, Ordering::SeqCst);
    rig.order(Capture::Delta, false);
    rig.await_report(|report| matches!(report, Report::CaptureFailed { .. }).then_some(()));
    let epoch = rig.order(Capture::Delta, false);
    rig.acked(epoch);
    rig.assert_same();
}

/// Checkpoints: what is written before each, and while its pages are copied.
fn checkpoints() -> impl Strategy<Value = Vec<(Vec<u64>, Vec<WriteMeanwhile>)>> {
    // A few frames, so that many are written again.
    let before = proptest::collection::vec(0..60u64, 0..40);
    let meanwhile = proptest::collection::vec((0..24usize, 0..60u64), 0..12);
    proptest::collection::vec((before, meanwhile), 1..8)
}

fn run(mutant: Mutant, checkpoints: Vec<(Vec<u64>, Vec<WriteMeanwhile>)>) {
    let mut story = Story::new(mutant);
    for (before, meanwhile) in checkpoints {
        story.checkpoint(before, meanwhile);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn no_page_that_was_written_while_it_was_copied_is_staged_old(checkpoints in checkpoints()) {
        run(Mutant::None, checkpoints);
    }
}

/// Twelve pages are dirty, and one of them is written when all of them have been copied.
fn written_behind_the_copy() -> Vec<(Vec<u64>, Vec<WriteMeanwhile>)> {
    vec![((0..12).collect(), vec![(11, 3)])]
}

#[test]
fn one_that_is_written_behind_the_copy_is_noticed() {
    run(Mutant::None, written_behind_the_copy());
}

#[test]
#[should_panic(expected = "frame 3")]
fn a_log_without_what_is_written_meanwhile_would_be_noticed() {
    run(Mutant::UnloggedMeanwhile, written_behind_the_copy());
}

#[test]
#[should_panic(expected = "frame 3")]
fn a_log_that_is_cleared_after_the_copy_would_be_noticed() {
    run(Mutant::ClearedAfterCopy, written_behind_the_copy());
}
