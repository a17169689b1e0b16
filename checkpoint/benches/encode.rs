//! What encoding a page costs on one core, each kind beside the bound it lives under: reading memory (memcmp),
//! moving it (memcpy), or C's LZ4.
//!
//! Pages of the pairs are cold and 64 MiB in all, as after a pause.

mod support;

use criterion::{Criterion, Throughput};
use std::hint::black_box;
use std::time::Duration;
use support::{Cold, Pair, fill_noise, measure, print_speeds};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::{Batches, Encoder, EncoderConfig, is_zero};
use understudy_checkpoint::{Epoch, EpochKind, PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use xxhash_rust::xxh3::xxh3_64;

const PAGES: usize = 16_384;
const BYTES: usize = PAGES * PAGE_SIZE;

/// Pages as a guest might have them: the code of this very program, over and over, each told apart by a number.
fn program_pages(count: usize) -> Vec<Page> {
    let path = std::env::current_exe().expect("this program has a path");
    let program = std::fs::read(path).expect("this program can be read");
    let (pages, _) = program.as_chunks::<PAGE_SIZE>();
    let numbered = |(number, page): (usize, &Page)| {
        let mut page = *page;
        page[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
        page
    };
    pages.iter().cycle().take(count).enumerate().map(numbered).collect()
}

fn staged(pages: &[Page]) -> Staging {
    let mut staging = Staging::new(pages.len());
    let entries = (0..pages.len() as u64).map(|pfn| PageEntry::new(Pfn(pfn), PageType::Normal));
    staging.extend(entries).copy_from_slice(pages);
    staging
}

/// Twenty bytes at three places of a page, others in every epoch.
fn scribble(pages: &mut [Page], epoch: u64) {
    for (index, page) in pages.iter_mut().enumerate() {
        for (place, length) in [(256, 8), (1400, 8), (3000, 4)] {
            let at = place + index * 13 % 900;
            fill_noise(&mut page[at..at + length], epoch << 32 | index as u64);
        }
    }
}

/// An encoder whose shadow holds `pages`.
fn knowing(pages: &[Page]) -> Encoder {
    let mut encoder = Encoder::new(EncoderConfig { shadow_bytes_max: 2 * BYTES });
    encoder.begin_epoch(Epoch(0), EpochKind::Seed);
    encoder.encode(&staged(pages), &mut Batches::new());
    encoder
}

fn epoch(encoder: &mut Encoder, number: u64, staging: &Staging, batches: &mut Batches) {
    batches.clear();
    encoder.begin_epoch(Epoch(number), EpochKind::Delta);
    black_box(encoder.encode(staging, batches));
    black_box(encoder.end_epoch());
}

fn zero_pages(cold: &Cold) {
    let zeros = vec![[0; PAGE_SIZE]; PAGES];
    let pair = measure(
        || cold.chill(),
        || assert!(black_box(&zeros).iter().all(is_zero)),
        || assert!(black_box(&zeros).iter().all(|page| *page == [0; PAGE_SIZE])),
    );
    print_speeds("zero test, pages of zeros", "memcmp with a zero page", BYTES, &pair);
}

fn known_pages(cold: &Cold, pages: &[Page]) {
    let (mut encoder, mut batches) = (knowing(pages), Batches::new());
    let (staging, twin) = (staged(pages), pages.to_vec());
    let compare = || assert!(black_box(staging.pages()) == black_box(twin.as_slice()));
    let pair =
        measure(|| cold.chill(), || epoch(&mut encoder, 1, black_box(&staging), &mut batches), compare);
    print_speeds("encode, unchanged pages", "memcmp", BYTES, &pair);

    let mut versions = [pages.to_vec(), pages.to_vec()];
    versions.iter_mut().enumerate().for_each(|(number, pages)| scribble(pages, number as u64 + 1));
    let versions = versions.map(|pages| staged(&pages));
    let mut number = 1;
    let mut delta = || {
        number += 1;
        epoch(&mut encoder, number, &versions[number as usize % 2], &mut batches);
    };
    let pair = measure(|| cold.chill(), &mut delta, compare);
    print_speeds("encode, 20 bytes changed in each page", "memcmp", BYTES, &pair);
    let mut target = pages.to_vec();
    let pair = measure(|| cold.chill(), &mut delta, || target.copy_from_slice(black_box(pages)));
    print_speeds("encode, 20 bytes changed in each page", "memcpy", BYTES, &pair);
}

fn hash(cold: &Cold, pages: &[Page]) {
    let mut target = pages.to_vec();
    let pair = measure(
        || cold.chill(),
        || {
            black_box(pages.iter().fold(0, |all, page| all ^ xxh3_64(page)));
        },
        || target.copy_from_slice(black_box(pages)),
    );
    print_speeds("digest (XXH3), page by page", "memcpy", BYTES, &pair);
}

fn lz4(text: &[Page], block_bytes: usize) {
    let text = text.as_flattened();
    let mut out = vec![0; lz4_flex::block::get_maximum_output_size(block_bytes)];
    let mut peer_out = vec![0; lz4::block::compress_bound(block_bytes).expect("a valid size")];
    let mut table = lz4_flex::block::CompressTable::large();
    let (mut packed, mut peer_packed) = (0, 0);
    let pair: Pair = measure(
        || {},
        || {
            let compress =
                |block| lz4_flex::block::compress_into_with_table(block, &mut out, &mut table).expect("room");
            packed = text.chunks(block_bytes).map(compress).sum();
        },
        || {
            let mut compress =
                |block| lz4::block::compress_to_buffer(block, None, false, &mut peer_out).expect("room");
            peer_packed = text.chunks(block_bytes).map(&mut compress).sum();
        },
    );
    let name = format!("LZ4, {} KiB blocks ({:.2}:1)", block_bytes / 1024, text.len() as f64 / packed as f64);
    let peer = format!("C lz4 ({:.2}:1)", text.len() as f64 / peer_packed as f64);
    print_speeds(&name, &peer, text.len(), &pair);
}

/// The whole encoder, as absolute figures that criterion keeps and compares from run to run.
fn whole_encoder(pages: &[Page]) {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut group = criterion.benchmark_group("encode");
    let mut batches = Batches::new();
    for count in [100, 1000, 8192] {
        let mut versions = [pages[..count].to_vec(), pages[..count].to_vec()];
        versions.iter_mut().enumerate().for_each(|(number, pages)| scribble(pages, number as u64 + 1));
        let mut encoder = knowing(&versions[0]);
        let versions = versions.map(|pages| staged(&pages));
        let mut number = 0;
        group.throughput(Throughput::Bytes((count * PAGE_SIZE) as u64));
        group.bench_function(format!("{count} pages, 20 bytes changed in each"), |bencher| {
            bencher.iter(|| {
                number += 1;
                epoch(&mut encoder, number, &versions[number as usize % 2], &mut batches);
            });
        });
    }
    group.finish();
}

fn main() {
    let (cold, pages) = (Cold::new(), program_pages(PAGES));
    zero_pages(&cold);
    known_pages(&cold, &pages);
    hash(&cold, &pages);
    lz4(&pages[..2048], PAGE_SIZE);
    lz4(&pages[..2048], 128 * 1024);
    whole_encoder(&pages);
}
