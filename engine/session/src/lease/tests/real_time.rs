//! Real time, as a judge of leases knows it: chance from a seed, clocks that drift, and what came of a world. The tests of the
//! machines and of a node's drivers share it.
//!
//! ```text
//!   real time ── Clock: faster or slower by up to DRIFT_PPM_MAX ──► what a host, a watchdog or a taker reads
//! ```

use super::{DRIFT_PPM_MAX, Time};

pub(super) const SECOND: u64 = 1_000_000_000;
/// A world ends then.
pub(super) const END: u64 = 90 * SECOND;

/// A rule that is broken; the judge has to notice each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mutant {
    /// The watchdog is set for its whole time from the answer on (F1).
    CountsFromTheAnswer,
    /// The watchdog is set by a renewal that was never confirmed (F1).
    ArmsUnconfirmed,
    /// A taker waits for as long as the watchdog takes, and no longer (F4).
    WaitsForTheWatchdogOnly,
    /// A lease is taken away without a look at its number (F3).
    TakesWithoutComparing,
}

impl Mutant {
    pub(super) const ALL: [Self; 4] = [
        Self::CountsFromTheAnswer,
        Self::ArmsUnconfirmed,
        Self::WaitsForTheWatchdogOnly,
        Self::TakesWithoutComparing,
    ];
}

/// Numbers from a seed.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A clock that shows other times than the real one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    ppm: i64,
    begun_at: u64,
}

impl Clock {
    pub(super) fn new(chance: &mut Chance) -> Self {
        // The worst drifts are the likeliest.
        let ppm = [-(DRIFT_PPM_MAX as i64), 0, DRIFT_PPM_MAX as i64][chance.below(3) as usize];
        Self { ppm, begun_at: chance.below(1 << 40) }
    }

    pub(super) fn shows(self, real: u64) -> Time {
        let drifted = i128::from(real) * i128::from(1_000_000 + self.ppm) / 1_000_000;
        Time(self.begun_at + drifted as u64)
    }

    /// How long something really takes that takes this long by this clock.
    pub(super) fn real(self, span: u64) -> u64 {
        (i128::from(span) * 1_000_000 / i128::from(1_000_000 + self.ppm)) as u64 + 1
    }
}

/// What came of one world.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) fenced_at: Option<u64>,
    /// Nothing of the holder runs from here on.
    pub(super) dead_at: Option<u64>,
    pub(super) was_reset: bool,
    /// How often the holder's watchdog was set.
    pub(super) armed: u64,
}

impl Seen {
    /// The judge: no guest is started elsewhere while the holder may run it. A holder that never set its watchdog never ran
    /// a guest that needs fencing.
    pub(super) fn holds(&self) -> bool {
        self.armed == 0 || self.fenced_at.is_none_or(|fenced| self.dead_at.is_some_and(|dead| dead <= fenced))
    }
}

/// The judge finds that each of these worlds holds, and that the guest is started in each.
pub(super) fn each_starts_the_guest_in_time(worlds: &[Seen]) {
    for (seed, seen) in worlds.iter().enumerate() {
        assert!(seen.holds(), "seed {seed}: {seen:?}");
        assert!(seen.fenced_at.is_some(), "seed {seed}: nobody may ever start the guest: {seen:?}");
    }
}

/// Nobody is reset or fenced in these worlds, in which nothing fails, and the watchdog was set anew all the time.
pub(super) fn nobody_is_fenced(worlds: &[Seen], armed_min: u64) {
    for (seed, seen) in worlds.iter().enumerate() {
        assert_eq!((seen.fenced_at, seen.was_reset), (None, false), "seed {seed}: {seen:?}");
        assert!(seen.armed > armed_min, "seed {seed}: {seen:?}");
    }
}

/// The judge notices each mutant in one of its worlds.
pub(super) fn each_mutant_is_noticed(worlds: impl Fn(Mutant) -> std::vec::Vec<Seen>) {
    for mutant in Mutant::ALL {
        let is_noticed = worlds(mutant).iter().any(|seen| !seen.holds());
        assert!(is_noticed, "{mutant:?} was not noticed");
    }
}
