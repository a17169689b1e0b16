//! Why a drill could not go on.

use super::sightings::HostId;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a drill could not go on. All but [`Interrupted`](Self::Interrupted) and [`System`](Self::System) are
/// findings about the engine: the round they end has failed.
#[derive(thiserror::Error, Debug)]
pub enum DrillError {
    /// Ctrl-C, or a request to end.
    #[error("Ended by {0}; no process of the drill is left")]
    Interrupted(&'static str),
    /// What had to happen did not.
    #[error("Waited {} s in vain: {what}", limit.as_secs())]
    TookTooLong {
        /// For what.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// A process ended that should not have.
    #[error("{who} ended by itself ({status}); its log says why: {log}")]
    ProcessEnded {
        /// Which.
        who: String,
        /// How.
        status: ExitStatus,
        /// Where its log is.
        log: PathBuf,
    },
    /// The engine did something that this failure must not lead to.
    #[error("{0}")]
    WrongEnding(String),
    /// A host's engine refused a command.
    #[error("Host {host} refused to {wish}: {reason}")]
    Refused {
        /// Which.
        host: HostId,
        /// What was asked.
        wish: &'static str,
        /// Its words.
        reason: String,
    },
    /// The system refused something that the drill itself needs.
    #[error("Cannot {attempt}")]
    System {
        /// What was attempted.
        attempt: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl DrillError {
    /// For `map_err`: the system refused to `attempt`.
    pub fn system(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::System { attempt, source }
    }

    /// Whether the drill itself cannot go on, as against a finding about the engine.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Interrupted(_) | Self::System { .. })
    }
}
