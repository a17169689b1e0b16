//! How a guest is protected, as an operator says it: `mode=colo`.

use serde::{Deserialize, Serialize};
use understudy_session::Mode;

/// How a guest is protected.
#[derive(clap::ValueEnum, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum ModeChoice {
    /// By checkpoints alone: output waits for the ack of its epoch.
    Remus,
    /// By a copy that runs on the peer as well: output leaves as soon as the copy has sent the same.
    Colo,
    /// As `colo` where that lets enough of the output out sooner, else as `remus`.
    Auto,
}

impl From<ModeChoice> for Mode {
    fn from(choice: ModeChoice) -> Self {
        match choice {
            ModeChoice::Remus => Self::Remus,
            ModeChoice::Colo => Self::Colo,
            ModeChoice::Auto => Self::Auto,
        }
    }
}
