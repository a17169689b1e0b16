//! Sustained checkpoints per second at a given number of dirty pages per epoch.

use super::testbed::{Testbeds, Wanted, every};
use std::time::Duration;
use understudy::drill::DrillError;

const SPAN: Duration = Duration::from_secs(6);

/// A point to measure: pages per epoch, the interval, and the aims.
struct Point {
    pages: u64,
    interval: Duration,
    epochs_per_second_min: f64,
    commit_ms_p99_max: f64,
}

const POINTS: [Point; 2] = [
    Point {
        pages: 100,
        interval: Duration::from_micros(500),
        epochs_per_second_min: 1000.0,
        commit_ms_p99_max: 5.0,
    },
    Point {
        pages: 1000,
        interval: Duration::from_millis(5),
        epochs_per_second_min: 100.0,
        commit_ms_p99_max: 20.0,
    },
];

/// Measures and prints.
pub(crate) fn run(testbeds: &mut Testbeds) -> Result<(), DrillError> {
    println!("\nSustained checkpoints, 256 MiB guest, some words changed in each page");
    println!(
        "  pages/epoch  checkpoints/s   aim │ commit ms p50    p99   aim │ pause µs p50    p99 │ raw:sent"
    );
    for point in POINTS {
        // A sweep over a set of just so many pages, twice in each interval: all of them are dirty, never more.
        let rate = (2.0 * point.pages as f64 / point.interval.as_secs_f64()) as u64;
        let wanted = Wanted {
            load: format!("rate={rate},set={}K,skew=0,content=words", 4 * point.pages),
            pacing: every(point.interval),
            ..Wanted::default()
        };
        let mut testbed = testbeds.testbed(&wanted)?;
        let stretch = testbed.measure("measuring checkpoints per second", SPAN)?;
        let after = &stretch.after;
        println!(
            "  {:11.0}  {:13.0} {:5.0} │ {:13.2} {:6.2} {:5.0} │ {:12} {:6} │ {:8.1}",
            stretch.pages_per_epoch(),
            stretch.epochs_per_second(),
            point.epochs_per_second_min,
            after.commit_us.p50 as f64 / 1e3,
            after.commit_us.p99 as f64 / 1e3,
            point.commit_ms_p99_max,
            after.pause_us.p50,
            after.pause_us.p99,
            stretch.ratio(),
        );
    }
    Ok(())
}
