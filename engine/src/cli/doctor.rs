//! `understudy doctor`: finds what a dead engine left on this host, and says what to do about it.
//!
//! ```text
//!   kernel:  redirects and devices of ours, with the process that made them ─┐
//!   Xen:     domains with a generation's mark, paused or cut off ────────────┤
//!            domains suspended by `remus -b`, which is gone ─────────────────┤
//!            domains that stand by for an engine that is gone ───────────────┼─► findings ─► advice, or repair
//!   files:   images that no domain could be built from, a watchdog that runs ┘
//! ```
//!
//! What is left keeps holding, so nothing is urgent. Letting the output of a guest pass is right only if no other host
//! runs that guest: a started engine asks the witness; a person may vouch for it with `--let-out`, and then the witness
//! is asked if this host has one.
//!
//! Nothing is repaired without proof: what cannot be learnt is left alone, and reported. Repairing takes the lock of
//! this host, so that no engine starts meanwhile.
//!
//! With `--report` the findings and all else that helps somebody who is asked for help become a [`bundle`].

mod bundle;
mod cut_off;
mod domains;
mod finding;
mod guests;
mod scrub;
mod watchdog;
mod word;
mod words_of;

use super::{CliError, Exit, NodeArgs, OutputFormat, print};
use crate::config::CONFIG_PATH;
use crate::config::human::parse_span;
use crate::guest::{HostLock, HostLockError, RESCUE_DIRECTORY};
use cut_off::Wanted;
use domains::{rescued, standing_by, suspended};
use finding::Finding;
use guests::Host;
use std::path::{Path, PathBuf};
use understudy_session::Span;
use word::Witness;

/// Arguments of `doctor`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Remove what can be removed without releasing any output of a guest
    #[arg(long)]
    repair: bool,
    /// With --repair: release the output of the guest behind this interface; you vouch that no other host runs the guest
    #[arg(long, value_name = "INTERFACE", requires = "repair")]
    let_out: Vec<String>,
    /// With --let-out: the configuration of this host's node, which names the witness; with --report, the one to take [default:
    /// /etc/understudy/node.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// With --let-out: do not ask the witness; you decide against it
    #[arg(long, requires = "let_out", conflicts_with = "config")]
    override_witness: bool,
    /// Write a report for whoever helps you to this new directory: findings, status, events, settings, versions, units, log and
    /// Xen's view; no keys, tokens, passwords or guest memory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["repair", "let_out"])]
    report: Option<PathBuf>,
    /// With --report: the oldest log lines to include
    #[arg(long, value_name = "TIME", value_parser = parse_span, default_value = "6h", requires = "report")]
    since: Span,
    /// With --report: control socket of the node [default: that of its configuration]
    #[arg(long, value_name = "PATH", requires = "report")]
    control: Option<PathBuf>,
    /// Format of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
}

/// Inspects, repairs if asked to, and prints. Exit code 3 if something is left.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    if args.config.is_some() && args.report.is_none() && args.let_out.is_empty() {
        return Err(CliError::Usage("--config is for --let-out and --report".into()));
    }
    let _lock = if args.repair { Some(HostLock::take().map_err(locked)?) } else { None };
    let host = Host::look();
    let witness = match args.let_out.is_empty() {
        true => Witness::None,
        false => Witness::of(args.config.clone(), args.override_witness)
            .map_err(|why| CliError::Usage(why.to_string()))?,
    };
    let wanted = Wanted { repair: args.repair, let_out: &args.let_out, witness };
    let mut findings = cut_off::look(&wanted, &host)?;
    if host.may_have_guests() {
        findings.extend(suspended(args.repair));
        findings.extend(standing_by(args.repair));
    }
    findings.extend(watchdog::left_running(&watchdog::state()));
    findings.extend(rescued(Path::new(RESCUE_DIRECTORY)));
    if let Some(directory) = &args.report {
        return report(directory, &args, &findings);
    }
    match args.output {
        OutputFormat::Json => print(&serde_json::json!({ "findings": findings }).to_string())?,
        OutputFormat::Text if findings.is_empty() => print("nothing is left of a dead engine on this host")?,
        OutputFormat::Text => {
            let lines = findings.iter().map(|it| format!("{}\n  └ {}\n", it.what, it.advice));
            print(&lines.collect::<String>())?;
        }
    }
    Ok(if findings.iter().all(|finding| finding.repaired) { Exit::Ok } else { Exit::CheckFailed })
}

impl Args {
    /// The node that is asked for the report: as it is said, else by its configuration.
    fn node(&self) -> NodeArgs {
        let config =
            self.config.clone().or_else(|| Path::new(CONFIG_PATH).exists().then(|| CONFIG_PATH.into()));
        NodeArgs::of(self.control.clone(), config)
    }
}

/// Writes the bundle. That something is left of a dead engine is in it, and no failure of writing it.
fn report(directory: &Path, args: &Args, findings: &[Finding]) -> Result<Exit, CliError> {
    let findings = serde_json::json!({ "findings": findings }).to_string();
    let config = args.config.as_deref().unwrap_or(Path::new(CONFIG_PATH));
    let names = bundle::write(
        directory,
        &bundle::Wanted { node: &args.node(), config, since: args.since, findings },
    )?;
    print(&format!(
        "{}: {}\nlook through it before you give it away: it names hosts and guests",
        directory.display(),
        names.join(", ")
    ))?;
    Ok(Exit::Ok)
}

fn locked(error: HostLockError) -> CliError {
    match error {
        HostLockError::Held { .. } => CliError::Refused(format!(
            "Nothing is repaired: {error}. An engine goes on with its guests by itself; stop it to repair what it leaves"
        )),
        HostLockError::Io { .. } => CliError::Internal(format!("Nothing is repaired: {error}")),
    }
}
