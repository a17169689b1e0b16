//! One round: three stacks, a service in both guests, clients, and the primary's end at a random moment.

use crate::client::{Tally, Wrong};
use crate::counters::Counters;
use crate::hub::Seen;
use crate::knobs::Knobs;
use crate::stage::Stage;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use understudy_tests::drivers::rng::Rng;

/// The primary's end comes after at most this long.
const KILL_MAX_US: u64 = 400_000;
/// Clients go on for at most so long before they are told to end.
const GO_ON_MAX_US: u64 = 20_000;

/// What a round has shown.
pub(crate) struct Report {
    pub(crate) tally: Tally,
    pub(crate) seen: Seen,
    /// What should not be.
    pub(crate) wrong: Vec<String>,
    /// Counters of the kernel that are worth telling.
    pub(crate) told: Vec<(&'static str, u64)>,
}

/// Plays a round in `directory`, which is its own.
pub(crate) fn play(knobs: &Knobs, directory: &Path) -> Result<Report, String> {
    let mut rng = Rng::new(knobs.seed ^ 0xC11E);
    let stage = Stage::new(knobs)?;
    let [primary, _copy] = stage.start(knobs.guest, directory)?;
    let is_ending = Arc::new(AtomicBool::new(false));
    let visitors = knobs.guest.visitors(knobs.family, &mut rng, &is_ending);
    let clients: Vec<_> =
        visitors.into_iter().map(|(name, visit)| (name, stage.world.client.spawn(visit))).collect();
    std::thread::sleep(Duration::from_micros(rng.below(KILL_MAX_US)));
    if knobs.is_killed {
        stage.kill_primary();
        drop(primary);
    }
    std::thread::sleep(Duration::from_micros(rng.below(GO_ON_MAX_US)));
    is_ending.store(true, Ordering::Release);
    let done = clients.into_iter().map(|(name, client)| (name, client.join())).collect();
    let (seen, counters) = stage.finish()?;
    judge(knobs, done, seen, &counters)
}

type Done = Vec<(String, std::thread::Result<Result<Tally, Wrong>>)>;

fn judge(knobs: &Knobs, done: Done, seen: Seen, counters: &[Counters; 3]) -> Result<Report, String> {
    let mut report = Report { tally: Tally::default(), seen, wrong: Vec::new(), told: Vec::new() };
    let has_differed = !report.seen.diverged.is_empty();
    for (name, done) in done {
        match done.map_err(|_| format!("{name} panicked"))? {
            Ok(tally) => report.tally.add(tally),
            // Without a checkpoint, a copy that differs is no copy.
            Err(_) if has_differed && knobs.guest.may_differ() => {}
            Err(wrong) => report.wrong.push(format!("{name}: {wrong}")),
        }
    }
    if !knobs.guest.may_differ() {
        let told =
            report.seen.diverged.iter().map(|(why, count)| format!("{count} times not the same: {why}"));
        report.wrong.extend(told);
    }
    for (whose, counters) in ["client", "primary", "copy"].into_iter().zip(counters) {
        let wrong = counters.wrong(knobs.is_calm());
        report.wrong.extend(wrong.map(|(name, count)| format!("{whose}'s kernel: {name} {count}")));
        report.told.extend(counters.told());
    }
    if report.seen.neighbours == 0 {
        report.wrong.push("nobody was told the guest's MAC address".into());
    }
    if report.seen.refused > 0 {
        report.wrong.push(format!("kernels refused {} frames", report.seen.refused));
    }
    Ok(report)
}
