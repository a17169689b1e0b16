//! Conditions of a guest's host that no checkpoint carries: nothing of them is in memory or registers, so the two hosts
//! of a guest differ in them. They are the only reason why equal guests with equal input may behave differently.
//!
//! ```text
//!   chance=0.01,what=value     one reply in a hundred differs in a byte that clients ignore
//!                 = delay      one request in a hundred is answered some milliseconds later
//!                 = order      one request in a hundred is overtaken by the one after it
//!                 = clock      one reply in a hundred carries the host's time
//! ```

use crate::random::Random;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The range of a draw.
const DRAWS: u64 = 1 << 32;
/// The longest delay of [`What::Delay`].
const DELAY_US_MAX: u64 = 4000;

/// What differs between two hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The content of a reply.
    Value,
    /// The time at which a request is answered.
    Delay,
    /// The order in which two requests are taken.
    Order,
    /// A reply carries the host's time.
    Clock,
}

const NAMES: [(What, &str); 4] =
    [(What::Value, "value"), (What::Delay, "delay"), (What::Order, "order"), (What::Clock, "clock")];

/// How often a guest's behaviour depends on its host.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Divergence {
    /// The probability for each frame: 0 never, 1 always.
    pub chance: f64,
    /// What the guest does then.
    pub what: What,
}

/// The text is not a [`Divergence`].
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error(
    "\"{0}\" says no divergence; write for example chance=0.01,what=value (or delay, order, clock), with a chance from 0 to 1"
)]
pub struct DivergenceError(String);

impl FromStr for Divergence {
    type Err = DivergenceError;

    fn from_str(text: &str) -> Result<Self, DivergenceError> {
        let wrong = || DivergenceError(text.to_owned());
        let (mut chance, mut what) = (None, What::Value);
        for setting in text.split(',') {
            match setting.split_once('=').ok_or_else(wrong)? {
                ("chance", value) => chance = Some(value.parse::<f64>().map_err(|_| wrong())?),
                ("what", value) => {
                    what = NAMES
                        .iter()
                        .find(|(_, name)| *name == value)
                        .map(|(what, _)| *what)
                        .ok_or_else(wrong)?;
                }
                _ => return Err(wrong()),
            }
        }
        let chance = chance.filter(|chance| (0.0..=1.0).contains(chance)).ok_or_else(wrong)?;
        Ok(Self { chance, what })
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(what, _)| *what == self.what).map_or("", |(_, name)| name);
        write!(f, "chance={},what={name}", self.chance)
    }
}

/// The conditions of a guest's host.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Conditions {
    /// Behaviour that depends on this host, if any.
    pub divergence: Option<Divergence>,
    /// How long the guest takes to suspend, standing still meanwhile, besides the work itself. A PVH guest under
    /// emulated Xen takes some 100 ms.
    pub suspend_takes: Duration,
    /// The seed of this host's draws.
    pub seed: u64,
}

impl Conditions {
    /// A host without conditions of its own.
    pub const NONE: Self = Self { divergence: None, suspend_takes: Duration::ZERO, seed: 0 };
}

impl Default for Conditions {
    fn default() -> Self {
        Self::NONE
    }
}

/// How the host affects one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// The value of the reserved field in a reply's header, which clients ignore.
    pub mark: u16,
}

/// The random draws of one host.
#[derive(Debug)]
pub(crate) struct Draws {
    conditions: Conditions,
    random: Random,
}

/// How the next frame is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Draw {
    /// At once.
    Now(Moment),
    /// After this delay.
    After(Duration),
    /// After the frame that follows it, if there is one.
    Overtaken,
}

impl Draws {
    pub(crate) fn new(conditions: Conditions) -> Self {
        Self { conditions, random: Random(conditions.seed) }
    }

    pub(crate) fn suspend_takes(&self) -> Duration {
        self.conditions.suspend_takes
    }

    pub(crate) fn next(&mut self) -> Draw {
        let usual = Draw::Now(Moment::default());
        let Some(Divergence { chance, what }) = self.conditions.divergence else { return usual };
        if self.random.below(DRAWS) as f64 >= chance * DRAWS as f64 {
            return usual;
        }
        match what {
            What::Value => Draw::Now(Moment { mark: 1 + self.random.below(u64::from(u16::MAX)) as u16 }),
            What::Clock => Draw::Now(Moment { mark: host_clock() }),
            What::Delay => Draw::After(Duration::from_micros(self.random.below(DELAY_US_MAX))),
            What::Order => Draw::Overtaken,
        }
    }
}

/// Milliseconds of the host's clock, never 0.
fn host_clock() -> u16 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u16 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in
            ["chance=0.01,what=value", "chance=1,what=delay", "chance=0,what=order", "chance=0.5,what=clock"]
        {
            assert_eq!(text.parse::<Divergence>().unwrap().to_string(), text);
        }
        assert_eq!("chance=0.25".parse::<Divergence>().unwrap().what, What::Value);
        for text in [
            "",
            "0.1",
            "chance=2",
            "chance=-0.1",
            "chance=NaN",
            "what=value",
            "chance=0.1,what=all",
            "chance=0.1,x=1",
        ] {
            let error = text.parse::<Divergence>().unwrap_err();
            assert!(error.to_string().contains("chance=0.01"), "{text}: {error}");
        }
    }

    #[test]
    fn draws_come_as_often_as_they_should() {
        let divergence = Some(Divergence { chance: 0.25, what: What::Value });
        let mut draws = Draws::new(Conditions { divergence, seed: 7, ..Conditions::NONE });
        let marked = (0..10_000).filter(|_| draws.next() != Draw::Now(Moment::default())).count();
        assert!((2300..2700).contains(&marked), "{marked} of 10000");
        let mut never = Draws::new(Conditions::NONE);
        assert!((0..1000).all(|_| never.next() == Draw::Now(Moment::default())));
    }
}
