//! The pause for a given number of dirty pages, by its parts, beside a plain memcpy of as many bytes by as many
//! threads.

use super::testbed::{Testbeds, Wanted, every};
use std::hint::black_box;
use std::time::{Duration, Instant};
use understudy::drill::DrillError;

const PAGES: [u64; 4] = [256, 1024, 8192, 32_768];
const INTERVAL: Duration = Duration::from_millis(100);
const SPAN: Duration = Duration::from_secs(5);
/// The aim: this much more than memcpy …
const FACTOR_MAX: f64 = 1.3;
/// … plus this, for everything that does not depend on the number of pages.
const FIXED_US_MAX: f64 = 150.0;
const MEMCPY_REPEATS: usize = 15;
const PAGE_BYTES: usize = 4096;

/// Measures and prints.
pub(crate) fn run(testbeds: &mut Testbeds) -> Result<(), DrillError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "\nThe pause, medians in µs; memcpy with {threads} threads; aim: {FACTOR_MAX} × memcpy + {FIXED_US_MAX} µs"
    );
    println!(
        "  pages/epoch    pause │ suspend  drain   copy  state   cut resume │  memcpy     aim  pause:aim"
    );
    for pages in PAGES {
        let rate = pages * 1000 / INTERVAL.as_millis() as u64;
        let wanted = Wanted {
            load: format!("rate={rate},set=256M,skew=0,content=words"),
            pacing: every(INTERVAL),
            memory_bytes: 512 << 20,
            // Room for the largest pause, so that none is cut short.
            node_flags: ["--staging", "192M", "--epoch-buffer", "256M"].map(str::to_owned).into(),
            ..Wanted::default()
        };
        let mut testbed = testbeds.testbed(&wanted)?;
        let stretch = testbed.measure("measuring pauses", SPAN)?;
        let (pause_us, parts) = (stretch.after.pause_us.p50 as f64, stretch.after.pause_parts_us);
        drop(testbed);
        let memcpy_us = memcpy_us(stretch.pages_per_epoch() as usize * PAGE_BYTES, threads);
        let aim_us = FACTOR_MAX * memcpy_us + FIXED_US_MAX;
        println!(
            "  {:11.0} {pause_us:8.0} │ {:7} {:6} {:6} {:6} {:5} {:6} │ {memcpy_us:7.0} {aim_us:7.0} {:10.2}",
            stretch.pages_per_epoch(),
            parts.suspend,
            parts.drain,
            parts.copy,
            parts.state,
            parts.cut,
            parts.resume,
            pause_us / aim_us,
        );
    }
    Ok(())
}

/// Median time of copying `bytes` from cold to warm memory with `threads` threads, theirs included.
fn memcpy_us(bytes: usize, threads: usize) -> f64 {
    let source = vec![1u8; bytes.max(PAGE_BYTES)];
    let mut target = vec![0u8; source.len()];
    let share = source.len().div_ceil(threads);
    let mut times: Vec<Duration> = (0..MEMCPY_REPEATS)
        .map(|_| {
            let began = Instant::now();
            std::thread::scope(|scope| {
                for (to, from) in target.chunks_mut(share).zip(source.chunks(share)) {
                    scope.spawn(move || black_box(to).copy_from_slice(black_box(from)));
                }
            });
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[MEMCPY_REPEATS / 2].as_secs_f64() * 1e6
}
