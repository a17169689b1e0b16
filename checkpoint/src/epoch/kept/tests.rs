//! Random histories: each kept epoch reads back as the image was, or is not kept, whatever the limits.

use super::*;
use crate::epoch::Image;
use proptest::prelude::*;

const FRAMES: u64 = 24;
const STAGED: usize = 8;

/// An image, and what it was at each commit.
struct Past {
    image: Image,
    kept: KeptEpochs,
    epoch: Epoch,
    snapshots: Vec<(Epoch, Snapshot)>,
}

type Snapshot = (Vec<(Pfn, PageType, Option<Page>)>, DomainState);

fn snapshot(image: &Image) -> Snapshot {
    let frames =
        image.entries().map(|entry| (entry.pfn(), entry.page_type(), image.page(entry.pfn()).copied()));
    (frames.collect(), image.state().clone())
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u64, Content)>),
    Keep,
    Pin(usize),
    Unpin,
    FullSync,
}

#[derive(Clone, Debug)]
enum Content {
    Absent,
    Zero,
    Byte(usize, u8),
    Noise(u64),
    Table,
}

fn step() -> impl Strategy<Value = Step> {
    let content = prop_oneof![
        1 => Just(Content::Absent),
        1 => Just(Content::Zero),
        6 => (0..PAGE_SIZE, 0..4u8).prop_map(|(at, byte)| Content::Byte(at, byte)),
        2 => any::<u64>().prop_map(Content::Noise),
        1 => Just(Content::Table),
    ];
    prop_oneof![
        8 => proptest::collection::vec((0..FRAMES, content), 0..12).prop_map(Step::Commit),
        6 => Just(Step::Keep),
        1 => any::<usize>().prop_map(Step::Pin),
        1 => Just(Step::Unpin),
        1 => Just(Step::FullSync),
    ]
}

fn noise(seed: u64) -> Page {
    let mut state = seed | 1;
    std::array::from_fn(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
}

impl Past {
    fn new(limits: KeepLimits) -> Self {
        Self {
            image: Image::new(FRAMES),
            kept: KeptEpochs::new(limits),
            epoch: Epoch(1),
            snapshots: Vec::new(),
        }
    }

    fn commit(&mut self, changes: &[(u64, Content)]) {
        for (pfn, content) in changes {
            let pfn = Pfn(*pfn);
            let mut page = self.image.page(pfn).copied().unwrap_or([0; PAGE_SIZE]);
            let page_type = match content {
                Content::Absent => PageType::Absent,
                Content::Table => PageType::Table { level: 1, pinned: false },
                _ => PageType::Normal,
            };
            match content {
                Content::Absent | Content::Table => {}
                Content::Zero => page = [0; PAGE_SIZE],
                Content::Byte(at, byte) => page[*at] = *byte,
                Content::Noise(seed) => page = noise(*seed),
            }
            self.kept.before(pfn, &self.image);
            self.image.apply_page(PageEntry::new(pfn, page_type), page_type.has_data().then_some(&page));
        }
        self.epoch = self.epoch.next();
        let state = DomainState { libxc: self.epoch.0.to_le_bytes().to_vec(), libxl: vec![7] };
        self.image.apply_state(&state);
        self.snapshots.push((self.epoch, snapshot(&self.image)));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Commit(changes) => self.commit(changes),
            Step::Keep => self.kept.keep(self.epoch, self.epoch.0 * 10, &self.image),
            Step::Pin(which) => {
                let epoch = self.kept.list().map(|(epoch, _)| epoch).nth(which % 4);
                let pinned = self.kept.pin(epoch, self.epoch, self.epoch.0 * 10, &self.image);
                // It may need more than all the bytes there are.
                assert!(pinned.is_ok() || self.kept.epochs.is_empty(), "{pinned:?}");
            }
            Step::Unpin => self.kept.unpin(&self.image),
            Step::FullSync => {
                self.kept.clear();
                self.snapshots.clear();
                self.image = Image::new(FRAMES);
            }
        }
    }

    /// What a reader sees of a kept epoch.
    fn read(&self, epoch: Epoch) -> Snapshot {
        let (mut frames, mut from) = (Vec::new(), Some(Pfn(0)));
        let mut staging = Staging::new(STAGED);
        while let Some(pfn) = from {
            from = self.kept.read(epoch, pfn, FRAMES, &self.image, &mut staging).unwrap();
            assert!(from.is_none_or(|next| next.0 % STAGED as u64 == 0 && next > pfn));
            frames
                .extend(staging.iter().map(|(entry, page)| (entry.pfn(), entry.page_type(), page.copied())));
        }
        (frames, self.kept.state(epoch).unwrap().clone())
    }

    fn check(&self, limits: KeepLimits) {
        let bytes: usize = self.kept.epochs.iter().map(Kept::bytes).sum();
        assert_eq!(self.kept.bytes(), bytes);
        assert!(bytes <= limits.bytes_max);
        let over = self.kept.list().count().saturating_sub(limits.epochs_max);
        let pinned = self.kept.pinned.and_then(|epoch| self.kept.position(epoch));
        assert!(over == 0 || pinned == Some(0), "{over} too many");
        let mut for_readers = self.kept.epochs.iter().filter(|kept| kept.for_reader);
        let is_wanted = |kept: &Kept| {
            Some(kept.epoch) == self.kept.pinned || kept.epoch == self.kept.epochs.back().unwrap().epoch
        };
        assert!(for_readers.all(is_wanted), "what nobody reads any more is forgotten");
        for (epoch, at) in self.kept.epochs.iter().map(|kept| (kept.epoch, kept.at_unix_ns)) {
            assert_eq!(at, epoch.0 * 10);
            // An epoch without a commit, after a full sync, has the empty image.
            let Some((_, snapshot)) = self.snapshots.iter().find(|(of, _)| *of == epoch) else { continue };
            assert!(self.read(epoch) == *snapshot, "epoch {epoch}");
        }
    }
}

proptest! {
    #[test]
    fn each_kept_epoch_reads_back_as_it_was(
        steps in proptest::collection::vec(step(), 1..40),
        epochs_max in 0usize..5,
        bytes_max in prop_oneof![Just(usize::MAX), 0usize..100_000],
    ) {
        let limits = KeepLimits { epochs_max, bytes_max };
        let mut past = Past::new(limits);
        for step in &steps {
            past.step(step);
            past.check(limits);
        }
    }
}

#[test]
fn a_frame_that_hardly_changes_costs_little_and_a_pinned_epoch_outlives_the_number() {
    let mut past = Past::new(KeepLimits { epochs_max: 2, bytes_max: 1 << 20 });
    past.commit(&[(3, Content::Noise(5))]);
    past.kept.keep(past.epoch, 1, &past.image);
    let first = past.epoch;
    past.kept.pin(Some(first), past.epoch, 1, &past.image).unwrap();
    for round in 0..5 {
        past.commit(&[(3, Content::Byte(round, 1))]);
        past.kept.keep(past.epoch, 1, &past.image);
    }
    assert_eq!(
        past.kept.list().count(),
        6,
        "nothing before a pinned epoch is left, and nothing after it goes"
    );
    assert!(past.kept.bytes() < 1000, "{}", past.kept.bytes());
    assert_eq!(past.read(first), past.snapshots[0].1);
    past.kept.unpin(&past.image);
    assert_eq!(past.kept.list().count(), 2);
    assert_eq!(past.kept.pin(Some(first), past.epoch, 1, &past.image), Err(NotKept::Other(first)));
}

#[test]
fn reading_what_is_committed_shortens_no_history() {
    let mut past = Past::new(KeepLimits { epochs_max: 3, bytes_max: 1 << 20 });
    for round in 0..3 {
        past.commit(&[(round, Content::Noise(round + 1)), (9, Content::Byte(round as usize, 1))]);
        past.kept.keep(past.epoch, 1, &past.image);
    }
    let history: Vec<_> = past.kept.list().collect();
    for round in 0..10 {
        past.commit(&[(round, Content::Noise(round + 50)), (9, Content::Byte(round as usize, 2))]);
        let read = past.kept.pin(None, past.epoch, 1, &past.image).unwrap();
        past.commit(&[(9, Content::Byte(round as usize, 3)), (10 + round, Content::Noise(round + 90))]);
        assert_eq!(past.read(read), past.snapshots[past.snapshots.len() - 2].1);
        past.kept.unpin(&past.image);
        assert_eq!(past.kept.list().collect::<Vec<_>>(), history);
    }
    for (round, (epoch, _)) in history.into_iter().enumerate() {
        assert_eq!(past.read(epoch), past.snapshots[round].1);
    }
    assert!(past.kept.epochs.len() <= 4, "of those that were read the newest is left at most");
    // What was read becomes a part of the history where one is due.
    past.kept.pin(None, past.epoch, 1, &past.image).unwrap();
    past.kept.unpin(&past.image);
    past.kept.keep(past.epoch, 2, &past.image);
    assert_eq!(past.kept.list().last(), Some((past.epoch, 2)));
}

#[test]
fn an_epoch_that_outgrows_its_room_while_it_is_read_is_told_as_such() {
    let mut past = Past::new(KeepLimits { epochs_max: 0, bytes_max: 3 * PAGE_SIZE });
    past.commit(&(0..8).map(|pfn| (pfn, Content::Noise(pfn + 1))).collect::<Vec<_>>());
    let epoch = past.kept.pin(None, past.epoch, 1, &past.image).unwrap();
    assert_eq!(past.read(epoch), past.snapshots[0].1);
    past.commit(&(0..8).map(|pfn| (pfn, Content::Noise(pfn + 100))).collect::<Vec<_>>());
    let mut staging = Staging::new(STAGED);
    let read = past.kept.read(epoch, Pfn(0), FRAMES, &past.image, &mut staging);
    assert_eq!(read, Err(NotKept::Outgrown(epoch)));
    assert_eq!(past.kept.bytes(), 0);
}

#[test]
fn without_memory_nothing_is_kept_and_nothing_is_wrong() {
    for requests in 0..12 {
        let mut past = Past::new(KeepLimits { epochs_max: 3, bytes_max: usize::MAX });
        past.commit(&[(1, Content::Noise(5)), (2, Content::Noise(6))]);
        past.kept.keep(past.epoch, past.epoch.0 * 10, &past.image);
        let first = past.epoch;
        let image = &past.image;
        room::scarce::with(requests, || {
            past.kept.before(Pfn(1), image);
            past.kept.keep(first.next(), (first.0 + 1) * 10, image);
        });
        // The image did not change, so what is left of the past is the image.
        for (epoch, _) in past.kept.list().collect::<Vec<_>>() {
            assert_eq!(past.read(epoch).0, past.snapshots[0].1.0, "{requests} requests were granted");
        }
    }
}
