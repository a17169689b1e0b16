//! What the lab does to the guests that run on this host, and to copies: [`Conditions`], as flags and as table `lab`.
//!
//! ```text
//!   --lab-diverge chance=0.01,what=value     diverge = "chance=0.01,what=value"
//!   --lab-suspend-takes 100ms                suspend_takes = "100ms"
//!   --lab-disks DIRECTORY                    disks = "DIRECTORY"
//! ```
//!
//! Not here: what it means (`understudy_lab::Conditions`), and the guests themselves (`guest/lab.rs`).

use super::human::parse_span;
use super::text::{divergence_from_text, span_from_text};
use super::{ConfigError, Hypervisor, bounds};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use understudy_lab::{Conditions, Divergence};
use understudy_session::{NodeName, Span};

/// Conditions as they may be given.
#[derive(clap::Args, Deserialize, Clone, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct LabSettings {
    /// Lab guests that run here differ from what they would do on another host: chance (from 0 to 1, for each frame that
    /// they get), what (value, delay, order or clock) [default: never].
    #[arg(long = "lab-diverge", value_name = "KEY=VALUE,...")]
    #[serde(deserialize_with = "divergence_from_text")]
    pub diverge: Option<Divergence>,
    /// How long a lab guest stands still to suspend, beside what the work takes: what a guest of emulated Xen takes
    /// [default: 0ms].
    #[arg(long = "lab-suspend-takes", value_name = "TIME", value_parser = parse_span)]
    #[serde(deserialize_with = "span_from_text")]
    pub suspend_takes: Option<Span>,
    /// Directory for the disks of lab guests, of those that run here and of those that are held here [default: none, and no
    /// guest with a disk].
    #[arg(long = "lab-disks", value_name = "DIRECTORY")]
    pub disks: Option<PathBuf>,
}

impl LabSettings {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            diverge: self.diverge.or(below.diverge),
            suspend_takes: self.suspend_takes.or(below.suspend_takes),
            disks: self.disks.or(below.disks),
        }
    }

    pub(super) fn decide(self, node: &NodeName, hypervisor: Hypervisor) -> Result<Conditions, ConfigError> {
        let is_of_lab = self.diverge.is_some() || self.suspend_takes.is_some() || self.disks.is_some();
        if hypervisor == Hypervisor::Xen && is_of_lab {
            return Err(ConfigError::Conflict(
                "lab-diverge, lab-suspend-takes and lab-disks are for guests of the lab, and this node's are Xen's \
                 (--hypervisor xen)"
                    .into(),
            ));
        }
        let suspend_takes = self.suspend_takes.unwrap_or(Span(0));
        bounds::check_span("lab-suspend-takes", suspend_takes, bounds::SUSPEND_TAKES)?;
        Ok(Conditions {
            divergence: self.diverge,
            suspend_takes: Duration::from(suspend_takes),
            seed: seed_of(node),
        })
    }
}

/// Two hosts of one guest draw differently, and one host the same again (FNV-1a).
fn seed_of(node: &NodeName) -> u64 {
    node.0
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_lab::What;

    fn decide(text: &str, node: &str) -> Result<Conditions, ConfigError> {
        toml::from_str::<LabSettings>(text).unwrap().decide(&NodeName(node.into()), Hypervisor::Lab)
    }

    #[test]
    fn hosts_differ_in_their_draws_and_share_what_they_are_told() {
        let text = "diverge = \"chance=0.5,what=delay\"\nsuspend_takes = \"100ms\"";
        let (a, b) = (decide(text, "a").unwrap(), decide(text, "b").unwrap());
        assert_eq!(a.divergence, Some(Divergence { chance: 0.5, what: What::Delay }));
        assert_eq!(a.suspend_takes, Duration::from_millis(100));
        assert_ne!(a.seed, b.seed);
        assert_eq!(a, Conditions { seed: a.seed, ..b });
        assert_eq!(decide("", "a").unwrap(), Conditions { seed: a.seed, ..Conditions::NONE });
    }

    #[test]
    fn what_is_none_is_told_with_what_would_be_one() {
        let read = |text: &str| toml::from_str::<LabSettings>(text);
        let error = read("diverge = \"chance=2\"").unwrap_err().to_string();
        assert!(error.contains("chance=0.01,what=value"), "{error}");
        let error = decide("suspend_takes = \"1h\"", "a").unwrap_err().to_string();
        assert!(error.contains("lab-suspend-takes"), "{error}");
        let on_xen = read("suspend_takes = \"1ms\"").unwrap().decide(&NodeName("a".into()), Hypervisor::Xen);
        assert!(on_xen.unwrap_err().to_string().contains("guests of the lab"));
    }
}
