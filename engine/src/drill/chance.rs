//! Random numbers from a seed, so that a drill can be repeated: when to strike, which direction to cut. Not for
//! anything that must be hard to guess.

use understudy_lab::Random;

/// A stream of numbers that depends only on its seed.
#[derive(Clone, Debug)]
pub struct Chance(Random);

impl Chance {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Random(seed))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0.word()
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}
