//! The tables `timing` and `limits` of a node's configuration, which are flags as well: what may be said in them, the
//! defaults, and what fits each other.
//!
//! Not here: how small and large each may be (`bounds`), and what this host has.

use super::bounds::{self, check_bytes, check_count, check_span};
use super::human::{parse_size, parse_span};
use super::pacing::{BUDGETS, BudgetSettings, PacingSettings, budgets_from_text};
use super::text::{size_from_text, span_from_text};
use super::{ConfigError, Limits, Timing};
use crate::guest::Keep;
use serde::Deserialize;
use std::num::NonZeroU64;
use understudy_checkpoint::epoch::KeepLimits;
use understudy_session::Span;
use understudy_session::lease::Terms;
use understudy_session::primary::{Pacing, SlowPolicy};

/// Times as they may be given.
#[derive(clap::Args, Deserialize, Clone, Copy, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct TimingSettings {
    /// Checkpoints by a fixed clock instead of by output: from the end of one pause to the next.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub interval: Option<Span>,
    /// Checkpoints by output that waits, within budgets: interval-min, interval-max (times), pause-share (of the guest's
    /// time), cpu-share (of a processor), link-rate (bytes a second) [default:
    /// interval-min=100us,interval-max=200ms,pause-share=25%,cpu-share=100%,link-rate=1G].
    #[arg(long, value_name = "KEY=VALUE,...")]
    #[serde(deserialize_with = "budgets_from_text")]
    pub pacing: Option<BudgetSettings>,
    /// A sign of life is sent when nothing else was for this long [default: 50ms].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub heartbeat: Option<Span>,
    /// A peer not heard for this long is lost [default: 300ms].
    #[arg(long, alias = "silence", value_name = "TIME", value_parser = parse_span)]
    #[serde(alias = "silence", deserialize_with = "span_from_text")]
    pub silence_max: Option<Span>,
    /// How long a primary waits for an ended link to come back [default: 100ms].
    #[arg(long, alias = "grace", value_name = "TIME", value_parser = parse_span)]
    #[serde(alias = "grace", deserialize_with = "span_from_text")]
    pub link_grace: Option<Span>,
    /// The same for a secondary; longer than --link-grace [default: 250ms].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub takeover_grace: Option<Span>,
    /// With neither peer nor witness, output is held this long before the guest is paused [default: 5s].
    #[arg(long, alias = "hold", value_name = "TIME", value_parser = parse_span)]
    #[serde(alias = "hold", deserialize_with = "span_from_text")]
    pub hold_max: Option<Span>,
    /// An unanswered question to the witness is repeated after this long [default: 200ms].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub witness_retry: Option<Span>,
    /// An epoch not acked for this long is slow [default: 2s].
    #[arg(long, alias = "slow", value_name = "TIME", value_parser = parse_span)]
    #[serde(alias = "slow", deserialize_with = "span_from_text")]
    pub slow_max: Option<Span>,
    /// What to do about slow epochs [default: stretch].
    #[arg(long, value_name = "POLICY")]
    pub slow_policy: Option<SlowChoice>,
    /// Where guests have fence=enforce: this host is reset so long after the last lease that its witness confirmed [default: 5s].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub fence_watchdog: Option<Span>,
}

/// [`SlowPolicy`] as it may be given.
#[derive(clap::ValueEnum, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum SlowChoice {
    /// Stay protected; epochs get longer and output waits.
    Stretch,
    /// Go on unprotected, and protect again later.
    Unprotect,
}

/// Bounds as they may be given.
#[derive(clap::Args, Deserialize, Clone, Copy, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Epochs captured and not yet acked, at most [default: 8].
    #[arg(long, alias = "in-flight", value_name = "COUNT")]
    #[serde(alias = "in_flight")]
    pub in_flight_max: Option<u32>,
    /// Staging of each protected guest: what one pause can copy [default: 64M].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub staging: Option<u64>,
    /// Shadow of each protected guest, taken as pages come; beyond it they travel whole [default: 256M].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub shadow: Option<u64>,
    /// Buffer of each guest held as secondary: epochs complete and not yet committed [default: 128M].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub epoch_buffer: Option<u64>,
    /// Output of each guest that may wait for acks [default: 32M].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub held_output: Option<u64>,
    /// Memory to compare a guest with (find-changes=compare), as much as it has, at most [default: 1G].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub compare_max: Option<u64>,
    /// Images of all guests held as secondary together, at most [default: what the host has available].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub image_max: Option<u64>,
    /// What all full syncs of this node together put on its links in a second, at most [default: no limit].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub full_sync_rate: Option<u64>,
    /// What a full copy of a guest's disk reads in a second, at most [default: as much as disk and link give].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub disk_sync_rate: Option<u64>,
    /// Epochs of the past that are kept of each guest held as secondary, to write them to files (`restore`) [default: 0].
    #[arg(long, value_name = "COUNT")]
    pub keep_epochs: Option<u32>,
    /// Time from one kept epoch to the next [default: 1s].
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub keep_every: Option<Span>,
    /// Memory for all that is kept of a guest; the oldest epochs go first [default: 1G].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    #[serde(deserialize_with = "size_from_text")]
    pub keep_bytes_max: Option<u64>,
}

impl TimingSettings {
    pub(super) fn over(self, below: Self) -> Self {
        let pacing = self.pacing().over(below.pacing());
        Self {
            interval: pacing.interval,
            pacing: pacing.budgets,
            heartbeat: self.heartbeat.or(below.heartbeat),
            silence_max: self.silence_max.or(below.silence_max),
            link_grace: self.link_grace.or(below.link_grace),
            takeover_grace: self.takeover_grace.or(below.takeover_grace),
            hold_max: self.hold_max.or(below.hold_max),
            witness_retry: self.witness_retry.or(below.witness_retry),
            slow_max: self.slow_max.or(below.slow_max),
            slow_policy: self.slow_policy.or(below.slow_policy),
            fence_watchdog: self.fence_watchdog.or(below.fence_watchdog),
        }
    }

    fn pacing(&self) -> PacingSettings {
        PacingSettings { interval: self.interval, budgets: self.pacing }
    }

    pub(super) fn decide(self) -> Result<Timing, ConfigError> {
        let link_grace = self.link_grace.unwrap_or(Span::from_ms(100));
        let watchdog = self.fence_watchdog.unwrap_or(Span::from_ms(5_000));
        check_span("fence-watchdog", watchdog, bounds::FENCE_WATCHDOG)?;
        let timing = Timing {
            fence: Terms::new(watchdog).map_err(|error| ConfigError::Conflict(error.to_string()))?,
            pacing: self.pacing().decide(Pacing::Output(BUDGETS))?,
            heartbeat: self.heartbeat.unwrap_or(Span::from_ms(50)),
            silence_max: self.silence_max.unwrap_or(Span::from_ms(300)),
            link_grace,
            takeover_grace: self.takeover_grace.unwrap_or(Span(link_grace.0.saturating_mul(5) / 2)),
            hold_max: self.hold_max.unwrap_or(Span::from_ms(5_000)),
            witness_retry: self.witness_retry.unwrap_or(Span::from_ms(200)),
            slow_max: self.slow_max.unwrap_or(Span::from_ms(2_000)),
            slow_policy: match self.slow_policy {
                Some(SlowChoice::Unprotect) => SlowPolicy::Unprotect,
                Some(SlowChoice::Stretch) | None => SlowPolicy::Stretch,
            },
        };
        check_span("heartbeat", timing.heartbeat, bounds::HEARTBEAT)?;
        check_span("silence-max", timing.silence_max, bounds::SILENCE_MAX)?;
        check_span("link-grace", timing.link_grace, bounds::LINK_GRACE)?;
        check_span("takeover-grace", timing.takeover_grace, bounds::TAKEOVER_GRACE)?;
        check_span("hold-max", timing.hold_max, bounds::HOLD_MAX)?;
        check_span("witness-retry", timing.witness_retry, bounds::WITNESS_RETRY)?;
        check_span("slow-max", timing.slow_max, bounds::SLOW_MAX)?;
        if timing.silence_max.0 < timing.heartbeat.0.saturating_mul(3) {
            return Err(ConfigError::Conflict(
                "silence-max must be at least three heartbeats, or one late packet would be a dead host"
                    .into(),
            ));
        }
        if timing.takeover_grace <= timing.link_grace {
            return Err(ConfigError::Conflict(
                "takeover-grace must be longer than link-grace, or a cut would move guests between healthy hosts"
                    .into(),
            ));
        }
        Ok(timing)
    }
}

impl LimitSettings {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            in_flight_max: self.in_flight_max.or(below.in_flight_max),
            staging: self.staging.or(below.staging),
            shadow: self.shadow.or(below.shadow),
            epoch_buffer: self.epoch_buffer.or(below.epoch_buffer),
            held_output: self.held_output.or(below.held_output),
            compare_max: self.compare_max.or(below.compare_max),
            image_max: self.image_max.or(below.image_max),
            full_sync_rate: self.full_sync_rate.or(below.full_sync_rate),
            disk_sync_rate: self.disk_sync_rate.or(below.disk_sync_rate),
            keep_epochs: self.keep_epochs.or(below.keep_epochs),
            keep_every: self.keep_every.or(below.keep_every),
            keep_bytes_max: self.keep_bytes_max.or(below.keep_bytes_max),
        }
    }

    pub(super) fn decide(self) -> Result<Limits, ConfigError> {
        let default = Limits::default();
        let limits = Limits {
            in_flight_max: self.in_flight_max.unwrap_or(default.in_flight_max),
            staging_bytes: self.staging.unwrap_or(default.staging_bytes),
            shadow_bytes: self.shadow.unwrap_or(default.shadow_bytes),
            epoch_buffer_bytes: self.epoch_buffer.unwrap_or(default.epoch_buffer_bytes),
            held_output_bytes: self.held_output.unwrap_or(default.held_output_bytes),
            compare_bytes_max: self.compare_max.unwrap_or(default.compare_bytes_max),
            image_bytes_max: self.image_max.unwrap_or(default.image_bytes_max),
            full_sync_bytes_per_s: self.full_sync_rate.and_then(NonZeroU64::new),
            disk_sync_bytes_per_s: self.disk_sync_rate.unwrap_or(default.disk_sync_bytes_per_s),
            keep: self.decide_keep()?,
        };
        check_count("in-flight-max", limits.in_flight_max, bounds::IN_FLIGHT_MAX)?;
        check_bytes("staging", limits.staging_bytes, bounds::BUFFER_BYTES)?;
        check_bytes("epoch-buffer", limits.epoch_buffer_bytes, bounds::BUFFER_BYTES)?;
        check_bytes("held-output", limits.held_output_bytes, bounds::BUFFER_BYTES)?;
        check_bytes("shadow", limits.shadow_bytes, bounds::CACHE_BYTES)?;
        check_bytes("compare-max", limits.compare_bytes_max, bounds::CACHE_BYTES)?;
        if let Some(rate) = self.full_sync_rate {
            check_bytes("full-sync-rate", rate, bounds::FULL_SYNC_BYTES_PER_S)?;
        }
        if let Some(bytes_per_s) = self.disk_sync_rate {
            check_bytes("disk-sync-rate", bytes_per_s, bounds::DISK_SYNC_RATE)?;
        }
        Ok(limits)
    }

    fn decide_keep(self) -> Result<Keep, ConfigError> {
        let Keep { limits, every } = Keep::default();
        let epochs_max = self.keep_epochs.unwrap_or(limits.epochs_max as u32);
        let bytes_max = self.keep_bytes_max.unwrap_or(limits.bytes_max as u64);
        let every = self.keep_every.unwrap_or(Span(every.as_nanos() as u64));
        check_count("keep-epochs", epochs_max, bounds::KEPT_EPOCHS)?;
        check_span("keep-every", every, bounds::KEEP_EVERY)?;
        check_bytes("keep-bytes-max", bytes_max, bounds::BUFFER_BYTES)?;
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Ok(Keep { limits: KeepLimits { epochs_max: epochs_max as usize, bytes_max }, every: every.into() })
    }
}
