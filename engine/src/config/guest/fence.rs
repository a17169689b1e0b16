//! Whether a guest's host is fenced before the guest is started elsewhere, as an operator says it: `fence=enforce`.

use serde::{Deserialize, Serialize};

/// What is done so that a guest never runs on two hosts, not even for a moment and unheard: `docs/FENCING.md`.
#[derive(clap::ValueEnum, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "lowercase")]
pub enum FenceChoice {
    /// Nothing: held output is enough.
    #[default]
    Off,
    /// The host's lease is renewed, and the log says when the host would have been reset.
    Log,
    /// The host's watchdog resets it before the guest is started elsewhere.
    Enforce,
}
