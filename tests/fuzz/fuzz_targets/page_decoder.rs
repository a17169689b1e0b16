//! Arbitrary bytes as the batches of an epoch: no panic, no memory beyond the bound, and an image that nothing
//! but a complete epoch changes.
//!
//! The input is a list of pieces, each a length in two bytes and that many bytes: a batch for an open epoch, of pages, of
//! checks or of a state digest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{LazyLock, Mutex};
use understudy_checkpoint::epoch::{Image, Limits, Receiver, Staging};
use understudy_checkpoint::pages::{Batches, Encoder, EncoderConfig, EpochSummary};
use understudy_checkpoint::{Epoch, EpochKind, PAGE_SIZE, Page, PageEntry, PageType, Pfn};

const FRAMES: u64 = 64;
const BUFFER_BYTES_MAX: usize = 32 * PAGE_SIZE;

/// One receiver for all runs: each run must leave it as it found it.
static RECEIVER: LazyLock<Mutex<Receiver<Image>>> = LazyLock::new(|| Mutex::new(seeded()));

/// What frame `pfn` holds before the fuzzed epoch; some frames hold nothing.
fn content(pfn: u64) -> Option<Page> {
    (pfn % 5 != 0).then_some([pfn as u8; PAGE_SIZE])
}

fn seeded() -> Receiver<Image> {
    let mut staging = Staging::new(FRAMES as usize);
    for pfn in 0..FRAMES {
        match content(pfn) {
            Some(page) => staging.extend([PageEntry::new(Pfn(pfn), PageType::Normal)])[0] = page,
            None => assert!(staging.extend([PageEntry::new(Pfn(pfn), PageType::Absent)]).is_empty()),
        }
    }
    let mut encoder = Encoder::new(EncoderConfig { shadow_bytes_max: 0 });
    let mut batches = Batches::new();
    encoder.begin_epoch(Epoch(0), EpochKind::Seed);
    encoder.encode(&staging, &mut batches);
    let limits = Limits { buffer_bytes_max: BUFFER_BYTES_MAX, page_count: FRAMES };
    let mut receiver = Receiver::new(Image::new(FRAMES), limits);
    receiver.begin(Epoch(0), EpochKind::Seed, None).expect("a first seed");
    batches.iter().for_each(|batch| receiver.pages(batch).expect("a seed just encoded"));
    receiver.finish(encoder.end_epoch()).expect("a whole seed");
    receiver
}

fn pieces(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (piece, rest) = rest.split_at(length);
        input = rest;
        Some(piece)
    })
}

fuzz_target!(|input: &[u8]| {
    let mut receiver = RECEIVER.lock().expect("a panic ends the fuzzer");
    receiver.begin(Epoch(1), EpochKind::Delta, Some(Epoch(0))).expect("the next epoch");
    for batch in pieces(input) {
        if receiver.pages(batch).is_err() {
            break;
        }
        assert!(receiver.buffered_bytes() <= BUFFER_BYTES_MAX);
    }
    let _ = receiver.finish(EpochSummary { entries: 0, data_pages: 0, digest: 0 });
    receiver.drop_incomplete();
    receiver.commit(Epoch(u64::MAX));
    assert_eq!(receiver.committed(), Some(Epoch(0)), "no summary of zeros is right");
    for pfn in 0..FRAMES {
        assert!(receiver.sink().page(Pfn(pfn)) == content(pfn).as_ref(), "frame {pfn} changed");
    }
});
