//! Random numbers from one seed, the same everywhere.

use understudy_lab::Random;
use understudy_session::Span;

/// A stream of numbers that depends only on its seed.
#[derive(Clone, Debug)]
pub struct Rng(Random);

impl Rng {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Random(seed ^ 0x5DEE_CE66_D1CE_CAFE))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.word()
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A span from `least_us` up to, but not including, `most_us` microseconds.
    pub fn span_us(&mut self, least_us: u64, most_us: u64) -> Span {
        Span::from_us(least_us + self.below(most_us - least_us))
    }
}
