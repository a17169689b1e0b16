//! How copies that run are used, as flags and as table `colo`: when a frame has waited for the copy's for too long, how often a
//! checkpoint is made all the same, and when mode `auto` does without.
//!
//! Not here: which guests have a copy (`mode` of the guest), and what it means (`docs/COLO.md`).

use super::human::{parse_size, parse_span};
use super::text::{size_from_text, span_from_text};
use super::{ConfigError, bounds};
use crate::guest::CopyLimits;
use serde::Deserialize;
use understudy_colo::{comparer, mirror, unreleased};
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
    /// Mode `auto` concludes nothing from less frames than this in a window [default: 20].
    #[arg(long = "colo-frames-min", value_name = "N")]
    pub frames_min: Option<u32>,
    /// Flows (connections, and the like) of a guest that are compared at a time [default: 65536].
    #[arg(long = "colo-flows-max", value_name = "N")]
    pub flows_max: Option<u32>,
    /// Frames that wait for their counterparts, and frames of a copy that are not known to have left [default: 65536].
    #[arg(long = "colo-frames-max", value_name = "N")]
    pub frames_max: Option<u32>,
    /// Frames that a guest has heard and its copy may have to be told again [default: 262144].
    #[arg(long = "colo-input-frames-max", value_name = "N")]
    pub input_frames_max: Option<u32>,
    /// Their bytes [default: 64M].
    #[arg(long = "colo-input-max", value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub input_max: Option<u64>,
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
    /// How much waits where, and for how long.
    pub limits: CopyLimits,
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
            frames_min: self.frames_min.or(below.frames_min),
            flows_max: self.flows_max.or(below.flows_max),
            frames_max: self.frames_max.or(below.frames_max),
            input_frames_max: self.input_frames_max.or(below.input_frames_max),
            input_max: self.input_max.or(below.input_max),
            rest: self.rest.or(below.rest),
            after_crash: self.after_crash.or(below.after_crash),
        }
    }

    pub(super) fn decide(self) -> Result<ColoConfig, ConfigError> {
        let ColoConfig { session, limits, .. } = ColoConfig::default();
        let share_min = self.share_min.unwrap_or(u32::from(session.share_min_percent));
        bounds::check_count("colo-share-min", share_min, bounds::SHARE_PERCENT)?;
        let match_max = self.match_max.unwrap_or(limits.comparer.match_max);
        let limits = self.decide_limits(match_max, limits)?;
        let frames_min = self.frames_min.unwrap_or(u32::try_from(session.frames_min).unwrap_or(u32::MAX));
        bounds::check_count("colo-frames-min", frames_min, bounds::FRAMES_MIN)?;
        let rest = self.rest.unwrap_or(session.rest);
        let session = Colo {
            gap_min: self.gap_min.unwrap_or(session.gap_min),
            period: self.period.unwrap_or(session.period),
            window: self.window.unwrap_or(session.window),
            share_min_percent: u8::try_from(share_min).unwrap_or(u8::MAX),
            frames_min: u64::from(frames_min),
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
        Ok(ColoConfig { session, limits, after_crash })
    }

    fn decide_limits(self, match_max: Span, usual: CopyLimits) -> Result<CopyLimits, ConfigError> {
        let count = |name, given: Option<u32>, usual: usize, bounds| {
            let Some(count) = given else { return Ok(usual) };
            bounds::check_count(name, count, bounds).map(|()| count as usize)
        };
        let CopyLimits { comparer, input, sent } = usual;
        let flows_max = count("colo-flows-max", self.flows_max, comparer.flows_max, bounds::FLOWS)?;
        let frames_max = count("colo-frames-max", self.frames_max, comparer.frames_max, bounds::FRAMES)?;
        let input_frames_max =
            count("colo-input-frames-max", self.input_frames_max, input.frames_max, bounds::FRAMES)?;
        let input_max = self.input_max.unwrap_or(input.bytes_max as u64);
        bounds::check_bytes("colo-input-max", input_max, bounds::INPUT_BYTES)?;
        Ok(CopyLimits {
            comparer: comparer::Limits { match_max, flows_max, frames_max, ..comparer },
            input: mirror::Limits {
                frames_max: input_frames_max,
                bytes_max: usize::try_from(input_max).unwrap_or(usize::MAX),
            },
            // What is told of the copy's frames is counted by the comparer one by one.
            sent: unreleased::Limits { frames_max, ..sent },
        })
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
        assert_eq!(
            (given.limits.comparer.match_max, given.session.share_min_percent),
            (Span::from_ms(20), 80)
        );
        assert_eq!(
            (given.session.period, plain.session.period),
            (Span::from_ms(5_000), Span::from_ms(5_000))
        );
        assert_eq!(plain.after_crash, AfterCrash::Refuse);
        assert_eq!(decide("after_crash = \"from-commit\"").unwrap().after_crash, AfterCrash::FromCommit);
    }

    #[test]
    fn limits_reach_where_they_hold() {
        let text =
            "flows_max = 100\nframes_max = 2000\ninput_frames_max = 3000\ninput_max = \"5M\"\nframes_min = 7";
        let ColoConfig { session, limits, .. } = decide(text).unwrap();
        assert_eq!((limits.comparer.flows_max, limits.comparer.frames_max), (100, 2000));
        assert_eq!(limits.sent.frames_max, 2000);
        assert_eq!((limits.input.frames_max, limits.input.bytes_max), (3000, 5 << 20));
        assert_eq!(session.frames_min, 7);
        let plain = decide("").unwrap();
        assert_eq!((plain.limits, plain.session.frames_min), (CopyLimits::default(), 20));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, says) in [
            ("match_max = \"1h\"", "colo-match-max"),
            ("period = \"1ms\"", "colo-period"),
            ("share_min = 101", "colo-share-min"),
            ("rest = \"0ms\"", "colo-rest"),
            ("frames_min = 0", "colo-frames-min"),
            ("flows_max = 1", "colo-flows-max"),
            ("frames_max = 100", "colo-frames-max"),
            ("input_frames_max = 2000000", "colo-input-frames-max"),
            ("input_max = \"1K\"", "colo-input-max"),
        ] {
            let error = decide(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
