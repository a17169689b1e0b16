//! What protection costs the guest: answers a second, how long one answer takes, and a pure memory loop, each without
//! protection and with it, paced by output and by a clock.

use super::testbed::{House, Testbed, Wanted, every, load_pages};
use std::time::Duration;
use understudy::config::BUDGETS;
use understudy::control::GuestStatus;
use understudy::drill::DrillError;
use understudy::drill::history::Moment;
use understudy_session::primary::Pacing;

const SPAN: Duration = Duration::from_secs(4);
const CLIENTS: u16 = 8;
/// Open requests of each client. All together they fill three quarters of the network card's ring: more would
/// be dropped when a checkpoint's answers leave at once and every client asks again.
const WINDOW_MANY: usize = 96;
/// Each client asks, and waits.
const WINDOW_FEW: usize = 1;

const OUTPUT: Pacing = Pacing::Output(BUDGETS);

/// Measures and prints.
pub(crate) fn run(testbed: &mut House) -> Result<(), DrillError> {
    println!("\nWhat protection costs the guest, 256 MiB (share 1.00: nothing)");
    println!(
        "  Processor, percent of one, unprotected and protected: host A with the guest, host B, clients and switch."
    );
    println!(
        "  load                          pacing      unprotected    protected   share │ checkpoints/s  link kB/s │ {:>12} {:>12}",
        "unprot.", "protected"
    );
    for pacing in [every(Duration::from_millis(25)), every(Duration::from_millis(5)), OUTPUT] {
        replies(testbed, "768 requests open, replies/s", pacing, CLIENTS, WINDOW_MANY)?;
        replies(testbed, "8 requests open, replies/s", pacing, CLIENTS, WINDOW_FEW)?;
    }
    for pacing in [every(Duration::from_millis(200)), every(Duration::from_millis(25)), OUTPUT] {
        memory_loop(testbed, pacing)?;
    }
    println!("\n  One request at a time, µs        p50     p99    p999");
    one_at_a_time(testbed, None)?;
    for pacing in [every(Duration::from_millis(25)), every(Duration::from_millis(5)), OUTPUT] {
        one_at_a_time(testbed, Some(pacing))?;
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
    /// Of one processor: host A, host B, clients and switch.
    processor_shares: [f64; 3],
}

/// What had been spent at a moment.
struct Spent {
    at: Moment,
    guest: GuestStatus,
    processor_time: [Duration; 3],
}

impl Spent {
    fn now(testbed: &mut Testbed<'_>) -> Result<Self, DrillError> {
        Ok(Self { at: Moment::now(), guest: testbed.guest()?, processor_time: testbed.processor_time()? })
    }

    /// What `count` things since then cost.
    fn rate(&self, count: f64, end: &Self) -> Rate {
        let span = end.at.since(self.at).as_secs_f64();
        let share =
            |whose: usize| (end.processor_time[whose] - self.processor_time[whose]).as_secs_f64() / span;
        Rate {
            per_second: count / span,
            checkpoints: (end.guest.commit_us.count - self.guest.commit_us.count) as f64 / span,
            link_bytes: (end.guest.link_bytes - self.guest.link_bytes) as f64 / span,
            processor_shares: [0, 1, 2].map(share),
        }
    }
}

fn replies(
    testbed: &mut House,
    load: &str,
    pacing: Pacing,
    clients: u16,
    window: usize,
) -> Result<(), DrillError> {
    let mut testbed = testbed.testbed(&wanted("idle", pacing, clients))?;
    let protected = answers(&mut testbed, clients, window)?;
    testbed.unprotect()?;
    let unprotected = answers(&mut testbed, clients, window)?;
    print_rates(load, pacing, &unprotected, &protected);
    Ok(())
}

fn answers(testbed: &mut Testbed<'_>, clients: u16, window: usize) -> Result<Rate, DrillError> {
    let traffic = testbed.crew(clients)?.with_window(window).start()?;
    let began = Spent::now(testbed)?;
    testbed.rest("measuring answers", SPAN)?;
    let end = Spent::now(testbed)?;
    let (_, history) = traffic.finish()?;
    let answers = history.operations.iter().filter_map(|operation| operation.answer());
    let count = answers.filter(|(at, _)| (began.at..end.at).contains(at)).count();
    Ok(began.rate(count as f64, &end))
}

fn memory_loop(testbed: &mut House, pacing: Pacing) -> Result<(), DrillError> {
    let mut testbed = testbed.testbed(&wanted("loop", pacing, 1))?;
    let protected = pages(&mut testbed)?;
    testbed.unprotect()?;
    let unprotected = pages(&mut testbed)?;
    print_rates("memory loop, page writes/s", pacing, &unprotected, &protected);
    Ok(())
}

fn pages(testbed: &mut Testbed<'_>) -> Result<Rate, DrillError> {
    let mut station = testbed.station()?;
    let (pages, began) = (load_pages(&mut station)?, Spent::now(testbed)?);
    testbed.rest("measuring the memory loop", SPAN)?;
    let (pages, end) = (load_pages(&mut station)? - pages, Spent::now(testbed)?);
    Ok(began.rate(pages as f64, &end))
}

fn one_at_a_time(testbed: &mut House, pacing: Option<Pacing>) -> Result<(), DrillError> {
    let mut testbed = testbed.testbed(&wanted("idle", pacing.unwrap_or(OUTPUT), 1))?;
    if pacing.is_none() {
        testbed.unprotect()?;
    }
    let traffic = testbed.crew(1)?.with_window(WINDOW_FEW).start()?;
    testbed.rest("measuring one request at a time", SPAN)?;
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
        "  {load:<30} {:>6} {:15.0} {:12.0} {:7.2} │ {:13.0} {:10.0} │ {:>12} {:>12}",
        name(pacing),
        unprotected.per_second,
        protected.per_second,
        protected.per_second / unprotected.per_second,
        protected.checkpoints,
        protected.link_bytes / 1e3,
        shares(unprotected),
        shares(protected),
    );
}

fn shares(rate: &Rate) -> String {
    rate.processor_shares.map(|share| format!("{:.0}", share * 1e2)).join(" ")
}
