//! `understudy replay`: plays a guest that was recorded on real Xen through the whole engine.
//!
//! Exit code 0 if the committed image is the recording's last complete epoch, 3 if it is not, 4 if the
//! recording cannot be played, 5 if the secondary does not answer.

use super::{CliError, Exit, OutputFormat, print, print_json, warn_of_former_flags};
use crate::config::human::{parse_remote, parse_span};
use crate::config::{LimitSettings, Peer};
use crate::replay::compare::CompareError;
use crate::replay::{self, ReplayError, Request, Towards};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use understudy_session::{NodeName, Span};

/// Arguments of `replay`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The recorded stream, not compressed; it is read three times
    file: PathBuf,
    /// Address of a running secondary [default: one is started for the replay]
    #[arg(long, value_name = "ADDR", value_parser = parse_remote)]
    to: Option<SocketAddr>,
    /// Name of the running secondary
    #[arg(long, value_name = "NAME", default_value = "secondary", requires = "to")]
    to_node: String,
    /// Control socket of the running secondary, to compare its image
    #[arg(long, value_name = "PATH", requires = "to")]
    to_control: Option<PathBuf>,
    /// Time from the end of one pause to the next; the recording has no times
    #[arg(long, value_name = "TIME", value_parser = parse_span, default_value = "1ms")]
    interval: Span,
    #[command(flatten)]
    limits: LimitSettings,
    /// Format of the report
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
}

/// Replays, and prints the report.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    warn_of_former_flags();
    if args.file == Path::new("-") {
        return Err(CliError::Usage(
            "A recording is read three times, which standard input cannot be; write it to a file and name that".into(),
        ));
    }
    let towards = match args.to {
        None => Towards::Own,
        Some(address) => {
            let peer = Peer { name: NodeName(args.to_node), addresses: vec![address.into()] };
            Towards::Running { peer, control: args.to_control }
        }
    };
    let request = Request { file: args.file, towards, interval: args.interval, limits: args.limits };
    let report = replay::run(&request)?;
    match args.output {
        OutputFormat::Text => print(&report.table())?,
        OutputFormat::Json => print_json(&report)?,
    }
    Ok(if report.identical == Some(false) { Exit::CheckFailed } else { Exit::Ok })
}

impl From<ReplayError> for CliError {
    fn from(error: ReplayError) -> Self {
        let text = error.to_string();
        match error {
            ReplayError::NotAFile(_) => Self::Usage(text),
            ReplayError::Open { .. }
            | ReplayError::Recording(_)
            | ReplayError::Damaged { .. }
            | ReplayError::Compare(CompareError::Recording(_)) => Self::BadInput(text),
            ReplayError::Config(error) => Self::Config(error),
            ReplayError::Control(_) | ReplayError::Stuck { .. } => Self::Unreachable(text),
            ReplayError::System { attempt, source } => {
                Self::System { attempt: format!("Cannot {attempt}"), source }
            }
            ReplayError::Node(_)
            | ReplayError::NoSecondary { .. }
            | ReplayError::NotExported(_)
            | ReplayError::Compare(_) => Self::Internal(text),
        }
    }
}
