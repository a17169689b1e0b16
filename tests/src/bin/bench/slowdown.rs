//! What protection costs the guest: answers a second, how long one answer takes, and a pure memory loop, each without
//! protection and with it, paced by output and by a clock.

use super::measure::{self, Rate, answers, pages};
use super::testbed::{OUTPUT, Testbeds, Wanted, every};
use std::time::Duration;
use understudy::drill::DrillError;
use understudy_session::primary::Pacing;

/// Measures and prints.
pub(crate) fn run(testbeds: &mut Testbeds) -> Result<(), DrillError> {
    println!("\nWhat protection costs the guest, 256 MiB (share 1.00: nothing)");
    println!(
        "  Processor, percent of one, unprotected and protected: host A with the guest, host B, clients and switch."
    );
    println!(
        "  load                          pacing      unprotected    protected   share │ checkpoints/s  link kB/s │ {:>12} {:>12}",
        "unprot.", "protected"
    );
    for pacing in [every(Duration::from_millis(25)), every(Duration::from_millis(5)), OUTPUT] {
        replies(testbeds, "768 requests open, replies/s", pacing, measure::CLIENTS, measure::WINDOW_MANY)?;
        replies(testbeds, "8 requests open, replies/s", pacing, measure::CLIENTS, measure::WINDOW_FEW)?;
    }
    for pacing in [every(Duration::from_millis(200)), every(Duration::from_millis(25)), OUTPUT] {
        memory_loop(testbeds, pacing)?;
    }
    println!("\n  One request at a time, µs        p50     p99    p999");
    one_at_a_time(testbeds, None)?;
    for pacing in [every(Duration::from_millis(25)), every(Duration::from_millis(5)), OUTPUT] {
        one_at_a_time(testbeds, Some(pacing))?;
    }
    Ok(())
}

fn wanted(load: &str, pacing: Pacing, clients: u16) -> Wanted {
    Wanted { load: load.into(), pacing, clients, ..Wanted::default() }
}

fn replies(
    testbeds: &mut Testbeds,
    load: &str,
    pacing: Pacing,
    clients: u16,
    window: usize,
) -> Result<(), DrillError> {
    let mut testbed = testbeds.testbed(&wanted("idle", pacing, clients))?;
    let protected = answers(&mut testbed, clients, window)?;
    testbed.unprotect()?;
    let unprotected = answers(&mut testbed, clients, window)?;
    print_rates(load, pacing, &unprotected, &protected);
    Ok(())
}

fn memory_loop(testbeds: &mut Testbeds, pacing: Pacing) -> Result<(), DrillError> {
    let mut testbed = testbeds.testbed(&wanted("loop", pacing, 1))?;
    let protected = pages(&mut testbed)?;
    testbed.unprotect()?;
    let unprotected = pages(&mut testbed)?;
    print_rates("memory loop, page writes/s", pacing, &unprotected, &protected);
    Ok(())
}

fn one_at_a_time(testbeds: &mut Testbeds, pacing: Option<Pacing>) -> Result<(), DrillError> {
    let mut testbed = testbeds.testbed(&wanted("idle", pacing.unwrap_or(OUTPUT), 1))?;
    if pacing.is_none() {
        testbed.unprotect()?;
    }
    let [p50, p99, p999] = measure::one_at_a_time(&mut testbed)?;
    println!("  {:<26} {p50:9} {p99:7} {p999:7}", pacing.map_or("unprotected".into(), name));
    Ok(())
}

fn name(pacing: Pacing) -> String {
    match pacing {
        Pacing::Clock { interval } => format!("{} ms", interval.0 / 1_000_000),
        Pacing::Output(_) => "output".into(),
    }
}

fn print_rates(load: &str, pacing: Pacing, unprotected: &Rate, protected: &Rate) {
    println!(
        "  {load:<30} {:>6} {:15.0} {:12.0} {:7.2} │ {:13.0} {:10.0} │ {:>12} {:>12}",
        name(pacing),
        unprotected.per_second,
        protected.per_second,
        protected.per_second / unprotected.per_second,
        protected.checkpoints,
        protected.link_bytes / 1e3,
        unprotected.shares(),
        protected.shares(),
    );
}
