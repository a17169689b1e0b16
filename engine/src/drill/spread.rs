//! How often something took how long, in buckets: for the page of a drill ([`page`](super::page)).
//!
//! ```text
//!   node ── /metrics ──► cumulative counts, before the clients' work and after it ──► difference ─┐
//!   clients' answers ──► times between them ──────────────────────────────────────────────────────┴─► Spread
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a node may take to show its metrics. It is beside the judgement, so nobody waits long for it.
const SCRAPE_MAX: Duration = Duration::from_secs(2);

/// A page of metrics is shorter.
const SCRAPE_BYTES_MAX: u64 = 8 << 20;

/// Upper ends of the buckets of gaps, in microseconds.
const GAP_BOUNDS_US: [u64; 12] =
    [200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000];

/// Counts by upper end in microseconds; the last bucket has none.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Spread {
    by_end: BTreeMap<u64, u64>,
}

/// Stands for "longer than all of them".
const LONGER: u64 = u64::MAX;

impl Spread {
    /// Of times, in the buckets of gaps.
    pub fn of_gaps(gaps: impl IntoIterator<Item = Duration>) -> Self {
        let ends = GAP_BOUNDS_US.iter().chain([&LONGER]);
        let mut by_end: BTreeMap<u64, u64> = ends.map(|end| (*end, 0)).collect();
        for gap in gaps {
            let us = gap.as_micros() as u64;
            if let Some((_, count)) = by_end.range_mut(us..).next() {
                *count += 1;
            }
        }
        Self { by_end }
    }

    /// Of a histogram in a page of metrics, over all guests; empty where it is not there.
    pub fn of_metrics(page: &str, family: &str) -> Self {
        let mut cumulative: BTreeMap<u64, u64> = BTreeMap::new();
        for line in page.lines() {
            let Some(rest) = line.strip_prefix(family).and_then(|rest| rest.strip_prefix("_bucket{")) else {
                continue;
            };
            let Some((labels, count)) = rest.rsplit_once("} ") else { continue };
            let Some(end) = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()) else {
                continue;
            };
            let end_us = match end {
                "+Inf" => Some(LONGER),
                end => end.parse::<f64>().ok().map(|seconds| (seconds * 1e6).round() as u64),
            };
            if let (Some(end_us), Ok(count)) = (end_us, count.parse::<f64>()) {
                *cumulative.entry(end_us).or_default() += count as u64;
            }
        }
        let mut before = 0;
        let by_end = cumulative.into_iter().map(|(end, count)| {
            let here = count.saturating_sub(before);
            before = count;
            (end, here)
        });
        Self { by_end: by_end.collect() }
    }

    /// What has come since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |end: &u64| earlier.by_end.get(end).copied().unwrap_or(0);
        let counts = self.by_end.iter().map(|(end, count)| (*end, count.saturating_sub(before(end))));
        Self { by_end: counts.collect() }
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        for (end, count) in &other.by_end {
            *self.by_end.entry(*end).or_default() += count;
        }
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.by_end.values().sum()
    }

    /// Upper ends in microseconds, `None` for the last, with the counts; from the first that is not empty to the last.
    pub fn bars(&self) -> Vec<(Option<u64>, u64)> {
        let mut bars: Vec<_> =
            self.by_end.iter().map(|(end, count)| ((*end != LONGER).then_some(*end), *count)).collect();
        while bars.last().is_some_and(|(_, count)| *count == 0) {
            bars.pop();
        }
        let empty = bars.iter().take_while(|(_, count)| *count == 0).count();
        bars.split_off(empty)
    }
}

/// What a round's page shows in histograms.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Spreads {
    /// Pauses of the guests for checkpoints, before the failure.
    pub pause: Spread,
    /// From the end of a pause to the ack, before the failure.
    pub commit: Spread,
    /// Times between two answers that one client had, in the whole round.
    pub gap: Spread,
}

impl Spreads {
    /// Pauses and commits in a page of metrics.
    pub fn of_metrics(page: &str) -> Self {
        Self {
            pause: Spread::of_metrics(page, "understudy_checkpoint_pause_seconds"),
            commit: Spread::of_metrics(page, "understudy_checkpoint_commit_seconds"),
            gap: Spread::default(),
        }
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.pause.add(&other.pause);
        self.commit.add(&other.commit);
        self.gap.add(&other.gap);
    }
}

/// A node's page of metrics; empty if it does not answer, since nothing is judged by it.
pub fn scrape(at: SocketAddr) -> String {
    fn ask(at: SocketAddr) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&at, SCRAPE_MAX)?;
        stream.set_read_timeout(Some(SCRAPE_MAX))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        stream.take(SCRAPE_BYTES_MAX).read_to_string(&mut page)?;
        Ok(page)
    }
    ask(at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# TYPE understudy_checkpoint_pause_seconds histogram
understudy_checkpoint_pause_seconds_bucket{guest=\"a\",le=\"0.0001\"} 1
understudy_checkpoint_pause_seconds_bucket{guest=\"a\",le=\"0.001\"} 4
understudy_checkpoint_pause_seconds_bucket{guest=\"a\",le=\"+Inf\"} 4
understudy_checkpoint_pause_seconds_bucket{guest=\"b\",le=\"0.0001\"} 0
understudy_checkpoint_pause_seconds_bucket{guest=\"b\",le=\"0.001\"} 2
understudy_checkpoint_pause_seconds_bucket{guest=\"b\",le=\"+Inf\"} 3
understudy_checkpoint_pause_seconds_sum{guest=\"b\"} 3
";

    #[test]
    fn a_histogram_of_metrics_is_that_of_all_guests_and_not_cumulative() {
        let spread = Spreads::of_metrics(PAGE).pause;
        assert_eq!(spread.bars(), [(Some(100), 1), (Some(1_000), 5), (None, 1)]);
        assert_eq!(spread.total(), 7);
        assert_eq!(Spreads::of_metrics(PAGE).commit, Spread::default());
        let earlier = Spread::of_metrics(&PAGE.replace("} 4", "} 3"), "understudy_checkpoint_pause_seconds");
        assert_eq!(spread.since(&earlier).bars(), [(Some(1_000), 1)]);
    }

    #[test]
    fn gaps_are_counted_where_they_belong() {
        let gaps = [1, 200, 201, 1_000_000, 1_000_001].map(Duration::from_micros);
        let spread = Spread::of_gaps(gaps);
        assert_eq!(spread.total(), 5);
        let bars = spread.bars();
        assert_eq!((bars[0], bars[1]), ((Some(200), 2), (Some(500), 1)));
        assert_eq!(bars[bars.len() - 2..], [(Some(1_000_000), 1), (None, 1)]);
    }
}
