//! How small and how large a setting may be, and why: what no host can have, and what no guest can live with, is a slip
//! of the pen that is told before it costs anything.
//!
//! Two kinds: bounds that hold everywhere, checked when a configuration is decided or a request comes in; and what this
//! host has ([`HostMemory`]), checked when a node starts. Which settings fit each other is `settings`.

use super::human::{show_bytes, show_span};
use super::{ConfigError, NodeConfig};
use std::ops::RangeInclusive;
use understudy_session::Span;
use understudy_session::lease::{WATCHDOG_MAX, WATCHDOG_MIN};

const fn ms(ms: u64) -> Span {
    Span::from_ms(ms)
}

/// The guest has to run between two pauses; output of an epoch waits this long at least.
pub const INTERVAL: RangeInclusive<Span> = Span::from_us(100)..=ms(60_000);
/// Of all time, that a guest may stand still.
pub(super) const PAUSE_PERCENT: RangeInclusive<u32> = 1..=90;
/// Of one processor.
pub(super) const CPU_PERCENT: RangeInclusive<u32> = 1..=6_400;
pub(super) const LINK_BYTES_PER_S: RangeInclusive<u64> = 1 << 10..=TIB;
pub(super) const HEARTBEAT: RangeInclusive<Span> = ms(1)..=ms(60_000);
pub(super) const SILENCE_MAX: RangeInclusive<Span> = ms(3)..=ms(600_000);
pub(super) const LINK_GRACE: RangeInclusive<Span> = Span(0)..=ms(600_000);
pub(super) const TAKEOVER_GRACE: RangeInclusive<Span> = Span(1)..=ms(1_500_000);
pub(super) const HOLD_MAX: RangeInclusive<Span> = ms(100)..=ms(3_600_000);
pub(super) const WITNESS_RETRY: RangeInclusive<Span> = ms(10)..=ms(60_000);
pub(super) const SLOW_MAX: RangeInclusive<Span> = ms(100)..=ms(600_000);
pub(super) const FENCE_WATCHDOG: RangeInclusive<Span> = WATCHDOG_MIN..=WATCHDOG_MAX;
pub const SUSPEND_TAKES: RangeInclusive<Span> = ms(0)..=ms(10_000);

/// A client waits so long for each frame that differs.
pub(super) const MATCH_MAX: RangeInclusive<Span> = ms(1)..=ms(10_000);
pub(super) const COLO_SPAN: RangeInclusive<Span> = ms(100)..=ms(3_600_000);
pub(super) const SHARE_PERCENT: RangeInclusive<u32> = 0..=100;
pub(super) const FRAMES_MIN: RangeInclusive<u32> = 1..=1_000_000;
/// No more connections than a rewriter has room for, and the link carries.
pub(super) const FLOWS: RangeInclusive<u32> = 64..=65_536;
/// A card holds a thousand frames.
pub(super) const FRAMES: RangeInclusive<u32> = 1_024..=1_048_576;
pub(super) const INPUT_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 30;

/// Each may take a staging buffer's pages and a slot at the secondary.
pub(super) const IN_FLIGHT_MAX: RangeInclusive<u32> = 1..=256;

const TIB: u64 = 1 << 40;
/// Less would never end: a guest changes faster.
pub(super) const FULL_SYNC_BYTES_PER_S: RangeInclusive<u64> = 64 << 10..=TIB;
pub(super) const BUFFER_BYTES: RangeInclusive<u64> = 1 << 20..=TIB;
pub(super) const CACHE_BYTES: RangeInclusive<u64> = 0..=TIB;
pub(super) const DISK_SYNC_RATE: RangeInclusive<u64> = 1 << 16..=TIB;

/// `status` lists them.
pub(super) const KEPT_EPOCHS: RangeInclusive<u32> = 0..=1_000;
pub(super) const KEEP_EVERY: RangeInclusive<Span> = ms(10)..=ms(86_400_000);

/// Checks a length of time.
pub fn check_span(name: &'static str, span: Span, bounds: RangeInclusive<Span>) -> Result<(), ConfigError> {
    if bounds.contains(&span) {
        return Ok(());
    }
    let (least, most) = bounds.into_inner();
    Err(out_of_bounds(name, show_span(span), show_span(least), show_span(most)))
}

pub(super) fn check_bytes(
    name: &'static str,
    bytes: u64,
    bounds: RangeInclusive<u64>,
) -> Result<(), ConfigError> {
    if bounds.contains(&bytes) {
        return Ok(());
    }
    let (least, most) = bounds.into_inner();
    Err(out_of_bounds(name, show_bytes(bytes), show_bytes(least), show_bytes(most)))
}

pub(super) fn check_count(
    name: &'static str,
    count: u32,
    bounds: RangeInclusive<u32>,
) -> Result<(), ConfigError> {
    if bounds.contains(&count) {
        return Ok(());
    }
    let (least, most) = bounds.into_inner();
    Err(out_of_bounds(name, count.to_string(), least.to_string(), most.to_string()))
}

fn out_of_bounds(name: &'static str, given: String, least: String, most: String) -> ConfigError {
    ConfigError::OutOfBounds { name, given, least, most }
}

/// Memory of this host, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostMemory {
    pub total: u64,
    /// What can be had without taking it from anybody.
    pub available: u64,
}

impl HostMemory {
    /// Asks the kernel. `None` where it does not say, and nothing can be checked.
    pub fn of_this_host() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
    }

    fn parse(meminfo: &str) -> Option<Self> {
        let bytes = |key: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { total: bytes("MemTotal")?, available: bytes("MemAvailable")? })
    }
}

impl NodeConfig {
    /// Refuses what this host cannot have. The kernel would grant it, and kill somebody once it is used.
    pub fn check_memory(&self, memory: HostMemory) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let sizes = [
            ("staging", limits.staging_bytes),
            ("shadow", limits.shadow_bytes),
            ("epoch-buffer", limits.epoch_buffer_bytes),
            ("held-output", limits.held_output_bytes),
            ("compare-max", limits.compare_bytes_max),
        ];
        let defaults = super::Limits::default();
        let largest_default = defaults.compare_bytes_max;
        for (name, bytes) in sizes {
            // A small host may have less than a default, which is a bound and not what is taken.
            if bytes > memory.total.max(largest_default) {
                return Err(ConfigError::Conflict(format!(
                    "{name} is {}, and this host has {} of memory; give less",
                    show_bytes(bytes),
                    show_bytes(memory.total)
                )));
            }
        }
        let guests =
            self.guests.lab().iter().fold(0_u64, |sum, guest| sum.saturating_add(guest.memory_bytes));
        if guests > memory.available {
            return Err(ConfigError::Conflict(format!(
                "The guests take {} of memory, and this host has {} available; give them less, or end other programs",
                show_bytes(guests),
                show_bytes(memory.available)
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn what_is_out_of_bounds_is_told_with_the_bounds() {
        let error = check_span("interval", Span(0), INTERVAL).unwrap_err().to_string();
        assert_eq!(error, "interval is 0ns; it may be from 100us to 60s");
        assert!(check_span("interval", Span(u64::MAX), INTERVAL).is_err());
        assert!(check_span("interval", Span::from_ms(25), INTERVAL).is_ok());
        let error = check_count("in-flight-max", 4_000_000_000, IN_FLIGHT_MAX).unwrap_err().to_string();
        assert!(error.contains("from 1 to 256"), "{error}");
        assert!(check_bytes("staging", 4096, BUFFER_BYTES).is_err());
    }

    #[test]
    fn what_the_host_does_not_have_is_refused() {
        let meminfo = "MemTotal:       24000000 kB\nMemFree: 1 kB\nMemAvailable:   8000000 kB\n";
        let memory = HostMemory::parse(meminfo).unwrap();
        assert_eq!(memory, HostMemory { total: 24_576_000_000, available: 8_192_000_000 });
        let with = |more: &str| {
            let text = format!("node = \"a\"\nlisten = \"127.0.0.1:1\"\npeers.b = \"127.0.0.1:2\"\n{more}");
            toml::from_str::<Settings>(&text).unwrap().decide().unwrap().check_memory(memory)
        };
        let guest = |size: &str| {
            with(&format!(
                "[[guest]]\nname = \"g\"\nmac = \"52:54:00:00:00:01\"\nip = \"10.0.0.1\"\nmemory = {size:?}"
            ))
        };
        assert!(with("").is_ok() && guest("256M").is_ok());
        assert!(guest("64G").unwrap_err().to_string().contains("available"));
        assert!(with("[limits]\nstaging = \"64G\"").unwrap_err().to_string().contains("staging is 64.0 GiB"));
        assert!(HostMemory::parse("MemTotal: many").is_none());
    }

    /// The table for operators, as it has to be.
    fn documented() -> String {
        let span = |bounds: RangeInclusive<Span>| (show_span(*bounds.start()), show_span(*bounds.end()));
        let bytes = |bounds: RangeInclusive<u64>| (show_bytes(*bounds.start()), show_bytes(*bounds.end()));
        let percent =
            |bounds: RangeInclusive<u32>| (format!("{}%", bounds.start()), format!("{}%", bounds.end()));
        let count = |bounds: RangeInclusive<u32>| (bounds.start().to_string(), bounds.end().to_string());
        let rows = [
            ("`interval`, `interval-min`, `interval-max`", span(INTERVAL)),
            ("`pause-share`", percent(PAUSE_PERCENT)),
            ("`cpu-share`", percent(CPU_PERCENT)),
            ("`link-rate`", bytes(LINK_BYTES_PER_S)),
            ("`heartbeat`", span(HEARTBEAT)),
            ("`silence-max`", span(SILENCE_MAX)),
            ("`link-grace`", span(LINK_GRACE)),
            ("`takeover-grace`", span(TAKEOVER_GRACE)),
            ("`hold-max`", span(HOLD_MAX)),
            ("`witness-retry`", span(WITNESS_RETRY)),
            ("`slow-max`", span(SLOW_MAX)),
            ("`fence-watchdog`", span(FENCE_WATCHDOG)),
            ("`lab-suspend-takes`", span(SUSPEND_TAKES)),
            ("`colo-match-max`, `colo-gap-min`", span(MATCH_MAX)),
            ("`colo-period`, `colo-window`, `colo-rest`", span(COLO_SPAN)),
            ("`colo-share-min`", percent(SHARE_PERCENT)),
            ("`colo-frames-min`", count(FRAMES_MIN)),
            ("`colo-flows-max`", count(FLOWS)),
            ("`colo-frames-max`, `colo-input-frames-max`", count(FRAMES)),
            ("`colo-input-max`", bytes(INPUT_BYTES)),
            ("`in-flight-max`", count(IN_FLIGHT_MAX)),
            ("`staging`, `epoch-buffer`, `held-output`", bytes(BUFFER_BYTES)),
            ("`shadow`, `compare-max`", bytes(CACHE_BYTES)),
            ("`full-sync-rate`", bytes(FULL_SYNC_BYTES_PER_S)),
            ("`disk-sync-rate`, in a second", bytes(DISK_SYNC_RATE)),
            ("`keep-epochs`", count(KEPT_EPOCHS)),
            ("`keep-every`", span(KEEP_EVERY)),
            ("`keep-bytes-max`", bytes(BUFFER_BYTES)),
        ];
        rows.iter().map(|(setting, (least, most))| format!("| {setting} | {least} | {most} |\n")).collect()
    }

    #[test]
    fn the_bounds_are_those_that_operators_are_told() {
        let table = documented();
        let document = include_str!("../../../docs/SETTINGS.md");
        assert!(document.contains(&table), "docs/SETTINGS.md should say:\n{table}");
    }
}
