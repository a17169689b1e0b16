//! How copies that run are used, as flags and as table `colo`: when a frame has waited for the copy's for too long, how often a
//! checkpoint is made all the same, and when mode `auto` does without.
//!
//! Not here: which guests have a copy (`mode` of the guest), and what it means (`docs/COLO.md`).

use super::human::parse_span;
use super::text::span_from_text;
use super::{ConfigError, bounds};
use serde::Deserialize;
use understudy_colo::comparer;
use understudy_session::Span;
use understudy_session::colo::{AfterCrash, Colo};

/// What becomes of a takeover when the copy, some of whose output was seen, has crashed.
#[derive(clap::ValueEnum, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum AfterCrashChoice {
    /// A person decides: clients may have seen what the image does not contain.
    Refuse,
    /// The guest is started from the image all the same.
    FromCommit,
}

/// How copies are used, as it may be given.
#[derive(clap::Args, Deserialize, Clone, Copy, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct ColoSettings {
    /// A frame waits for the copy's so long at most, before a checkpoint is made for it [default: 50ms].
    #[arg(long = "colo-match-max", value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub match_max: Option<Span>,
    /// Between a checkpoint and the next one that a difference asks for, the guest runs so long at least [default: 10ms].
    #[arg(long = "colo-gap-min", value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub gap_min: Option<Span>,
    /// While a copy is live and nothing differs, a checkpoint is made so often [default: 5s].
    #[arg(long = "colo-period", value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub period: Option<Span>,
    /// Mode `auto` looks back so far [default: 2s].
    #[arg(long = "colo-window", value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub window: Option<Span>,
    /// Mode `auto` does without a copy where less of what leaves does so by a match, in percent [default: 50].
    #[arg(long = "colo-share-min", value_name = "PERCENT")]
    pub share_min: Option<u32>,
    /// For how long it does without at first; twice as long each time [default: 5s].
    #[arg(long = "colo-rest", value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub rest: Option<Span>,
    /// On the host that takes over, where the copy has crashed: a person decides, or the guest starts from its last checkpoint,
    /// which may be older than what clients have seen [default: refuse].
    #[arg(long = "colo-after-crash", value_name = "POLICY")]
    pub after_crash: Option<AfterCrashChoice>,
}

/// How copies are used, decided.
#[derive(Clone, Debug, Default)]
pub struct ColoConfig {
    /// The sessions', but for the mode.
    pub session: Colo,
    /// How much is compared, and for how long it may wait.
    pub comparer: comparer::Limits,
    /// Where a copy has crashed.
    pub after_crash: AfterCrash,
}

impl ColoSettings {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            match_max: self.match_max.or(below.match_max),
            gap_min: self.gap_min.or(below.gap_min),
            period: self.period.or(below.period),
            window: self.window.or(below.window),
            share_min: self.share_min.or(below.share_min),
            rest: self.rest.or(below.rest),
            after_crash: self.after_crash.or(below.after_crash),
        }
    }

    pub(super) fn decide(self) -> Result<ColoConfig, ConfigError> {
        let ColoConfig { session, comparer, .. } = ColoConfig::default();
        let share_min = self.share_min.unwrap_or(u32::from(session.share_min_percent));
        bounds::check_count("colo-share-min", share_min, bounds::SHARE_PERCENT)?;
        let match_max = self.match_max.unwrap_or(comparer.match_max);
        let comparer = comparer::Limits { match_max, ..comparer };
        let rest = self.rest.unwrap_or(session.rest);
        let session = Colo {
            gap_min: self.gap_min.unwrap_or(session.gap_min),
            period: self.period.unwrap_or(session.period),
            window: self.window.unwrap_or(session.window),
            share_min_percent: u8::try_from(share_min).unwrap_or(u8::MAX),
            rest_max: session.rest_max.max(rest),
            rest,
            ..session
        };
        bounds::check_span("colo-match-max", match_max, bounds::MATCH_MAX)?;
        bounds::check_span("colo-gap-min", session.gap_min, bounds::MATCH_MAX)?;
        bounds::check_span("colo-period", session.period, bounds::COLO_SPAN)?;
        bounds::check_span("colo-window", session.window, bounds::COLO_SPAN)?;
        bounds::check_span("colo-rest", session.rest, bounds::COLO_SPAN)?;
        let after_crash = match self.after_crash {
            Some(AfterCrashChoice::FromCommit) => AfterCrash::FromCommit,
            Some(AfterCrashChoice::Refuse) | None => AfterCrash::Refuse,
        };
        Ok(ColoConfig { session, comparer, after_crash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(text: &str) -> Result<ColoConfig, ConfigError> {
        toml::from_str::<ColoSettings>(text).unwrap().decide()
    }

    #[test]
    fn what_is_said_counts_and_the_rest_is_as_without() {
        let (given, plain) = (decide("match_max = \"20ms\"\nshare_min = 80").unwrap(), decide("").unwrap());
        assert_eq!((given.comparer.match_max, given.session.share_min_percent), (Span::from_ms(20), 80));
        assert_eq!(
            (given.session.period, plain.session.period),
            (Span::from_ms(5_000), Span::from_ms(5_000))
        );
        assert_eq!(plain.after_crash, AfterCrash::Refuse);
        assert_eq!(decide("after_crash = \"from-commit\"").unwrap().after_crash, AfterCrash::FromCommit);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, says) in [
            ("match_max = \"1h\"", "colo-match-max"),
            ("period = \"1ms\"", "colo-period"),
            ("share_min = 101", "colo-share-min"),
            ("rest = \"0ms\"", "colo-rest"),
        ] {
            let error = decide(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
