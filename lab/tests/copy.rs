//! A copy that runs beside its image answers as the original does, until its host says otherwise, and can be set anew
//! whatever it did meanwhile.

mod common;

use common::{Collector, answer, config, differing, request_frame};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use understudy_checkpoint::domain::{DomainState, LiveCopy, Sink, Source};
use understudy_checkpoint::epoch::{Image, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Page, PageEntry, Pfn};
use understudy_lab::memcached::Request;
use understudy_lab::{Conditions, Divergence, LabCopy, LabGuest, Load, What};

const PAGES: u64 = 256;

/// A frame, and the identifier and text that it carries.
type Answered = (Vec<u8>, (u16, Vec<u8>));

struct Pair {
    original: LabGuest,
    from_original: Arc<Collector>,
    copy: LabCopy,
    from_copy: Arc<Collector>,
}

/// What the guest is now, and its state.
fn capture(guest: &LabGuest) -> Image {
    let mut source = guest.source();
    source.suspend().unwrap();
    let image = capture_halted(guest);
    source.resume().unwrap();
    image
}

/// As [`capture`], of a guest that stands still.
fn capture_halted(guest: &LabGuest) -> Image {
    let mut source = guest.source();
    let (mut image, mut all) = (Image::new(PAGES), DirtyBitmap::new(PAGES));
    (0..PAGES).for_each(|pfn| all.set(Pfn(pfn)));
    let mut staging = Staging::new(PAGES as usize);
    assert_eq!(source.copy_pages(&all, Pfn(0), &mut staging, 1).unwrap(), None);
    let mut state = DomainState::default();
    source.capture_state(&mut state).unwrap();
    for (entry, page) in staging.entries().iter().zip(staging.pages()) {
        image.apply_page(*entry, Some(page));
    }
    image.apply_state(&state);
    image
}

fn copied(image: &Image) -> Image {
    let mut other = Image::new(image.page_count());
    image.entries().for_each(|entry| other.apply_page(entry, image.page(entry.pfn())));
    other.apply_state(image.state());
    other
}

fn pair(load: Load, conditions: Conditions) -> (Pair, Image) {
    let (from_original, from_copy) = (Arc::new(Collector::default()), Arc::new(Collector::default()));
    let original = LabGuest::start(&config(load, 1), from_original.clone()).unwrap();
    // Before the capture: what is written between the two would be in neither.
    original.source().begin_log_dirty().unwrap();
    let image = capture(&original);
    let copy = LabCopy::new(conditions, copied(&image), from_copy.clone()).unwrap();
    (Pair { original, from_original, copy, from_copy }, image)
}

impl Pair {
    fn ask(&self, ids: std::ops::Range<u16>) {
        for id in ids {
            let key = format!("key-{}", id % 7);
            let by = u64::from(id);
            for frame in [
                request_frame(
                    id,
                    &Request::Set { key: key.as_bytes(), flags: 0, value: b"5", noreply: true },
                ),
                request_frame(id, &Request::Incr { key: key.as_bytes(), by, noreply: false }),
            ] {
                assert!(self.original.inject(&frame));
                assert!(self.copy.deliver(&frame));
            }
        }
    }

    /// The answers of both, once each has given `count`.
    fn answers(&self, count: usize) -> [Vec<Answered>; 2] {
        [&self.from_original, &self.from_copy].map(|port| {
            let mut all = Vec::new();
            let began = Instant::now();
            while all.len() < count {
                assert!(began.elapsed() < Duration::from_secs(20), "{} of {count} answers", all.len());
                thread::sleep(Duration::from_millis(1));
                all.extend(port.take().into_iter().filter_map(|frame| {
                    let said = answer(&frame)?;
                    Some((frame, said))
                }));
            }
            all
        })
    }

    /// Sets the copy to `image`: what either changed, and the state.
    fn set(&mut self, image: &Image, changed: &mut DirtyBitmap) {
        self.copy.halt().unwrap();
        self.copy.drain_dirty(changed).unwrap();
        for pfn in changed.runs(Pfn(0)).flatten().map(Pfn) {
            let page: &Page = image.page(pfn).unwrap();
            self.copy.put_page(PageEntry::new(pfn, image.page_type(pfn)), Some(page)).unwrap();
        }
        self.copy.put_state(image.state()).unwrap();
    }
}

#[test]
fn a_copy_sends_nothing_before_it_runs_and_then_what_the_original_sends() {
    let (mut pair, _) = pair(Load::MIXED, Conditions::NONE);
    pair.ask(0..50);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(pair.from_copy.take(), Vec::<Vec<u8>>::new());
    pair.copy.run().unwrap();
    let [original, copy] = pair.answers(50);
    assert_eq!(original, copy);
}

#[test]
fn what_depends_on_the_host_differs_and_no_client_sees_it() {
    for what in [What::Value, What::Clock] {
        let divergence = Some(Divergence { chance: 1.0, what });
        let (mut pair, _) = pair(Load::IDLE, Conditions { divergence, ..Conditions::NONE });
        pair.copy.run().unwrap();
        pair.ask(0..20);
        let [original, copy] = pair.answers(20);
        for ((of_original, said), (of_copy, said_by_copy)) in original.iter().zip(&copy) {
            assert_ne!(of_original, of_copy, "{what:?}");
            assert_eq!(said, said_by_copy, "{what:?}");
        }
    }
}

#[test]
fn a_late_answer_is_the_same_answer() {
    let divergence = Some(Divergence { chance: 0.2, what: What::Delay });
    let (mut pair, _) = pair(Load::IDLE, Conditions { divergence, ..Conditions::NONE });
    pair.copy.run().unwrap();
    pair.ask(0..40);
    let [original, copy] = pair.answers(40);
    assert_eq!(original, copy);
}

#[test]
fn requests_that_overtake_each_other_are_each_answered() {
    let divergence = Some(Divergence { chance: 0.5, what: What::Order });
    let (mut pair, _) = pair(Load::IDLE, Conditions { divergence, ..Conditions::NONE });
    pair.ask(0..100);
    pair.copy.run().unwrap();
    let [original, copy] = pair.answers(100);
    assert_ne!(original, copy);
    let mut ids = copy.iter().map(|(_, (id, _))| *id).collect::<Vec<_>>();
    ids.sort_unstable();
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_copy_that_went_its_own_way_is_set_to_what_the_original_is() {
    let (mut pair, _) = pair(Load::MIXED, Conditions { seed: 3, ..Conditions::NONE });
    pair.copy.run().unwrap();
    // Input that the original never gets.
    assert!(pair.copy.deliver(&request_frame(1, &Request::Incr { key: b"key-1", by: 77, noreply: false })));
    pair.ask(0..30);
    pair.answers(30);
    thread::sleep(Duration::from_millis(20));

    let image = capture(&pair.original);
    let mut changed = DirtyBitmap::new(PAGES);
    pair.original.source().drain_dirty(&mut changed).unwrap();
    // Written after the capture, too: a superset is no harm.
    pair.set(&image, &mut changed);
    let set = capture_halted(pair.copy.guest());
    assert_eq!(differing(&image, &set), vec![]);
    assert_eq!(image.state(), set.state());

    pair.from_copy.take();
    pair.from_original.take();
    pair.copy.run().unwrap();
    pair.ask(100..130);
    let [original, copy] = pair.answers(30);
    assert_eq!(original, copy);
}

#[test]
fn input_that_waited_when_the_copy_was_set_is_not_taken_afterwards() {
    let (mut pair, image) = pair(Load::IDLE, Conditions::NONE);
    assert!(pair.copy.deliver(&request_frame(9, &Request::Stats)));
    pair.set(&image, &mut DirtyBitmap::new(PAGES));
    assert!(pair.copy.deliver(&request_frame(10, &Request::Stats)));
    pair.copy.run().unwrap();
    let began = Instant::now();
    let answers = loop {
        let answers: Vec<_> = pair.from_copy.take().iter().filter_map(|frame| answer(frame)).collect();
        if !answers.is_empty() || began.elapsed() > Duration::from_secs(20) {
            break answers;
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [10]);
}

#[test]
fn frames_taken_are_counted_exactly_at_a_suspend() {
    let (pair, _) = pair(Load::MIXED, Conditions::NONE);
    let mut source = pair.original.source();
    source.suspend().unwrap();
    let before = pair.original.frames_taken();
    for id in 0..10 {
        assert!(pair.original.inject(&request_frame(id, &Request::Stats)));
    }
    assert_eq!(pair.original.frames_taken(), before);
    source.resume().unwrap();
    let began = Instant::now();
    while pair.original.frames_taken() < before + 10 {
        assert!(began.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(1));
    }
}
