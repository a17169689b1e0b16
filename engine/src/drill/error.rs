//! Why a drill could not continue.

use super::sightings::HostId;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a drill could not continue. All but [`Interrupted`](Self::Interrupted) and [`System`](Self::System) are findings
/// about the engine: they fail the round.
#[derive(thiserror::Error, Debug)]
pub enum DrillError {
    /// Ctrl-C, or a signal to end.
    #[error("Ended by {0}; no process of the drill is left")]
    Interrupted(&'static str),
    /// Something did not happen in time.
    #[error("Waited {} s in vain: {what}", limit.as_secs())]
    TookTooLong {
        what: String,
        /// How long it may take.
        limit: Duration,
    },
    /// A process ended unexpectedly.
    #[error("{who} ended by itself ({status}); its log says why: {log}")]
    ProcessEnded {
        who: String,
        status: ExitStatus,
        /// The path of its log.
        log: PathBuf,
    },
    /// The engine did something that this failure must not cause.
    #[error("{0}")]
    WrongEnding(String),
    /// A host's engine refused a command.
    #[error("Host {host} refused to {wish}: {reason}")]
    Refused {
        host: HostId,
        /// The command.
        wish: &'static str,
        reason: String,
    },
    /// The system refused something that the drill needs.
    #[error("Cannot {attempt}")]
    System {
        attempt: String,
        #[source]
        source: io::Error,
    },
}

impl DrillError {
    /// For `map_err`: the error of the operation `attempt`.
    pub fn system(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::System { attempt, source }
    }

    /// Whether the drill cannot continue; otherwise it is a finding about the engine.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Interrupted(_) | Self::System { .. })
    }
}
