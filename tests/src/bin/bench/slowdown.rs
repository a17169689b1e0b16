//! What protection costs the guest: answers a second, how long one answer takes, and a pure memory loop, each without
//! protection and with it, paced by output and by a clock.

use super::house::{Home, House, Wanted, every, load_pages};
use std::time::Duration;
use understudy::config::BUDGETS;
use understudy::drill::DrillError;
use understudy::drill::history::Moment;
use understudy::session::primary::Pacing;

const SPAN: Duration = Duration::from_secs(4);
const CLIENTS: u16 = 8;
/// Open requests of each client. All together they fill three quarters of the network card's ring: more would
/// be dropped when a checkpoint's answers leave at once and every client asks again.
const WINDOW_MANY: usize = 96;
/// Each client asks, and waits.
const WINDOW_FEW: usize = 1;

const OUTPUT: Pacing = Pacing::Output(BUDGETS);

/// Measures and prints.
pub(crate) fn run(house: &mut House) -> Result<(), DrillError> {
    println!("\nWhat protection costs the guest, 256 MiB (share 1.00: nothing)");
    println!(
        "  load                          pacing      unprotected    protected   share │ checkpoints/s  link kB/s"
    );
    for pacing in [every(Duration::from_millis(25)), every(Duration::from_millis(5)), OUTPUT] {
        replies(house, "768 requests open, replies/s", pacing, CLIENTS, WINDOW_MANY)?;
        replies(house, "8 requests open, replies/s", pacing, CLIENTS, WINDOW_FEW)?;
    }
    for pacing in [every(Duration::from_millis(200)), every(Duration::from_millis(25)), OUTPUT] {
        memory_loop(house, pacing)?;
    }
    println!("\n  One request at a time, µs        p50     p99    p999");
    one_at_a_time(house, None)?;
    for pacing in [every(Duration::from_millis(25)), every(Duration::from_millis(5)), OUTPUT] {
        one_at_a_time(house, Some(pacing))?;
    }
    Ok(())
}

fn wanted(load: &str, pacing: Pacing, clients: u16) -> Wanted {
    Wanted { load: load.into(), pacing, memory_bytes: 256 << 20, clients, node_flags: Vec::new() }
}

/// What was done in a second, and what that took.
struct Rate {
    per_second: f64,
    checkpoints: f64,
    link_bytes: f64,
}

fn replies(
    house: &mut House,
    load: &str,
    pacing: Pacing,
    clients: u16,
    window: usize,
) -> Result<(), DrillError> {
    let mut home = house.home(&wanted("idle", pacing, clients))?;
    let protected = answers(&mut home, clients, window)?;
    home.unprotect()?;
    let unprotected = answers(&mut home, clients, window)?;
    print_rates(load, pacing, &unprotected, &protected);
    Ok(())
}

fn answers(home: &mut Home<'_>, clients: u16, window: usize) -> Result<Rate, DrillError> {
    let traffic = home.crew(clients)?.with_window(window).start()?;
    let before = home.guest()?;
    let began = Moment::now();
    home.rest("measuring answers", SPAN)?;
    let end = Moment::now();
    let after = home.guest()?;
    let (_, history) = traffic.finish()?;
    let answers = history.operations.iter().filter_map(|operation| operation.answer());
    let count = answers.filter(|(at, _)| (began..end).contains(at)).count();
    let span = end.since(began).as_secs_f64();
    Ok(Rate {
        per_second: count as f64 / span,
        checkpoints: (after.commit_us.count - before.commit_us.count) as f64 / span,
        link_bytes: (after.link_bytes - before.link_bytes) as f64 / span,
    })
}

fn memory_loop(house: &mut House, pacing: Pacing) -> Result<(), DrillError> {
    let mut home = house.home(&wanted("loop", pacing, 1))?;
    let protected = pages(&mut home)?;
    home.unprotect()?;
    let unprotected = pages(&mut home)?;
    print_rates("memory loop, page writes/s", pacing, &unprotected, &protected);
    Ok(())
}

fn pages(home: &mut Home<'_>) -> Result<Rate, DrillError> {
    let mut station = home.station()?;
    let before = home.guest()?;
    let (pages, began) = (load_pages(&mut station)?, Moment::now());
    home.rest("measuring the memory loop", SPAN)?;
    let pages = load_pages(&mut station)? - pages;
    let span = Moment::now().since(began).as_secs_f64();
    let after = home.guest()?;
    Ok(Rate {
        per_second: pages as f64 / span,
        checkpoints: (after.commit_us.count - before.commit_us.count) as f64 / span,
        link_bytes: (after.link_bytes - before.link_bytes) as f64 / span,
    })
}

fn one_at_a_time(house: &mut House, pacing: Option<Pacing>) -> Result<(), DrillError> {
    let mut home = house.home(&wanted("idle", pacing.unwrap_or(OUTPUT), 1))?;
    if pacing.is_none() {
        home.unprotect()?;
    }
    let traffic = home.crew(1)?.with_window(WINDOW_FEW).start()?;
    home.rest("measuring one request at a time", SPAN)?;
    let (_, history) = traffic.finish()?;
    let took = |operation: &understudy::drill::history::Operation| {
        operation.answer().map(|(at, _)| at.since(operation.invoked).as_micros() as u64)
    };
    let mut took: Vec<u64> = history.operations.iter().filter_map(took).collect();
    took.sort_unstable();
    let at = |share: f64| took.get(((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1)));
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| at(share).copied().unwrap_or(0));
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
        "  {load:<30} {:>6} {:15.0} {:12.0} {:7.2} │ {:13.0} {:10.0}",
        name(pacing),
        unprotected.per_second,
        protected.per_second,
        protected.per_second / unprotected.per_second,
        protected.checkpoints,
        protected.link_bytes / 1e3,
    );
}
