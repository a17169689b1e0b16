//! What decides when a guest's checkpoints begin, as an operator says it: for a node, for one guest, or while it runs.
//!
//! ```text
//!   interval=25ms ───────────────────────────► a clock
//!   pacing=interval-max=100ms,pause-share=10% ─► output that waits, within budgets; "output" alone: these as they are
//!   both ────────────────────────────────────► refused
//! ```
//!
//! What is said of one guest stands above what is said of the node; a budget that is not said there is the node's, if the
//! node has budgets, or else the default.

use super::bounds::{self, check_bytes, check_count, check_span};
use super::human::{parse_size, parse_span};
use super::pairs::PairError;
use super::{ConfigError, human};
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use understudy_session::Span;
use understudy_session::primary::{Budgets, Pacing};

/// Budgets where nothing is said: a guest stands still a quarter of its time at most while it is busy answering, and rolls back
/// a fifth of a second of silent work at most.
pub const BUDGETS: Budgets = Budgets {
    interval_min: Span::from_us(100),
    interval_max: Span::from_ms(200),
    pause_percent_max: 25,
    link_bytes_per_s_max: 1 << 30,
    cpu_percent_max: 100,
};

/// Budgets as they may be given.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BudgetSettings {
    /// The guest runs this long between two pauses at least.
    pub interval_min: Option<Span>,
    /// It runs this long at most, whether output waits or not.
    pub interval_max: Option<Span>,
    /// Of all time, the percent that the guest may stand still.
    pub pause_percent_max: Option<u32>,
    /// Bytes that checkpoints may send in a second.
    pub link_bytes_per_s_max: Option<u64>,
    /// Percent of one processor that checkpoints may take.
    pub cpu_percent_max: Option<u32>,
}

/// What may be said about the pacing of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PacingSettings {
    /// A clock: from the end of one pause to the beginning of the next.
    pub interval: Option<Span>,
    /// Output, within these budgets.
    pub budgets: Option<BudgetSettings>,
}

impl PacingSettings {
    /// These settings, and `below` where nothing is said here.
    pub fn over(self, below: Self) -> Self {
        match (self.interval, self.budgets, below.budgets) {
            (None, None, _) => below,
            (None, Some(here), Some(there)) => Self { interval: None, budgets: Some(here.over(there)) },
            _ => self,
        }
    }

    /// As a node takes it.
    pub fn as_flags(&self) -> Vec<String> {
        let interval = self.interval.map(|interval| ["--interval".into(), human::show_span(interval)]);
        let budgets = self.budgets.map(|budgets| ["--pacing".into(), budgets.to_string()]);
        interval.into_iter().chain(budgets).flatten().collect()
    }

    /// Whether anything is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Decides, with what holds where nothing is said here.
    pub fn decide(self, below: Pacing) -> Result<Pacing, ConfigError> {
        match (self.interval, self.budgets) {
            (Some(_), Some(_)) => Err(ConfigError::Conflict(
                "interval is a fixed clock, pacing goes by output; give one of them (pacing=interval-max=TIME bounds both \
                 ways)"
                    .into(),
            )),
            (Some(interval), None) => {
                check_span("interval", interval, bounds::INTERVAL)?;
                Ok(Pacing::Clock { interval })
            }
            (None, Some(budgets)) => budgets.decide(below).map(Pacing::Output),
            (None, None) => Ok(below),
        }
    }
}

impl FromStr for PacingSettings {
    type Err = PairError;

    /// Reads `interval=25ms`, or budgets.
    fn from_str(text: &str) -> Result<Self, PairError> {
        match text.strip_prefix("interval=") {
            Some(interval) => Ok(Self { interval: Some(parse_span(interval)?), budgets: None }),
            None => Ok(Self { interval: None, budgets: Some(text.parse()?) }),
        }
    }
}

impl fmt::Display for PacingSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.interval, &self.budgets) {
            (Some(interval), _) => write!(f, "interval={}", human::show_span(interval)),
            (None, Some(budgets)) => budgets.fmt(f),
            (None, None) => Ok(()),
        }
    }
}

impl From<Pacing> for PacingSettings {
    fn from(pacing: Pacing) -> Self {
        match pacing {
            Pacing::Clock { interval } => Self { interval: Some(interval), budgets: None },
            Pacing::Output(budgets) => Self {
                interval: None,
                budgets: Some(BudgetSettings {
                    interval_min: Some(budgets.interval_min),
                    interval_max: Some(budgets.interval_max),
                    pause_percent_max: Some(budgets.pause_percent_max.into()),
                    link_bytes_per_s_max: Some(budgets.link_bytes_per_s_max),
                    cpu_percent_max: Some(budgets.cpu_percent_max.into()),
                }),
            },
        }
    }
}

impl BudgetSettings {
    pub(super) const KEYS: [&str; 5] =
        ["interval-min", "interval-max", "pause-share", "cpu-share", "link-rate"];

    fn over(self, below: Self) -> Self {
        Self {
            interval_min: self.interval_min.or(below.interval_min),
            interval_max: self.interval_max.or(below.interval_max),
            pause_percent_max: self.pause_percent_max.or(below.pause_percent_max),
            link_bytes_per_s_max: self.link_bytes_per_s_max.or(below.link_bytes_per_s_max),
            cpu_percent_max: self.cpu_percent_max.or(below.cpu_percent_max),
        }
    }

    fn decide(self, below: Pacing) -> Result<Budgets, ConfigError> {
        let below = match below {
            Pacing::Output(budgets) => budgets,
            Pacing::Clock { .. } => BUDGETS,
        };
        let percent = |given: Option<u32>, below: u16| given.unwrap_or_else(|| below.into());
        let pause_percent = percent(self.pause_percent_max, below.pause_percent_max.into());
        let cpu_percent = percent(self.cpu_percent_max, below.cpu_percent_max);
        check_count("pause-share", pause_percent, bounds::PAUSE_PERCENT)?;
        check_count("cpu-share", cpu_percent, bounds::CPU_PERCENT)?;
        let interval_max = self.interval_max.unwrap_or(below.interval_max);
        check_span("interval-max", interval_max, bounds::INTERVAL)?;
        // The default gives way to a shorter longest interval.
        let interval_min = self.interval_min.unwrap_or(below.interval_min.min(interval_max));
        check_span("interval-min", interval_min, bounds::INTERVAL)?;
        if interval_min > interval_max {
            return Err(ConfigError::Conflict(format!(
                "interval-min is {}, longer than interval-max with {}",
                human::show_span(interval_min),
                human::show_span(interval_max)
            )));
        }
        let link_bytes_per_s_max = self.link_bytes_per_s_max.unwrap_or(below.link_bytes_per_s_max);
        check_bytes("link-rate", link_bytes_per_s_max, bounds::LINK_BYTES_PER_S)?;
        Ok(Budgets {
            interval_min,
            interval_max,
            pause_percent_max: u8::try_from(pause_percent).expect("a percent that was checked"),
            link_bytes_per_s_max,
            cpu_percent_max: u16::try_from(cpu_percent).expect("a percent that was checked"),
        })
    }

    /// Takes one `key=value`; whether the key was given before.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<bool, PairError> {
        let span = || parse_span(value);
        let percent = || {
            let number = value.strip_suffix('%').and_then(|number| number.parse::<u32>().ok());
            number.ok_or_else(|| PairError::Share(value.to_owned()))
        };
        Ok(match key {
            "interval-min" => self.interval_min.replace(span()?).is_some(),
            "interval-max" => self.interval_max.replace(span()?).is_some(),
            "pause-share" => self.pause_percent_max.replace(percent()?).is_some(),
            "cpu-share" => self.cpu_percent_max.replace(percent()?).is_some(),
            "link-rate" => self.link_bytes_per_s_max.replace(parse_size(value)?).is_some(),
            _ => {
                return Err(PairError::UnknownKey { key: key.to_owned(), keys: Self::KEYS.join(", ") });
            }
        })
    }
}

impl FromStr for BudgetSettings {
    type Err = PairError;

    /// Reads `key=value,key=value`, each key once, or the word `output`, which changes no budget.
    fn from_str(text: &str) -> Result<Self, PairError> {
        let mut budgets = Self::default();
        if text == "output" {
            return Ok(budgets);
        }
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| PairError::NoBudget(pair.to_owned()))?;
            if budgets.set(key, value)? {
                return Err(PairError::Twice(key.to_owned()));
            }
        }
        Ok(budgets)
    }
}

impl fmt::Display for BudgetSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [
            self.interval_min.map(|span| format!("interval-min={}", human::show_span(span))),
            self.interval_max.map(|span| format!("interval-max={}", human::show_span(span))),
            self.pause_percent_max.map(|percent| format!("pause-share={percent}%")),
            self.cpu_percent_max.map(|percent| format!("cpu-share={percent}%")),
            self.link_bytes_per_s_max.map(|bytes| format!("link-rate={bytes}")),
        ];
        let said: Vec<String> = said.into_iter().flatten().collect();
        f.write_str(if said.is_empty() { "output".into() } else { said.join(",") }.as_str())
    }
}

pub(super) fn budgets_from_text<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<BudgetSettings>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> PacingSettings {
        PacingSettings { interval: None, budgets: Some(text.parse().unwrap()) }
    }

    fn clock(ms: u64) -> PacingSettings {
        PacingSettings { interval: Some(Span::from_ms(ms)), budgets: None }
    }

    #[test]
    fn budgets_are_read_and_written_alike() {
        for text in
            ["output", "interval-min=1ms,interval-max=100ms,pause-share=10%,cpu-share=50%,link-rate=1048576"]
        {
            assert_eq!(text.parse::<BudgetSettings>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_decided_is_written_as_it_may_be_given() {
        for pacing in [Pacing::Output(BUDGETS), Pacing::Clock { interval: Span::from_us(500) }] {
            let text = PacingSettings::from(pacing).to_string();
            let other = Pacing::Clock { interval: Span::from_ms(1) };
            assert_eq!(text.parse::<PacingSettings>().unwrap().decide(other).unwrap(), pacing, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, says) in [
            ("", "is not KEY=VALUE"),
            ("clock", "write output"),
            ("interval=1ms", "not one of interval-min"),
            ("interval-max=1ms,interval-max=2ms", "twice"),
            ("interval-max=100", "such as 25ms"),
            ("pause-share=25", "such as 25%"),
            ("pause-share=-1%", "such as 25%"),
            ("link-rate=fast", "not a size"),
        ] {
            let error = text.parse::<BudgetSettings>().unwrap_err();
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_guests_word_stands_above_the_nodes() {
        let node = output("interval-max=50ms,pause-share=10%").decide(Pacing::Output(BUDGETS)).unwrap();
        let guest = output("interval-max=20ms").decide(node).unwrap();
        let Pacing::Output(budgets) = guest else { panic!("{guest:?}") };
        assert_eq!((budgets.interval_max, budgets.pause_percent_max), (Span::from_ms(20), 10));
        assert_eq!(clock(5).decide(node).unwrap(), Pacing::Clock { interval: Span::from_ms(5) });
        assert_eq!(PacingSettings::default().decide(node).unwrap(), node);
        let of_clock = output("output").decide(clock(5).decide(node).unwrap()).unwrap();
        assert_eq!(of_clock, Pacing::Output(BUDGETS));
    }

    #[test]
    fn layers_mix_where_they_are_of_one_kind() {
        let flags = output("pause-share=10%");
        assert_eq!(flags.over(output("interval-max=50ms")), output("interval-max=50ms,pause-share=10%"));
        assert_eq!(flags.over(clock(5)), flags);
        assert_eq!(clock(5).over(flags), clock(5));
        assert_eq!(PacingSettings::default().over(flags), flags);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let both = PacingSettings { interval: Some(Span::from_ms(1)), ..output("output") };
        for (settings, says) in [
            (both, "give one of them"),
            (clock(0), "interval is 0ns"),
            (output("interval-max=0ns"), "interval-max is 0ns"),
            (output("interval-min=0ns"), "interval-min is 0ns"),
            (output("interval-min=20ms,interval-max=10ms"), "longer than interval-max"),
            (output("pause-share=0%"), "pause-share is 0"),
            (output("pause-share=100%"), "pause-share is 100"),
            (output("cpu-share=0%"), "cpu-share is 0"),
            (output("link-rate=1"), "link-rate is 1 B"),
        ] {
            let error = settings.decide(Pacing::Output(BUDGETS)).unwrap_err().to_string();
            assert!(error.contains(says), "{settings:?}: {error}");
        }
        let shorter = output("interval-max=100us").decide(Pacing::Output(BUDGETS));
        assert!(shorter.is_ok(), "the default of the shortest gives way: {shorter:?}");
    }
}
