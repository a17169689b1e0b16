//! What is measured of a guest under clients: answers a second with what they cost, and how long one answer takes.
//!
//! Not here: what is compared with what (`slowdown`, `colo`).

use super::testbed::{Testbed, load_pages};
use std::collections::BTreeMap;
use std::time::Duration;
use understudy::control::GuestStatus;
use understudy::drill::DrillError;
use understudy::drill::history::{Moment, Operation};

/// How long each measurement takes.
const SPAN: Duration = Duration::from_secs(4);
/// Clients of those parts that have several.
pub(crate) const CLIENTS: u16 = 8;
/// Open requests of each client. All together they fill three quarters of the network card's ring: more would
/// be dropped when a checkpoint's answers leave at once and every client asks again.
pub(crate) const WINDOW_MANY: usize = 96;
/// Each client asks, and waits.
pub(crate) const WINDOW_FEW: usize = 1;

/// What was done in a second, and what that took.
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) checkpoints: f64,
    pub(crate) link_bytes: f64,
    /// Checkpoints asked for because output would not leave by a match, by why.
    pub(crate) diverged: BTreeMap<String, f64>,
    /// Of one processor: host A, host B, clients and switch.
    pub(crate) processor_shares: [f64; 3],
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
        let before = |why: &str| self.guest.colo.diverged.get(why).copied().unwrap_or(0);
        let diverged = end.guest.colo.diverged.iter();
        let diverged = diverged.map(|(why, now)| (why.clone(), (now - before(why)) as f64 / span));
        Rate {
            diverged: diverged.filter(|(_, per_second)| *per_second > 0.0).collect(),
            per_second: count / span,
            checkpoints: (end.guest.commit_us.count - self.guest.commit_us.count) as f64 / span,
            link_bytes: (end.guest.link_bytes - self.guest.link_bytes) as f64 / span,
            processor_shares: [0, 1, 2].map(share),
        }
    }
}

impl Rate {
    /// What differed, each with how often in a second.
    pub(crate) fn divergences(&self) -> String {
        let each = self.diverged.iter().map(|(why, per_second)| format!("{why} {per_second:.0}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Processor shares in percent.
    pub(crate) fn shares(&self) -> String {
        self.processor_shares.map(|share| format!("{:.0}", share * 1e2)).join(" ")
    }
}

/// Answers a second to `clients` that have `window` requests open each.
pub(crate) fn answers(testbed: &mut Testbed<'_>, clients: u16, window: usize) -> Result<Rate, DrillError> {
    let traffic = testbed.crew(clients)?.with_window(window).start()?;
    let began = Spent::now(testbed)?;
    testbed.rest("measuring answers", SPAN)?;
    let end = Spent::now(testbed)?;
    let (_, history) = traffic.finish()?;
    let answers = history.operations.iter().filter_map(|operation| operation.answer());
    let count = answers.filter(|(at, _)| (began.at..end.at).contains(at)).count();
    Ok(began.rate(count as f64, &end))
}

/// Pages a second that the guest's load writes.
pub(crate) fn pages(testbed: &mut Testbed<'_>) -> Result<Rate, DrillError> {
    let mut station = testbed.station()?;
    let (pages, began) = (load_pages(&mut station)?, Spent::now(testbed)?);
    testbed.rest("measuring the memory loop", SPAN)?;
    let (pages, end) = (load_pages(&mut station)? - pages, Spent::now(testbed)?);
    Ok(began.rate(pages as f64, &end))
}

/// How long answers take a client that asks one thing at a time: p50, p99 and p999 in microseconds.
pub(crate) fn one_at_a_time(testbed: &mut Testbed<'_>) -> Result<[u64; 3], DrillError> {
    let traffic = testbed.crew(1)?.with_window(WINDOW_FEW).start()?;
    testbed.rest("measuring one request at a time", SPAN)?;
    let (_, history) = traffic.finish()?;
    let took = |operation: &Operation| {
        operation.answer().map(|(at, _)| at.since(operation.invoked).as_micros() as u64)
    };
    Ok(percentiles(history.operations.iter().filter_map(took).collect()))
}

/// p50, p99 and p999; zeros of nothing.
pub(crate) fn percentiles(mut of: Vec<u64>) -> [u64; 3] {
    of.sort_unstable();
    let at = |share: f64| of.get(((of.len() as f64 * share) as usize).min(of.len().saturating_sub(1)));
    [0.5, 0.99, 0.999].map(|share| at(share).copied().unwrap_or(0))
}
