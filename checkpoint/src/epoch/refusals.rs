//! What a receiver refuses, and that a refusal leaves the image as it was.

use super::{Image, Limits, ReceiveError, Receiver, Staging};
use crate::domain::{DomainState, Sink};
use crate::pages::{
    BatchError, Batches, CHECKED_PAGES_MAX, Check, ContentHash, Encoder, EncoderConfig, EpochSummary,
    put_checks, put_state_digest,
};
use crate::room::{OutOfMemory, scarce};
use crate::{Epoch, EpochKind, PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use proptest::prelude::*;

const FRAMES: u64 = 16;

/// A page whose first bytes vary: whole pages compress, and small changes become deltas.
fn page(salt: u64) -> Page {
    let mut page = [0; PAGE_SIZE];
    page.iter_mut().enumerate().for_each(|(at, byte)| *byte = b"a page of some guest "[at % 21]);
    page[..8].copy_from_slice(&salt.to_le_bytes());
    page
}

fn encode(encoder: &mut Encoder, pages: impl IntoIterator<Item = (u64, Page)>) -> Vec<Vec<u8>> {
    let mut staging = Staging::new(4 * FRAMES as usize);
    for (pfn, page) in pages {
        staging.extend([PageEntry::new(Pfn(pfn), PageType::Normal)])[0] = page;
    }
    let mut batches = Batches::new();
    encoder.encode(&staging, &mut batches);
    batches.iter().map(<[u8]>::to_vec).collect()
}

fn epoch(encoder: &mut Encoder, number: u64, kind: EpochKind, pfns: &[u64]) -> (Vec<Vec<u8>>, EpochSummary) {
    encoder.begin_epoch(Epoch(number), kind);
    let batches = encode(encoder, pfns.iter().map(|pfn| (*pfn, page(number << 8 | pfn))));
    (batches, encoder.end_epoch())
}

/// An encoder and a receiver at epoch 0.
fn seeded(buffer_bytes_max: usize) -> (Encoder, Receiver<Image>) {
    let mut encoder = Encoder::new(EncoderConfig { shadow_bytes_max: 1 << 20 });
    let mut receiver = Receiver::new(Image::new(FRAMES), Limits { buffer_bytes_max, page_count: FRAMES });
    let all: Vec<u64> = (0..FRAMES).collect();
    let (batches, summary) = epoch(&mut encoder, 0, EpochKind::Seed, &all);
    receiver.begin(Epoch(0), EpochKind::Seed, None).unwrap();
    batches.iter().for_each(|batch| receiver.pages(batch).unwrap());
    receiver.finish(summary).unwrap();
    assert_eq!((receiver.committed(), receiver.newest_complete()), (Some(Epoch(0)), Some(Epoch(0))));
    (encoder, receiver)
}

fn assert_untouched(receiver: &Receiver<Image>) {
    assert_eq!(receiver.newest_complete(), Some(Epoch(0)));
    assert_eq!(receiver.buffered_bytes(), 0);
    for pfn in 0..FRAMES {
        assert!(receiver.sink().page(Pfn(pfn)) == Some(&page(pfn)), "frame {pfn}");
    }
}

/// A sink whose domain somebody has let run.
struct LetRun {
    image: Image,
    runs: bool,
}

impl Sink for LetRun {
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        self.image.page(pfn)
    }
    fn page_type(&self, pfn: Pfn) -> PageType {
        self.image.page_type(pfn)
    }
    fn state(&self) -> &DomainState {
        self.image.state()
    }
    fn apply_page(&mut self, entry: PageEntry, page: Option<&Page>) {
        self.image.apply_page(entry, page);
    }
    fn apply_state(&mut self, state: &DomainState) {
        self.image.apply_state(state);
    }
    fn check(&mut self) -> Option<String> {
        self.fault()
    }
    fn fault(&self) -> Option<String> {
        self.runs.then(|| "it runs".into())
    }
}

#[test]
fn pages_that_differ_because_of_their_holder_are_the_holders_fault() {
    for runs in [false, true] {
        let (mut encoder, seeded) = seeded(1 << 20);
        let image = seeded.into_sink();
        let limits = Limits { buffer_bytes_max: 1 << 20, page_count: FRAMES };
        let mut receiver = Receiver::new(LetRun { image, runs: false }, limits);
        receiver.begin(Epoch(1), EpochKind::Seed, None).unwrap();
        let all: Vec<u64> = (0..FRAMES).collect();
        let (batches, summary) = epoch(&mut encoder, 1, EpochKind::Seed, &all);
        batches.iter().for_each(|batch| receiver.pages(batch).unwrap());
        receiver.finish(summary).unwrap();

        receiver.begin(Epoch(2), EpochKind::Delta, Some(Epoch(1))).unwrap();
        receiver.sink_mut().apply_page(PageEntry::new(Pfn(3), PageType::Normal), Some(&page(99)));
        receiver.sink_mut().runs = runs;
        let (batches, summary) = epoch(&mut encoder, 2, EpochKind::Delta, &[3]);
        batches.iter().for_each(|batch| receiver.pages(batch).unwrap());
        let error = receiver.finish(summary).unwrap_err();
        let error = receiver.explain(error);
        assert_eq!(matches!(error, ReceiveError::Sink(_)), runs, "{error}");
        assert_eq!(receiver.committed(), (!runs).then_some(Epoch(1)), "a holder that runs has no image");
    }
}

#[test]
fn an_epoch_that_builds_on_something_else_is_refused() {
    let (_, mut receiver) = seeded(1 << 20);
    for (number, base) in [(1, None), (2, Some(1)), (0, Some(0))] {
        let refused = receiver.begin(Epoch(number), EpochKind::Delta, base.map(Epoch));
        assert!(matches!(refused, Err(ReceiveError::WrongBase { .. })), "{refused:?}");
    }
    assert_eq!(receiver.pages(&[]), Err(ReceiveError::NoEpoch));
    receiver.begin(Epoch(5), EpochKind::Delta, Some(Epoch(0))).unwrap();
    let refused = receiver.begin(Epoch(6), EpochKind::Delta, Some(Epoch(0)));
    assert_eq!(refused, Err(ReceiveError::StillOpen(Epoch(6), Epoch(5))));
    receiver.drop_incomplete();
    assert_untouched(&receiver);
}

#[test]
fn an_epoch_beyond_the_buffer_is_refused_and_the_next_small_one_taken() {
    let (mut encoder, mut receiver) = seeded(4 * PAGE_SIZE);
    receiver.begin(Epoch(1), EpochKind::Delta, Some(Epoch(0))).unwrap();
    let (batches, _) = epoch(&mut encoder, 1, EpochKind::Delta, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(receiver.pages(&batches[0]), Err(ReceiveError::TooLarge(4 * PAGE_SIZE)));
    assert_untouched(&receiver);
    encoder.forget_after(Epoch(0));

    receiver.begin(Epoch(2), EpochKind::Delta, Some(Epoch(0))).unwrap();
    assert_eq!(receiver.libxl_state(&[0; 5 * PAGE_SIZE]), Err(ReceiveError::TooLarge(4 * PAGE_SIZE)));
    assert_untouched(&receiver);

    receiver.begin(Epoch(3), EpochKind::Delta, Some(Epoch(0))).unwrap();
    let (batches, summary) = epoch(&mut encoder, 3, EpochKind::Delta, &[4, 5]);
    batches.iter().for_each(|batch| receiver.pages(batch).unwrap());
    receiver.finish(summary).unwrap();
    receiver.commit(Epoch(3));
    assert!(receiver.sink().page(Pfn(4)) == Some(&page(3 << 8 | 4)));
    assert_eq!(receiver.committed(), Some(Epoch(3)));
}

#[test]
fn a_full_copy_of_a_guest_that_no_host_can_hold_is_refused_and_costs_no_image() {
    let huge = Limits { buffer_bytes_max: 1 << 20, page_count: u64::MAX };
    let mut receiver = Receiver::new(Image::new(u64::MAX), huge);
    assert_eq!(receiver.begin(Epoch(0), EpochKind::Seed, None), Err(ReceiveError::OutOfMemory(OutOfMemory)));
    // One that the host has no memory for just now: the image that stands here is not given up for it.
    let (_, mut receiver) = seeded(1 << 20);
    let refused = scarce::with(0, || receiver.begin(Epoch(1), EpochKind::Seed, None));
    assert_eq!(refused, Err(ReceiveError::OutOfMemory(OutOfMemory)));
    assert_untouched(&receiver);
}

#[test]
fn a_seed_that_leaves_a_frame_out_is_no_image() {
    let (mut encoder, mut receiver) = seeded(1 << 20);
    let but_one: Vec<u64> = (0..FRAMES).filter(|pfn| *pfn != 9).collect();
    let (batches, summary) = epoch(&mut encoder, 1, EpochKind::Seed, &but_one);
    receiver.begin(Epoch(1), EpochKind::Seed, None).unwrap();
    batches.iter().for_each(|batch| receiver.pages(batch).unwrap());
    assert_eq!(receiver.finish(summary), Err(ReceiveError::SeedIncomplete(Pfn(9))));
    assert_eq!(receiver.newest_complete(), None);
}

#[test]
fn a_seed_that_breaks_off_leaves_no_image() {
    let (_, mut receiver) = seeded(1 << 20);
    receiver.begin(Epoch(1), EpochKind::Seed, None).unwrap();
    receiver.drop_incomplete();
    assert_eq!((receiver.committed(), receiver.newest_complete()), (None, None));
    let refused = receiver.begin(Epoch(2), EpochKind::Delta, Some(Epoch(0)));
    assert!(matches!(refused, Err(ReceiveError::WrongBase { .. })));
}

#[test]
fn a_frame_beyond_the_guest_is_refused() {
    let (mut encoder, mut receiver) = seeded(1 << 20);
    receiver.begin(Epoch(1), EpochKind::Delta, Some(Epoch(0))).unwrap();
    let (batches, _) = epoch(&mut encoder, 1, EpochKind::Delta, &[FRAMES - 1, FRAMES]);
    assert_eq!(receiver.pages(&batches[0]), Err(ReceiveError::Batch(BatchError::Entry)));
    assert_untouched(&receiver);
}

#[test]
fn a_change_to_a_page_that_is_not_held_is_refused() {
    let (mut encoder, mut receiver) = seeded(1 << 20);
    let (_, mut other) = seeded(1 << 20);
    for (number, holds) in [(1, true), (2, false)] {
        let (batches, summary) = epoch(&mut encoder, number, EpochKind::Delta, &[3]);
        other.begin(Epoch(number), EpochKind::Delta, Some(Epoch(number - 1))).unwrap();
        batches.iter().for_each(|batch| other.pages(batch).unwrap());
        other.finish(summary).unwrap();
        if holds {
            continue;
        }
        // This receiver missed epoch 1, and has no page at frame 3 any more.
        *receiver.sink_mut() = Image::new(FRAMES);
        receiver.begin(Epoch(2), EpochKind::Delta, Some(Epoch(0))).unwrap();
        assert_eq!(receiver.pages(&batches[0]), Err(ReceiveError::NoBasePage(Pfn(3))));
    }
}

#[test]
fn a_change_to_another_page_than_the_senders_is_noticed() {
    let (mut encoder, mut receiver) = seeded(1 << 20);
    let mut wrong = page(3);
    wrong[2000] ^= 1;
    *receiver.sink_mut().page_mut(Pfn(3)).unwrap() = wrong;
    receiver.begin(Epoch(1), EpochKind::Delta, Some(Epoch(0))).unwrap();
    let (batches, summary) = epoch(&mut encoder, 1, EpochKind::Delta, &[3]);
    batches.iter().for_each(|batch| receiver.pages(batch).unwrap());
    assert!(matches!(receiver.finish(summary), Err(ReceiveError::Mismatch { .. })));
    assert_eq!(receiver.newest_complete(), Some(Epoch(0)));
}

#[test]
fn state_that_is_not_what_was_sent_is_noticed() {
    let (mut encoder, mut receiver) = seeded(1 << 20);
    let (mut batches, summary) = epoch(&mut encoder, 1, EpochKind::Delta, &[3]);
    let mut digest = Batches::new();
    put_state_digest(&DomainState { libxc: vec![1, 2], libxl: vec![3] }, &mut digest);
    batches.extend(digest.iter().map(<[u8]>::to_vec));
    for (libxl, expected) in [(4, Err(ReceiveError::StateMismatch(Epoch(1)))), (3, Ok(()))] {
        receiver.begin(Epoch(1), EpochKind::Delta, Some(Epoch(0))).unwrap();
        batches.iter().for_each(|batch| receiver.pages(batch).unwrap());
        receiver.libxc_state(&[1]).and_then(|()| receiver.libxc_state(&[2])).unwrap();
        receiver.libxl_state(&[libxl]).unwrap();
        assert_eq!(receiver.finish(summary), expected);
    }
}

#[test]
fn checks_are_refused_beyond_the_guest_in_numbers_and_in_a_full_copy() {
    let checks = |first: u64, count: u64| {
        let mut batches = Batches::new();
        let check = |pfn| Check { pfn: Pfn(pfn), content: ContentHash::of(None) };
        put_checks(&(first..first + count).map(check).collect::<Vec<_>>(), &mut batches);
        batches.iter().next().unwrap().to_vec()
    };
    let refused = Err(ReceiveError::Batch(BatchError::Checks));
    let (_, mut receiver) = seeded(1 << 20);
    let delta = |receiver: &mut Receiver<Image>| receiver.begin(Epoch(1), EpochKind::Delta, Some(Epoch(0)));
    delta(&mut receiver).unwrap();
    assert_eq!(receiver.pages(&checks(FRAMES, 1)), refused, "beyond the guest");
    delta(&mut receiver).unwrap();
    let often = CHECKED_PAGES_MAX as u64 / FRAMES;
    (0..often).for_each(|_| receiver.pages(&checks(0, FRAMES)).unwrap());
    assert_eq!(receiver.pages(&checks(0, 1)), refused, "more than an epoch may have");
    assert_untouched(&receiver);
    receiver.begin(Epoch(1), EpochKind::Seed, None).unwrap();
    assert_eq!(receiver.pages(&checks(0, 1)), refused, "a full sync has nothing to be held against");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_mutated_batch_is_refused_or_means_the_same(
        pfns in proptest::collection::btree_set(0..FRAMES, 1..10),
        mutations in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<usize>()),
    ) {
        let (mut encoder, mut receiver) = seeded(1 << 20);
        let pfns: Vec<u64> = pfns.into_iter().collect();
        let (batches, summary) = epoch(&mut encoder, 1, EpochKind::Delta, &pfns);
        let mut batch = batches[0].clone();
        for (at, byte) in mutations {
            let at = at % batch.len();
            batch[at] = byte;
        }
        batch.truncate(cut.map_or(batch.len(), |cut| cut % batch.len()));
        receiver.begin(Epoch(1), EpochKind::Delta, Some(Epoch(0))).unwrap();
        match receiver.pages(&batch).and_then(|()| receiver.finish(summary)) {
            Err(_) => assert_untouched(&receiver),
            Ok(()) => {
                receiver.commit(Epoch(1));
                for pfn in 0..FRAMES {
                    let salt = if pfns.contains(&pfn) { 1 << 8 | pfn } else { pfn };
                    prop_assert!(receiver.sink().page(Pfn(pfn)) == Some(&page(salt)));
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_are_pages(batch in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_, mut receiver) = seeded(1 << 20);
        receiver.begin(Epoch(1), EpochKind::Delta, Some(Epoch(0))).unwrap();
        let _ = receiver.pages(&batch);
        prop_assert!(receiver.buffered_bytes() <= 1 << 20);
        receiver.drop_incomplete();
        assert_untouched(&receiver);
    }
}
