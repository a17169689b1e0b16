//! The `understudy` command: what may be asked, and how the answer ends.
//!
//! ```text
//!   drill                                    everything at once, on this machine, with a report
//!   doctor                                   what a dead engine left on this host
//!   disk                                     what is on disks that no node uses
//!   node      witness                        the processes that stay
//!   keygen    invite    join                 by which certificate other hosts know this one
//!   trust     reload                         who is known here
//!   preflight                                why a guest cannot be protected, before anybody tries
//!   status    events    wait                 asked of a running node over its control socket
//!   protect   unprotect
//!   switchover   takeover   evacuate   maintenance   remus
//!   replay    stream                         recorded guests and their streams
//!   colo                                     captures of two guests
//! ```
//!
//! Each subcommand has its file with its `Args` and a `run`. Results go to standard output, everything else to
//! standard error; how a run ended is its exit code ([`Exit`]).

mod colo;
mod disk;
mod doctor;
#[cfg(test)]
mod documented;
mod drill;
mod evacuate;
mod events;
mod exit;
mod keygen;
mod log;
mod maintenance;
mod node;
mod packaging;
mod preflight;
mod remus;
mod replay;
mod restore;
mod status;
mod stream;
mod trust;
mod wait;
mod wish;
mod witness;

pub use exit::{CliError, Exit};

use crate::config::{Settings, deprecated};
use crate::console;
use crate::control::{Client, DEFAULT_PATH};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use understudy_xen::helper::Order;
use understudy_xen::standby::STANDBY_VARIABLE;

/// Keeps a running Xen guest alive through the death of its host.
#[derive(Parser, Debug)]
#[command(name = "understudy", version, after_help = exit::HELP)]
struct Cli {
    #[command(flatten)]
    log: log::Args,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Find out from captures whether a service suits COLO
    #[command(subcommand)]
    Colo(colo::Command),
    /// Look at the disks of lab guests that no node uses, and compare them with the other host's
    #[command(subcommand)]
    Disk(disk::Command),
    /// Find and remove what a dead engine left on this host
    Doctor(doctor::Args),
    /// Rehearse failures in the lab and report what was lost (nothing) and how long it took
    Drill(drill::Args),
    /// Move every guest that runs here to the host that holds its copy, and report those that stay
    Evacuate(evacuate::Args),
    /// Show what has changed on a running node, and follow further changes
    Events(events::Args),
    /// Invite a node or witness to join this one: prints the command to run there, which works once
    Invite(trust::InviteArgs),
    /// Join a node or witness that has sent an invitation: each then trusts the other's certificate
    Join(trust::JoinArgs),
    /// The watchdog of a host of the lab
    #[command(hide = true)]
    LabWatchdog {
        /// The engine
        pid: i32,
    },
    /// Make the certificate that proves this host's identity to others
    Keygen(keygen::Args),
    /// Make a node accept no new copies while its host is being worked on, or accept them again
    Maintenance(maintenance::Args),
    /// What a package's build and its scripts ask
    #[command(subcommand, hide = true)]
    Packaging(packaging::Question),
    /// Check whether a guest of real Xen can be protected towards another host, and say what to do if not
    Preflight(preflight::Args),
    /// Run this host's engine: it protects guests, holds copies of its peers' guests, and takes over
    Node(node::Args),
    /// As `node` was called
    #[command(hide = true)]
    Primary(node::Args),
    /// Protect a guest of a running node again, or a Xen guest of its host from now on
    Protect(wish::ProtectArgs),
    /// Protect a guest for as long as this command runs, with the options of `xl remus`
    Remus(remus::Args),
    /// As `node` was called
    #[command(hide = true)]
    Secondary(node::Args),
    /// Run the third party that decides who may run a guest
    Witness(witness::Args),
    /// Show the state of the guests of a running node
    Status(status::Args),
    /// Move a guest to the host that holds its copy, without losing anything
    Switchover(wish::SwitchoverArgs),
    /// Take over a guest whose host is dead, if no witness can decide it
    Takeover(wish::TakeoverArgs),
    /// Write a committed epoch of a guest whose copy is held here to a file for `xl restore`, or list those that are kept
    Restore(restore::Args),
    /// Run a guest that is kept paused here, if the host in charge does not have it
    Reclaim(wish::ReclaimArgs),
    /// End a guest that is kept paused here
    Discard(wish::DiscardArgs),
    /// Let a guest run on without protection
    Unprotect(wish::Args),
    /// Play a guest that was recorded on real Xen through the whole engine
    Replay(replay::Args),
    /// Make a running node read its certificates again
    Reload(trust::ReloadArgs),
    /// Read, check and cut Xen migration streams
    #[command(subcommand)]
    Stream(stream::Command),
    /// Show whom this host trusts, or end that trust
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// Wait until a guest of a running node is protected, or in another state
    Wait(wait::Args),
}

/// How a result is written to standard output.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document, for programs.
    Json,
}

/// Prints the result of a command.
fn print(text: &str) -> Result<(), CliError> {
    console::report(text).map_err(not_written)
}

fn not_written(source: std::io::Error) -> CliError {
    CliError::System { attempt: "The result cannot be written to standard output".into(), source }
}

/// Prints the result of a command as a JSON document.
fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::Internal(format!("The result has no JSON form: {error}")))?;
    print(&json)
}

/// Options that select the running node.
#[derive(clap::Args, Clone, Debug)]
pub struct NodeArgs {
    /// Control socket of the node
    #[arg(long, value_name = "PATH", env = "UNDERSTUDY_CONTROL", default_value = DEFAULT_PATH)]
    control: PathBuf,
    /// The node's configuration file, which names its control socket; overrides --control
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl NodeArgs {
    /// The node with this control socket, else the one with this configuration, else the host's.
    pub fn of(control: Option<PathBuf>, config: Option<PathBuf>) -> Self {
        let config = if control.is_some() { None } else { config };
        Self { control: control.unwrap_or_else(|| DEFAULT_PATH.into()), config }
    }

    /// Asks the selected node.
    pub fn client(&self) -> Result<Client, CliError> {
        let Some(config) = &self.config else { return Ok(Client::new(&self.control)) };
        Ok(Client::new(Settings::read(config)?.control.unwrap_or_else(|| DEFAULT_PATH.into())))
    }
}

/// Options that select the running node and the form of the output.
#[derive(clap::Args, Clone, Debug)]
pub struct ControlArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Format of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    pub output: OutputFormat,
}

impl ControlArgs {
    /// Asks the selected node.
    pub fn client(&self) -> Result<Client, CliError> {
        self.node.client()
    }
}

/// Prints which flags of a node's settings were given by a former name.
fn warn_of_former_flags() {
    for warning in deprecated::in_flags(std::env::args_os()) {
        tracing::warn!("{warning}");
    }
}

/// The command line; each subcommand's help says where the exit codes are told.
fn command() -> clap::Command {
    fn point(command: clap::Command) -> clap::Command {
        command.mut_subcommands(point).after_help("Exit codes are listed by `understudy --help`.")
    }
    Cli::command().mut_subcommands(point)
}

/// Parses the command line, runs what it asks for, and says how it ended.
pub fn main() -> ExitCode {
    console::tell_panics();
    let exit = run_main();
    console::finish();
    exit
}

fn run_main() -> ExitCode {
    if std::env::var_os(STANDBY_VARIABLE).is_some() {
        return stand_by();
    }
    let cli = match Cli::from_arg_matches(&command().get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let daemon = matches!(
        cli.command,
        Command::Node(_) | Command::Primary(_) | Command::Secondary(_) | Command::Witness(_)
    );
    let result =
        live_no_longer_than_parent().and_then(|()| cli.log.init(daemon)).and_then(|()| run(cli.command));
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            exit::complain(&error);
            error.exit().into()
        }
    }
}

/// Started by libxl for a domain that is to stand by, as its save helper.
fn stand_by() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let carried_out = Order::parse(&words)
        .map_err(|error| error.to_string())
        .and_then(|order| order.carry_out().map_err(|error| error.to_string()));
    match carried_out {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::complain(format_args!("understudy: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// A process that a drill or a replay started ends with it.
fn live_no_longer_than_parent() -> Result<(), CliError> {
    let attempt = "Cannot tie this process to the one that started it".into();
    crate::child::die_with_parent().map_err(|source| CliError::System { attempt, source })
}

fn run(command: Command) -> Result<Exit, CliError> {
    use crate::control::Wish;
    match command {
        Command::Colo(command) => colo::run(command),
        Command::Disk(command) => disk::run(&command),
        Command::Doctor(args) => doctor::run(args),
        Command::Drill(args) => drill::run(args),
        Command::Evacuate(args) => evacuate::run(args),
        Command::Events(args) => events::run(args),
        Command::Invite(args) => trust::run_invite(&args),
        Command::Join(args) => trust::run_join(&args),
        Command::LabWatchdog { pid } => crate::guest::watch_lab_host(pid)
            .map(|()| Exit::Ok)
            .map_err(|error| CliError::Internal(error.to_string())),
        Command::Keygen(args) => keygen::run(&args),
        Command::Maintenance(args) => maintenance::run(args),
        Command::Restore(args) => restore::run(&args),
        Command::Packaging(question) => packaging::run(question),
        Command::Preflight(args) => preflight::run(args),
        Command::Node(args) => node::run(args),
        Command::Primary(args) => node::run_former(node::Former::Primary, args),
        Command::Protect(args) => wish::run_protect(args),
        Command::Remus(args) => remus::run(args),
        Command::Secondary(args) => node::run_former(node::Former::Secondary, args),
        Command::Witness(args) => witness::run(args),
        Command::Status(args) => status::run(args),
        Command::Switchover(args) => wish::run_switchover(args),
        Command::Takeover(args) => wish::run_takeover(args),
        Command::Reclaim(args) => wish::run_reclaim(args),
        Command::Discard(args) => wish::run_discard(args),
        Command::Unprotect(args) => wish::run(Wish::Unprotect, args),
        Command::Replay(args) => replay::run(args),
        Command::Reload(args) => trust::run_reload(&args),
        Command::Trust(command) => trust::run_trust(command),
        Command::Stream(command) => stream::run(command),
        Command::Wait(args) => wait::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
