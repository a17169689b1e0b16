//! Reading and verifying a stream, beside copying the same bytes.
//!
//! `UNDERSTUDY_STREAM=FILE cargo bench --bench stream` takes a recorded stream (not compressed). Without it, a
//! made one: a PVH guest of 64 MiB, plain.
//!
//! * `memcpy` the stream copied in pieces of 64 KiB: the least that reading from anywhere costs
//! * `parse in place` every item, its body interpreted, pages borrowed from memory
//! * `read and parse` the same through a buffer, as from a file
//! * `verify` all rules, through a buffer

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use understudy_checkpoint::domain::{Description, DomainState, GuestKind, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::stream::{Item, Items, Reader, Step, libxc, verify, write_restore_file};
use understudy_checkpoint::{PAGE_SIZE, PageEntry, PageType, Pfn};

const MADE_PAGES: u64 = 16_384;

fn made() -> Vec<u8> {
    let mut image = Image::new(MADE_PAGES);
    for pfn in 0..MADE_PAGES {
        image.apply_page(PageEntry::new(Pfn(pfn), PageType::Normal), Some(&[pfn as u8; PAGE_SIZE]));
    }
    image.apply_state(&DomainState::default());
    let what = Description {
        kind: GuestKind::Pvh,
        page_count: MADE_PAGES,
        libxc_version: 2,
        xen_version: (4, 17),
        config: Vec::new(),
        static_records: Vec::new(),
        disks_bytes: Vec::new(),
    };
    let mut file = Vec::new();
    write_restore_file(&mut file, &what, &image).expect("a vector takes everything");
    file
}

fn stream() -> Vec<u8> {
    match std::env::var_os("UNDERSTUDY_STREAM") {
        Some(path) => std::fs::read(path).expect("UNDERSTUDY_STREAM names a readable file"),
        None => made(),
    }
}

/// Looks at an item as a receiver would; returns its pages.
fn interpret(item: &Item<'_>) -> usize {
    match item.libxc() {
        Some(Ok(libxc::Record::PageData(data))) => {
            data.iter().filter(|(_, page)| page.is_some_and(|page| black_box(page)[0] != 1)).count()
        }
        _ => 0,
    }
}

fn parse_in_place(stream: &[u8]) -> usize {
    let mut reader = Reader::new();
    let (mut rest, mut pages) = (stream, 0);
    while let Step::Item(item) = reader.next(rest).expect("the stream is sound") {
        pages += interpret(&item);
        rest = &rest[item.bytes.len()..];
    }
    pages
}

fn read_and_parse(stream: &[u8]) -> usize {
    let mut items = Items::new(stream, Reader::new());
    let mut pages = 0;
    while let Some(item) = items.next_item().expect("the stream is sound") {
        pages += interpret(&item);
    }
    pages
}

fn copy(stream: &[u8], into: &mut [u8]) {
    for piece in stream.chunks(into.len()) {
        into[..piece.len()].copy_from_slice(piece);
        black_box(&into);
    }
}

fn benches(criterion: &mut Criterion) {
    let stream = stream();
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(2));
    let mut buffer = vec![0; 64 << 10];
    group.bench_function("memcpy", |bench| bench.iter(|| copy(&stream, &mut buffer)));
    group.bench_function("parse in place", |bench| bench.iter(|| parse_in_place(&stream)));
    group.bench_function("read and parse", |bench| bench.iter(|| read_and_parse(&stream)));
    group.bench_function("verify", |bench| bench.iter(|| verify(&stream[..]).expect("a slice can be read")));
    group.finish();
}

criterion_group!(stream_benches, benches);
criterion_main!(stream_benches);
