//! Distributions of times, as `status` shows them.

use crate::control::status::Quantiles;
use hdrhistogram::Histogram;
use std::time::Duration;

/// Upper bound of a distribution, in microseconds: a minute.
const TIME_US_MAX: u64 = 60_000_000;

/// A distribution of times with two digits: an error of 1 % at most, about ten kilobytes of memory.
pub(super) fn times() -> Histogram<u64> {
    Histogram::new_with_max(TIME_US_MAX, 2).expect("constant bounds are valid")
}

pub(super) fn record(times: &mut Histogram<u64>, time: Duration) {
    times.saturating_record(time.as_micros().min(u128::from(TIME_US_MAX)) as u64);
}

/// Records one time for many events.
pub(super) fn record_n(times: &mut Histogram<u64>, us: u64, count: u64) {
    times.saturating_record_n(us.min(TIME_US_MAX), count);
}

pub(super) fn quantiles(times: &Histogram<u64>) -> Quantiles {
    Quantiles {
        count: times.len(),
        p50: times.value_at_quantile(0.5),
        p99: times.value_at_quantile(0.99),
        max: times.max(),
    }
}
