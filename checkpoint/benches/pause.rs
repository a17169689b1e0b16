//! The part of a pause that this crate answers for: scanning the dirty bitmap and copying the dirty pages into
//! staging, beside a plain memcpy of as many adjacent bytes with the same threads.
//!
//! The pages lie scattered in 512 MiB of cold guest memory. Aim: at most 1.3 × memcpy, plus 150 µs.

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};
use support::{Cold, gigabytes_per_second, measure, median};
use understudy_checkpoint::domain::Sink;
use understudy_checkpoint::epoch::{Image, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{PAGE_SIZE, Page, PageEntry, PageType, Pfn};

const GUEST_PAGES: u64 = 131_072;
const DIRTY_PAGES: [u64; 4] = [256, 1024, 8192, 32_768];

fn guest() -> Image {
    let mut image = Image::new(GUEST_PAGES);
    for pfn in 0..GUEST_PAGES {
        image.apply_page(PageEntry::new(Pfn(pfn), PageType::Normal), Some(&[pfn as u8; PAGE_SIZE]));
    }
    image
}

/// One frame in each stretch of equal length, at a place that varies.
fn scattered(count: u64) -> DirtyBitmap {
    let mut dirty = DirtyBitmap::new(GUEST_PAGES);
    let stretch = GUEST_PAGES / count;
    (0..count).for_each(|index| dirty.set(Pfn(index * stretch + index * 7919 % stretch)));
    dirty
}

fn plain_copy(from: &[Page], to: &mut [Page], threads: usize) {
    let share = to.len().div_ceil(threads);
    let mut shares = to.chunks_mut(share).zip(from.chunks(share));
    let (own_to, own_from) = shares.next().expect("something to copy");
    crossbeam::thread::scope(|scope| {
        for (to, from) in shares {
            scope.spawn(move |_| to.copy_from_slice(from));
        }
        own_to.copy_from_slice(own_from);
    })
    .expect("a copier panicked");
    black_box(to);
}

fn scan_time(dirty: &DirtyBitmap, cold: &Cold) -> Duration {
    let one = || {
        cold.chill();
        let start = Instant::now();
        black_box(dirty.runs(Pfn(0)).map(|run| run.end).max());
        start.elapsed()
    };
    median((0..9).map(|_| one()).collect())
}

fn main() {
    let (image, cold) = (guest(), Cold::new());
    let adjacent = vec![[3; PAGE_SIZE]; DIRTY_PAGES[3] as usize];
    let mut target = vec![[1; PAGE_SIZE]; DIRTY_PAGES[3] as usize];
    let mut staging = Staging::new(DIRTY_PAGES[3] as usize);
    println!(
        "dirty pages  threads   scan us   scan+copy us    GB/s   memcpy us   ratio   beyond 1.3 x memcpy"
    );
    for count in DIRTY_PAGES {
        let dirty = scattered(count);
        let (from, to) = (&adjacent[..count as usize], &mut target[..count as usize]);
        for threads in [1, 2] {
            let pair = measure(
                || cold.chill(),
                || {
                    staging.clear();
                    assert_eq!(image.copy_pages(&dirty, Pfn(0), &mut staging, threads), None);
                },
                || plain_copy(from, to, threads),
            );
            let (ours, peer) = (pair.ours.as_secs_f64() * 1e6, pair.peer.as_secs_f64() * 1e6);
            println!(
                "{count:>11}  {threads:>7}   {:>7.1}   {ours:>12.0}   {:>5.1}   {peer:>9.0}   {:>5.2}   {:>8.0} us",
                scan_time(&dirty, &cold).as_secs_f64() * 1e6,
                gigabytes_per_second(count as usize * PAGE_SIZE, pair.ours),
                ours / peer,
                (ours - 1.3 * peer).max(0.0),
            );
        }
    }
}
