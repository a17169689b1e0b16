//! Answers "what was known by then?" for many moments, by binary search in sorted data.

use crate::drill::history::Moment;

/// Counts events before a moment.
pub(super) struct Count(Vec<Moment>);

impl Count {
    pub(super) fn new(mut events: Vec<Moment>) -> Self {
        events.sort_unstable();
        Self(events)
    }

    /// Events strictly before `moment`.
    pub(super) fn before(&self, moment: Moment) -> u64 {
        self.0.partition_point(|event| *event < moment) as u64
    }

    /// Events up to and with `moment`.
    pub(super) fn until(&self, moment: Moment) -> u64 {
        self.0.partition_point(|event| *event <= moment) as u64
    }
}

/// The highest value seen before a moment.
pub(super) struct Highest(Vec<(Moment, u64)>);

impl Highest {
    pub(super) fn new(mut seen: Vec<(Moment, u64)>) -> Self {
        seen.sort_unstable();
        let mut highest = 0;
        for (_, value) in &mut seen {
            highest = highest.max(*value);
            *value = highest;
        }
        Self(seen)
    }

    /// Highest value strictly before `moment`; 0 if none.
    pub(super) fn before(&self, moment: Moment) -> u64 {
        self.at(self.0.partition_point(|(at, _)| *at < moment))
    }

    /// Highest value up to and with `moment`; 0 if none.
    pub(super) fn until(&self, moment: Moment) -> u64 {
        self.at(self.0.partition_point(|(at, _)| *at <= moment))
    }

    fn at(&self, entries: usize) -> u64 {
        entries.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}
