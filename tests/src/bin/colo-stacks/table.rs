//! What was seen, as a table.

use crate::client::Tally;
use crate::hub::Seen;
use crate::knobs::Knobs;
use crate::round::Report;
use std::collections::BTreeMap;
use std::time::Duration;

/// Rounds, added up.
#[derive(Default)]
pub(crate) struct Table {
    rounds: u64,
    failed: u64,
    tally: Tally,
    seen: Seen,
    stalls: Vec<Duration>,
    told: BTreeMap<&'static str, u64>,
}

impl Table {
    /// A round that failed is told at once.
    pub(crate) fn add(&mut self, knobs: &Knobs, report: Report) {
        self.rounds += 1;
        if !report.wrong.is_empty() {
            self.failed += 1;
            println!("{knobs}: {}", report.wrong.join("; "));
        }
        self.tally.add(report.tally);
        self.stalls.push(report.tally.stall_max);
        for (name, count) in report.told {
            *self.told.entry(name).or_default() += count;
        }
        let (all, Seen { diverged, .. }) = (&mut self.seen, &report.seen);
        all.input += report.seen.input;
        all.primary += report.seen.primary;
        all.copy += report.seen.copy;
        all.released += report.seen.released;
        all.neighbours += report.seen.neighbours;
        all.lost_on_mirror += report.seen.lost_on_mirror;
        all.unreleased += report.seen.unreleased;
        all.sent_at_takeover += report.seen.sent_at_takeover;
        all.held_max = all.held_max.max(report.seen.held_max);
        for (why, count) in diverged {
            *all.diverged.entry(why.clone()).or_default() += count;
        }
    }

    /// Whether no round failed, and there was one.
    pub(crate) fn is_right(&self) -> bool {
        self.rounds > 0 && self.failed == 0
    }

    pub(crate) fn print(&mut self) {
        let (tally, seen) = (&self.tally, &self.seen);
        self.stalls.sort_unstable();
        let stall_ms = |share: usize| {
            let at = (self.stalls.len() * share / 100).min(self.stalls.len().saturating_sub(1));
            self.stalls.get(at).map_or(0.0, |stall| stall.as_secs_f64() * 1e3)
        };
        println!("rounds                    {:>10}   failed {}", self.rounds, self.failed);
        println!("connections, requests     {:>10}   {}", tally.connections, tally.requests);
        println!(
            "MB down, up               {:>10}   {}",
            tally.down_bytes / 1_000_000,
            tally.up_bytes / 1_000_000
        );
        println!("frames of client          {:>10}", seen.input);
        println!("frames of primary, copy   {:>10}   {}", seen.primary, seen.copy);
        println!(
            "frames that left          {:>10}   held for at most {:.1} ms",
            seen.released,
            seen.held_max.as_secs_f64() * 1e3
        );
        println!("among them ARP, ND        {:>10}", seen.neighbours);
        println!(
            "lost with the primary     {:>10}   on the mirror; {} of its frames never left",
            seen.lost_on_mirror, seen.unreleased
        );
        println!("sent at the takeovers     {:>10}", seen.sent_at_takeover);
        println!(
            "longest small request     {:>10.1}   ms at p50, {:.1} at p90, {:.1} at most",
            stall_ms(50),
            stall_ms(90),
            stall_ms(100)
        );
        for (why, count) in &seen.diverged {
            println!("not the same              {count:>10}   {why}");
        }
        for (name, count) in &self.told {
            println!("kernels: {name:<16} {count:>10}");
        }
    }
}
