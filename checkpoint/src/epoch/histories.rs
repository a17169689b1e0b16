//! Random histories of a guest through encoder and receiver: whatever happens, the image is one complete epoch.

use super::{Image, Limits, ReceiveError, Receiver, Staging};
use crate::domain::{DomainState, Sink};
use crate::pages::{Batches, Check, ContentHash, Encoder, EncoderConfig, put_checks, put_state_digest};
use crate::{Epoch, EpochKind, PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use proptest::prelude::*;
use std::collections::BTreeSet;

const FRAMES: u64 = 48;
const STAGED: usize = 8;

/// A guest small enough to compare as a whole.
#[derive(Clone, PartialEq)]
struct Guest {
    frames: Vec<(PageType, Page)>,
}

/// One change of one frame.
#[derive(Clone, Debug)]
enum Write {
    Bytes {
        at: usize,
        bytes: Vec<u8>,
    },
    Noise {
        seed: u64,
    },
    /// The byte to fill the page with. There are few, so that a page may become what it was before.
    Fill(u8),
    Nothing,
    Become(PageType),
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => (0..PAGE_SIZE, proptest::collection::vec(any::<u8>(), 1..64)).prop_map(|(at, bytes)| Write::Bytes { at, bytes }),
        1 => any::<u64>().prop_map(|seed| Write::Noise { seed }),
        2 => (0u8..3).prop_map(Write::Fill),
        1 => Just(Write::Nothing),
        1 => (0u8..16).prop_map(|nibble| Write::Become(PageType::from_nibble(nibble).unwrap_or_default())),
    ]
}

impl Guest {
    fn new() -> Self {
        Self { frames: vec![(PageType::Normal, [0; PAGE_SIZE]); FRAMES as usize] }
    }

    fn apply(&mut self, pfn: u64, write: &Write) {
        let (page_type, page) = &mut self.frames[pfn as usize];
        match write {
            Write::Bytes { at, bytes } => {
                let end = (at + bytes.len()).min(PAGE_SIZE);
                page[*at..end].copy_from_slice(&bytes[..end - at]);
            }
            Write::Noise { seed } => fill_noise(page, *seed),
            Write::Fill(byte) => page.fill(*byte),
            Write::Nothing => {}
            Write::Become(other) => *page_type = *other,
        }
        if !page_type.has_data() {
            page.fill(0);
        }
    }

    fn stage(&self, pfns: &[u64], staging: &mut Staging) {
        staging.clear();
        for pfn in pfns {
            let (page_type, page) = &self.frames[*pfn as usize];
            let room = staging.extend([PageEntry::new(Pfn(*pfn), *page_type)]);
            if page_type.has_data() {
                room[0] = *page;
            }
        }
    }

    fn checks_of_all_but(&self, dirty: &[u64]) -> Vec<Check> {
        let clean = (0..FRAMES).filter(|pfn| !dirty.contains(pfn));
        clean
            .map(|pfn| {
                let (page_type, page) = &self.frames[pfn as usize];
                let content = ContentHash::of(page_type.has_data().then_some(page));
                Check { pfn: Pfn(pfn), content }
            })
            .collect()
    }

    fn assert_same(&self, image: &Image) {
        for (pfn, (page_type, page)) in self.frames.iter().enumerate() {
            let pfn = Pfn(pfn as u64);
            assert_eq!(image.page_type(pfn), *page_type, "type of frame {pfn}");
            assert!(image.page(pfn) == page_type.has_data().then_some(page), "content of frame {pfn}");
        }
    }
}

fn state_of(epoch: Epoch) -> DomainState {
    DomainState { libxc: epoch.0.to_le_bytes().to_vec(), libxl: Vec::new() }
}

fn fill_noise(page: &mut Page, seed: u64) {
    let mut state = seed | 1;
    for byte in page.iter_mut() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
}

/// What happens to one epoch.
#[derive(Clone, Debug)]
struct Step {
    writes: Vec<(u64, Write)>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It arrives. The image follows up to this many epochs later.
    Arrives { commit_behind: u64 },
    /// The link is cut after this many batches. The primary resynchronises from the epoch that the peer reports.
    Cut { batches: usize },
    /// A bit flips on the way.
    Damaged { batch: usize, bit: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        6 => (0u64..4).prop_map(|commit_behind| Fate::Arrives { commit_behind }),
        1 => (0usize..6).prop_map(|batches| Fate::Cut { batches }),
        1 => (0usize..6, any::<usize>()).prop_map(|(batch, bit)| Fate::Damaged { batch, bit }),
    ];
    (proptest::collection::vec((0..FRAMES, write()), 0..40), fate)
        .prop_map(|(writes, fate)| Step { writes, fate })
}

/// The primary and the secondary of one guest, with nothing but batches between them.
struct Pair {
    guest: Guest,
    encoder: Encoder,
    receiver: Receiver<Image>,
    /// Frames written since the peer's newest complete epoch.
    dirty: BTreeSet<u64>,
    /// The guest as it was at each complete epoch that is not yet committed, and at the last one committed.
    history: Vec<(Epoch, Guest)>,
    next: Epoch,
}

impl Pair {
    fn new(shadow_pages: usize) -> Self {
        Self {
            guest: Guest::new(),
            encoder: Encoder::new(EncoderConfig { shadow_bytes_max: shadow_pages * PAGE_SIZE }),
            receiver: Receiver::new(
                Image::new(FRAMES),
                Limits { buffer_bytes_max: 64 << 20, page_count: FRAMES },
            ),
            dirty: BTreeSet::new(),
            history: Vec::new(),
            next: Epoch(0),
        }
    }

    fn seed(&mut self) {
        let all: Vec<u64> = (0..FRAMES).collect();
        self.send(EpochKind::Seed, None, &all, usize::MAX, None).unwrap();
        self.arrived();
    }

    fn arrived(&mut self) {
        self.history.push((self.next, self.guest.clone()));
        self.dirty.clear();
        self.next = self.next.next();
    }

    /// Sends the frames in stagings that are too small for them; some frames twice, changed in between.
    fn send(
        &mut self,
        kind: EpochKind,
        base: Option<Epoch>,
        pfns: &[u64],
        batches_max: usize,
        flip: Option<(usize, usize)>,
    ) -> Result<(), ReceiveError> {
        self.encoder.begin_epoch(self.next, kind);
        let (mut staging, mut batches) = (Staging::new(STAGED), Batches::new());
        let mut staged = 0;
        let again = pfns.iter().step_by(3).map(std::slice::from_ref);
        for (round, pfns) in pfns.chunks(STAGED).chain(again).enumerate() {
            // The live part of a first copy, or a staging too small: what was staged changes and comes again.
            if let [pfn] = pfns {
                let bytes = (self.next.0 << 8 | round as u64).to_le_bytes().to_vec();
                self.guest.apply(*pfn, &Write::Bytes { at: round * 16, bytes });
            }
            self.guest.stage(pfns, &mut staging);
            let stats = self.encoder.encode(&staging, &mut batches);
            staged += pfns.len() as u64;
            assert_eq!(stats.data_pages() + stats.no_data, pfns.len() as u64, "each entry is counted once");
        }
        let summary = self.encoder.end_epoch();
        if kind == EpochKind::Delta {
            put_checks(&self.guest.checks_of_all_but(pfns), &mut batches);
        }
        put_state_digest(&state_of(self.next), &mut batches);
        assert!(summary.entries <= staged);
        self.receiver.begin(self.next, kind, base)?;
        for (number, batch) in batches.iter().take(batches_max).enumerate() {
            let mut batch = batch.to_vec();
            if let Some((_, bit)) = flip.filter(|(damaged, _)| damaged % batches.len() == number) {
                let bit = bit % (batch.len() * 8);
                batch[bit / 8] ^= 1 << (bit % 8);
            }
            self.receiver.pages(&batch)?;
        }
        if batches_max < batches.len() {
            self.receiver.drop_incomplete();
            return Ok(());
        }
        self.receiver.libxc_state(&state_of(self.next).libxc)?;
        self.receiver.finish(summary)
    }

    fn step(&mut self, step: &Step) {
        for (pfn, write) in &step.writes {
            self.guest.apply(*pfn, write);
            self.dirty.insert(*pfn);
        }
        let base = self.receiver.newest_complete();
        let pfns: Vec<u64> = self.dirty.iter().copied().collect();
        let (batches_max, flip) = match step.fate {
            Fate::Arrives { .. } => (usize::MAX, None),
            Fate::Cut { batches } => (batches, None),
            Fate::Damaged { batch, bit } => (usize::MAX, Some((batch, bit))),
        };
        let sent = self.send(EpochKind::Delta, base, &pfns, batches_max, flip);
        if self.receiver.newest_complete() == Some(self.next) {
            self.arrived();
        } else {
            let harmed = !matches!(step.fate, Fate::Arrives { .. });
            assert!(harmed, "nothing happened to epoch {} on its way: {sent:?}", self.next);
            self.encoder.forget_after(base.unwrap());
            self.next = self.next.next();
        }
        if let Fate::Arrives { commit_behind } = step.fate {
            self.receiver.commit(Epoch(self.next.0.saturating_sub(1 + commit_behind)));
        }
        self.check();
    }

    /// The image equals the guest at the epoch that the receiver reports.
    fn check(&self) {
        let committed = self.receiver.committed().expect("a seed came first");
        let (_, guest) = self.history.iter().find(|(epoch, _)| *epoch == committed).unwrap();
        guest.assert_same(self.receiver.sink());
        assert_eq!(*self.receiver.sink().state(), state_of(committed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_image_is_always_one_complete_epoch(
        shadow_pages in prop_oneof![Just(0usize), Just(5), Just(64)],
        steps in proptest::collection::vec(step(), 1..16),
    ) {
        let mut pair = Pair::new(shadow_pages);
        pair.seed();
        steps.iter().for_each(|step| pair.step(step));
        pair.receiver.commit(Epoch(u64::MAX));
        pair.check();
        prop_assert_eq!(pair.receiver.buffered_bytes(), 0);
    }
    /// A write that no log reports, or a change to the image alone, is found by the next epoch, whatever came before.
    #[test]
    fn what_one_side_alone_has_is_found(
        steps in proptest::collection::vec(step(), 0..6),
        pfn in 0..FRAMES,
        write in write(),
        is_of_the_guest in any::<bool>(),
    ) {
        let mut pair = Pair::new(64);
        pair.seed();
        steps.iter().for_each(|step| pair.step(step));
        pair.receiver.commit(Epoch(u64::MAX));
        pair.check();
        pair.dirty.clear();
        let mut other = pair.history.last().unwrap().1.clone();
        pair.guest = other.clone();
        other.apply(pfn, &write);
        let content = |guest: &Guest| guest.checks_of_all_but(&[])[pfn as usize];
        prop_assume!(content(&other) != content(&pair.guest));
        if is_of_the_guest {
            pair.guest = other;
        } else {
            let (page_type, page) = &other.frames[pfn as usize];
            let page = page_type.has_data().then_some(page);
            pair.receiver.sink_mut().apply_page(PageEntry::new(Pfn(pfn), *page_type), page);
        }
        let base = pair.receiver.newest_complete();
        let sent = pair.send(EpochKind::Delta, base, &[(pfn + 1) % FRAMES], usize::MAX, None);
        let diverged = matches!(sent, Err(ReceiveError::Diverged { first, last, .. }) if (first..=last).contains(&Pfn(pfn)));
        prop_assert!(diverged, "{:?}", sent);
        prop_assert_eq!(pair.receiver.newest_complete(), base, "the image stays at the epoch before");
    }
}
