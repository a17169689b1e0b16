//! The secondary's work on one core: decoding an epoch into its buffer, and committing it into the image,
//! beside a memcpy of the same pages.

mod support;

use std::hint::black_box;
use support::{Cold, fill_noise, measure, print_speeds};
use understudy_checkpoint::domain::Sink;
use understudy_checkpoint::epoch::{Image, Limits, Receiver, Staging};
use understudy_checkpoint::pages::{Batches, Encoder, EncoderConfig, EpochSummary};
use understudy_checkpoint::{Epoch, EpochKind, PAGE_SIZE, Page, PageEntry, PageType, Pfn};

const PAGES: usize = 16_384;
const BYTES: usize = PAGES * PAGE_SIZE;

/// Epoch 0 as a seed and epochs of one change each, encoded beforehand.
struct Epochs {
    encoder: Encoder,
    pages: Vec<Page>,
    staging: Staging,
    batches: Batches,
}

impl Epochs {
    fn new() -> Self {
        let mut pages = vec![[0; PAGE_SIZE]; PAGES];
        pages.iter_mut().enumerate().for_each(|(index, page)| fill_noise(page, index as u64));
        let encoder = Encoder::new(EncoderConfig { shadow_bytes_max: 2 * BYTES });
        Self { encoder, pages, staging: Staging::new(PAGES), batches: Batches::new() }
    }

    fn encode(&mut self, epoch: Epoch, kind: EpochKind) -> EpochSummary {
        self.staging.clear();
        let entries = (0..PAGES as u64).map(|pfn| PageEntry::new(Pfn(pfn), PageType::Normal));
        self.staging.extend(entries).copy_from_slice(&self.pages);
        self.batches.clear();
        self.encoder.begin_epoch(epoch, kind);
        self.encoder.encode(&self.staging, &mut self.batches);
        self.encoder.end_epoch()
    }

    fn change(&mut self, epoch: Epoch) {
        for (index, page) in self.pages.iter_mut().enumerate() {
            let at = index * 29 % (PAGE_SIZE - 24);
            fill_noise(&mut page[at..at + 24], epoch.0 << 32 | index as u64);
        }
    }
}

fn receive(receiver: &mut Receiver<Image>, batches: &Batches) {
    for batch in batches.iter() {
        receiver.pages(batch).expect("a batch just encoded");
    }
}

/// A guest's first copy into an image that holds nothing: memory is taken as pages come.
fn first_copy(cold: &Cold, name: &str, pfns: &[u64]) {
    let bytes = pfns.len() * PAGE_SIZE;
    let from = vec![[7; PAGE_SIZE]; pfns.len()];
    let pair = measure(
        || cold.chill(),
        || {
            let mut image = Image::new(pfns[pfns.len() - 1] + 1);
            for (pfn, page) in pfns.iter().zip(&from) {
                image.apply_page(PageEntry::new(Pfn(*pfn), PageType::Normal), Some(page));
            }
            black_box(&image);
        },
        || {
            let mut to = Vec::with_capacity(pfns.len());
            to.extend_from_slice(black_box(&from));
            black_box(&to);
        },
    );
    print_speeds(name, "memcpy to new memory", bytes, &pair);
}

fn main() {
    let (cold, mut epochs) = (Cold::new(), Epochs::new());
    first_copy(&cold, "first copy, all frames", &(0..PAGES as u64).collect::<Vec<_>>());
    let scattered: Vec<u64> = (0..PAGES as u64).map(|page| page * 64).collect();
    first_copy(&cold, "first copy, 8 frames of each 2 MiB", &scattered);
    let limits = Limits { buffer_bytes_max: 2 * BYTES, page_count: PAGES as u64 };
    let mut receiver = Receiver::new(Image::new(PAGES as u64), limits);
    let seed = epochs.encode(Epoch(0), EpochKind::Seed);
    receiver.begin(Epoch(0), EpochKind::Seed, None).expect("a first seed");
    receive(&mut receiver, &epochs.batches);
    receiver.finish(seed).expect("a whole seed");

    epochs.change(Epoch(1));
    let summary = epochs.encode(Epoch(1), EpochKind::Delta);
    let (from, mut to) = (epochs.pages.clone(), epochs.pages.clone());
    let pair = measure(
        || cold.chill(),
        || {
            receiver.begin(Epoch(1), EpochKind::Delta, Some(Epoch(0))).expect("the next epoch");
            receive(&mut receiver, &epochs.batches);
            receiver.drop_incomplete();
        },
        || to.copy_from_slice(black_box(&from)),
    );
    print_speeds("decode and verify, 24 bytes changed in each", "memcpy", BYTES, &pair);

    // One commit can be measured only once; epochs that set the same pages serve as well.
    let mut times = Vec::new();
    let mut base = Epoch(0);
    for _ in 0..9 {
        let epoch = base.next();
        let summary = match base {
            Epoch(0) => summary,
            _ => {
                epochs.change(epoch);
                epochs.encode(epoch, EpochKind::Delta)
            }
        };
        receiver.begin(epoch, EpochKind::Delta, Some(base)).expect("the next epoch");
        receive(&mut receiver, &epochs.batches);
        receiver.finish(summary).expect("a whole epoch");
        cold.chill();
        let start = std::time::Instant::now();
        receiver.commit(epoch);
        times.push(start.elapsed());
        base = epoch;
    }
    print_speeds(
        "commit into the image",
        "memcpy",
        BYTES,
        &support::Pair { ours: support::median(times), peer: pair.peer },
    );
}
