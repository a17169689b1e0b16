//! What the scrub costs a guest of 4 GiB in each epoch, beside the decoding of an epoch of 1,000 dirty pages, which is
//! the secondary's part of a commit that grows with the guest's work.
//!
//! Aim: a round of 120 s at 40 epochs a second, nothing in the pause, 1 % of a commit. Here: the primary's copying and
//! hashing after the resume, the secondary's comparing before the ack, bytes on the link.

mod support;

use std::hint::black_box;
use support::{Cold, fill_noise, measure};
use understudy_checkpoint::epoch::{Image, Limits, Receiver, Staging};
use understudy_checkpoint::pages::{
    Batches, Check, ContentHash, DirtyBitmap, Encoder, EncoderConfig, EpochSummary, put_checks,
};
use understudy_checkpoint::{Epoch, EpochKind, PageEntry, PageType, Pfn};

/// 256 MiB stand for the guest; what is looked at in an epoch is that of one of 4 GiB.
const PAGES: u64 = 1 << 16;
const GUEST_PAGES: u64 = 1 << 20;
const ROUND_EPOCHS: u64 = 4800;
const DIRTY_PAGES: u64 = 1000;

fn stage(staging: &mut Staging, pfns: impl Iterator<Item = u64>, salt: u64) {
    staging.clear();
    for pfn in pfns {
        let room = staging.extend([PageEntry::new(Pfn(pfn), PageType::Normal)]);
        fill_noise(&mut room[0], pfn);
        fill_noise(&mut room[0][..64], salt << 32 | pfn);
    }
}

fn receiver(encoder: &mut Encoder, staging: &mut Staging) -> Receiver<Image> {
    let limits = Limits { buffer_bytes_max: 64 << 20, page_count: PAGES };
    let mut receiver = Receiver::new(Image::new(PAGES), limits);
    receiver.begin(Epoch(0), EpochKind::Seed, None).expect("a first seed");
    encoder.begin_epoch(Epoch(0), EpochKind::Seed);
    let mut batches = Batches::new();
    for first in (0..PAGES).step_by(1024) {
        stage(staging, first..first + 1024, 0);
        batches.clear();
        encoder.encode(staging, &mut batches);
        batches.iter().for_each(|batch| receiver.pages(batch).expect("a batch just encoded"));
    }
    receiver.finish(encoder.end_epoch()).expect("a whole seed");
    receiver
}

fn look(image: &Image, first: u64, staging: &mut Staging, checks: &mut Vec<Check>) {
    let frames = GUEST_PAGES.div_ceil(ROUND_EPOCHS);
    let mut wanted = DirtyBitmap::new(PAGES);
    (first..first + frames).for_each(|pfn| wanted.set(Pfn(pfn)));
    staging.clear();
    image.copy_pages(&wanted, Pfn(first), staging, 1);
    checks.clear();
    let pages = staging.entries().iter().zip(staging.pages());
    checks
        .extend(pages.map(|(entry, page)| Check { pfn: entry.pfn(), content: ContentHash::of(Some(page)) }));
}

fn main() {
    let cold = Cold::new();
    let mut encoder = Encoder::new(EncoderConfig { shadow_bytes_max: 512 << 20 });
    let mut staging = Staging::new(1024);
    let receiver = receiver(&mut encoder, &mut staging);
    stage(&mut staging, (0..DIRTY_PAGES).map(|page| page * 61), 1);
    let (mut epoch, mut batches, mut checks) = (Batches::new(), Batches::new(), Vec::new());
    encoder.begin_epoch(Epoch(1), EpochKind::Delta);
    encoder.encode(&staging, &mut epoch);
    let _: EpochSummary = encoder.end_epoch();

    let frames = GUEST_PAGES.div_ceil(ROUND_EPOCHS);
    look(receiver.sink(), 0, &mut staging, &mut checks);
    put_checks(&checks, &mut batches);
    let decode = |receiver: &mut Receiver<Image>, batches: &Batches| {
        receiver.begin(Epoch(1), EpochKind::Delta, Some(Epoch(0))).expect("the next epoch");
        batches.iter().for_each(|batch| receiver.pages(batch).expect("a batch just encoded"));
        receiver.drop_incomplete();
    };
    let looked =
        measure(|| cold.chill(), || look(black_box(receiver.sink()), 7000, &mut staging, &mut checks), || ());
    let receiver = std::cell::RefCell::new(receiver);
    let compared = measure(
        || cold.chill(),
        || decode(&mut receiver.borrow_mut(), &batches),
        || decode(&mut receiver.borrow_mut(), &epoch),
    );
    let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    println!(
        "scrub of 4 GiB: {frames} frames an epoch, a round in {} s at 40 epochs a second",
        ROUND_EPOCHS / 40
    );
    println!("in the pause: nothing; after the resume {:.0} µs", micros(looked.ours));
    println!(
        "compare before the ack {:.0} µs, decode {DIRTY_PAGES} dirty pages {:.0} µs, ratio {:.3}; of a commit of 25 ms {:.2} %",
        micros(compared.ours),
        micros(compared.peer),
        compared.ours.as_secs_f64() / compared.peer.as_secs_f64(),
        micros(compared.ours) / 25_000.0 * 100.0,
    );
    println!(
        "on the link {} bytes beside {}, ratio {:.5}",
        batches.byte_count(),
        epoch.byte_count(),
        batches.byte_count() as f64 / epoch.byte_count() as f64
    );
}
