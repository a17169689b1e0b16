//! How a command ends: exit codes, and the errors that lead to them.

use super::remus::RemusError;
use crate::config::ConfigError;
use crate::console;
use crate::names::NameError;
use crate::output_file::OutputError;
use std::error::Error;
use std::process::ExitCode;

/// Shown at the end of `--help`.
pub(super) const HELP: &str = "\
Exit codes:
  0  done, and every check held
  1  internal error: something that should not happen
  2  wrong usage: arguments, configuration, an address that is not allowed
  3  a check failed: what was examined is not as it must be
  4  bad input: a file or stream that cannot be read or is damaged
  5  no answer: the engine, peer, witness or other host cannot be reached
  6  refused: it will not be done, or cannot be done yet; the reason is printed";

/// Exit codes, the same for every subcommand. `HELP` lists them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// The command succeeded, and every check passed.
    Ok = 0,
    /// A defect.
    Internal = 1,
    /// Wrong arguments or configuration. clap ends with the same code.
    Usage = 2,
    /// A check failed.
    CheckFailed = 3,
    /// A file or stream cannot be read or is damaged.
    BadInput = 4,
    /// The engine, peer, witness or other host cannot be reached.
    Unreachable = 5,
    /// The engine, or the command itself, refuses, or cannot do it yet.
    Refused = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a subcommand failed. The text is the first line that an operator sees; causes follow, indented.
#[derive(thiserror::Error, Debug)]
pub enum CliError {
    /// Arguments that contradict each other or cannot work.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A name cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An option of `xl remus` that understudy does not support.
    #[error(transparent)]
    Remus(#[from] RemusError),
    /// An input cannot be read or is damaged.
    #[error("{0}")]
    BadInput(String),
    /// What the command watched did not end as it must.
    #[error("{0}")]
    CheckFailed(String),
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(String),
    /// The engine refused, with its reason.
    #[error("{0}")]
    Refused(String),
    /// The system refused.
    #[error("{attempt}")]
    System {
        /// The failed operation, in words.
        attempt: String,
        #[source]
        source: std::io::Error,
    },
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

impl CliError {
    /// The exit code this error leads to.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Config(_) | Self::Name(_) => Exit::Usage,
            Self::Remus(RemusError::Colo) => Exit::Refused,
            Self::Remus(_) => Exit::Usage,
            Self::Output(error) if error.is_usage() => Exit::Usage,
            Self::Output(_) => Exit::Internal,
            Self::BadInput(_) => Exit::BadInput,
            Self::CheckFailed(_) => Exit::CheckFailed,
            Self::Unreachable(_) => Exit::Unreachable,
            Self::Refused(_) => Exit::Refused,
            Self::System { .. } | Self::Internal(_) => Exit::Internal,
        }
    }
}

/// Prints an error and its causes to standard error.
pub(super) fn complain(error: &CliError) {
    console::complain(format_args!("understudy: {error}"));
    let mut cause = error.source();
    while let Some(error) = cause {
        console::complain(format_args!("  because: {error}"));
        cause = error.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remus_refuses_ends_as_it_is_documented() {
        use RemusError::*;
        for error in [NeedsUnsafe('b'), ProxyWithoutColo, ColoConflict] {
            assert_eq!(CliError::from(error).exit(), Exit::Usage);
        }
        assert_eq!(CliError::from(Colo).exit(), Exit::Refused);
    }

    #[test]
    fn help_lists_every_exit_code() {
        let codes = [
            Exit::Ok,
            Exit::Internal,
            Exit::Usage,
            Exit::CheckFailed,
            Exit::BadInput,
            Exit::Unreachable,
            Exit::Refused,
        ];
        for code in codes {
            assert!(HELP.contains(&format!("\n  {}  ", code as u8)), "{code:?}");
        }
        assert_eq!(HELP.lines().count(), codes.len() + 1);
    }
}
