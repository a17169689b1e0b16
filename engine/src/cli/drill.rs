//! `understudy drill`: failures rehearsed with real processes on this machine, with a report.

mod on_hosts;

use super::{CliError, Exit, OutputFormat, print, print_json};
use crate::config::bounds::{HostMemory, SUSPEND_TAKES, check_span};
use crate::config::human::{parse_size, parse_span, show_bytes};
use crate::config::{
    BUDGETS, BudgetSettings, CONFIG_PATH, EtcdSettings, ModeChoice, PacingSettings, WitnessAddress,
    WitnessConfig,
};
use crate::connection::Transport;
use crate::console;
use crate::drill::DrillError;
use crate::drill::network::{guest_address, guest_name};
use crate::drill::page::{self, Imprint};
use crate::drill::pair::Pair;
use crate::drill::plan::{Cut, Failure, Plan};
use crate::drill::record;
use crate::drill::run::{Finished, run as run_drill};
use crate::drill::table;
use crate::etcd::EtcdConfig;
use crate::output_file::{Allow, write_to};
use std::path::{Path, PathBuf};
use understudy_lab::{Divergence, GuestConfig, LoadError};
use understudy_session::primary::Pacing;
use understudy_session::{Mode, Span};

/// More guests than this have no place on one machine.
const GUESTS_MAX: u16 = 64;
/// More clients than this of one guest only wait for each other.
const CLIENTS_MAX: u16 = 64;

/// More rounds than this take months.
const ROUNDS_MAX: u32 = 1_000_000;

/// A guest's disk, if nothing else is said: all of what its clients write has its place on it. A reply waits for it, so that there are
/// fewer (`docs/DRILLS.md`).
const DISK_BYTES: u64 = 1 << 20;

/// Arguments of `drill`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// What fails; several kinds take turns
    #[arg(long, value_name = "FAILURE", value_enum, value_delimiter = ',', default_value = "kill")]
    fail: Vec<Choice>,
    /// How many failures [default: one of each kind]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    rounds: Option<u32>,
    /// Repeats a drill: the times of the failures, and the clients' requests
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Make checkpoints by a clock, this long from the end of one pause to the next
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    interval: Option<Span>,
    /// Make checkpoints when output waits, within budgets as for a node; "output" for the defaults
    #[arg(long, value_name = "KEY=VALUE,...")]
    pacing: Option<BudgetSettings>,
    /// Memory of each guest
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "256M")]
    memory: u64,
    /// Give each guest a disk of this size, which also holds its data; both hosts keep one in the drill's directory; 0: no disk
    /// [default: 1M; no disk with another --mode than remus, and with --on-hosts]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    disk: Option<u64>,
    /// How the guests write to their memory: a name or a description that the lab knows
    #[arg(long, default_value = "mixed")]
    load: String,
    /// How the guests are protected: by checkpoints alone, or by a copy that runs on the other host as well
    #[arg(long, value_name = "MODE", value_enum, default_value = "remus")]
    mode: ModeChoice,
    /// Let the two guests differ by chance: in the content of replies (value, clock), their time (delay) or their order
    #[arg(long, value_name = "chance=0..1,what=WHAT")]
    diverge: Option<Divergence>,
    /// Time that suspending a guest takes in addition; a guest on emulated Xen takes 100ms
    #[arg(long, value_name = "TIME", value_parser = parse_span, default_value = "0ms")]
    suspend_takes: Span,
    /// Guests, each with its own protection, all on host A at first
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(GUESTS_MAX)))]
    guests: u16,
    /// Clients of each guest
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=i64::from(CLIENTS_MAX)))]
    clients: u16,
    /// An etcd that serves as witness, instead of one of the drill's own: etcd://ADDR,...[/PREFIX]
    #[arg(long, value_name = "ADDR")]
    witness: Option<WitnessAddress>,
    #[command(flatten)]
    etcd: EtcdSettings,
    /// Format of the report
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
    /// Use no TLS for links and witness, for comparison
    #[arg(long)]
    plain: bool,
    /// Write the drill's time and verdict to this file, for node_exporter's textfile collector (*.prom)
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Run the drill on two installed hosts, this one first: beside their nodes and guests, with their certificates, over the
    /// network between them. This host must reach the other one by `ssh`. Failures: kill, secondary, switchover
    #[arg(long, value_name = "A,B", conflicts_with_all = ["plain", "witness", "disk"])]
    on_hosts: Option<String>,
    /// With --on-hosts: the configuration of this host's node
    #[arg(long, value_name = "FILE", requires = "on_hosts", default_value = CONFIG_PATH)]
    config: PathBuf,
    /// With --on-hosts: the port of the drill's nodes on both hosts; its witness has the next one
    #[arg(long, value_name = "PORT", requires = "on_hosts", default_value_t = 7201)]
    port: u16,
    /// With --on-hosts: the command that runs another on the other host; the host's name is appended
    #[arg(long, value_name = "COMMAND", requires = "on_hosts", default_value = "ssh")]
    ssh: String,
    /// Write the report to this file as one HTML page: time lines, histograms, what was checked
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep the processes' logs even if every check passed
    #[arg(long)]
    keep_logs: bool,
}

/// A failure as it may be asked for.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Choice {
    /// SIGKILL of the primary with its guests
    Kill,
    /// SIGSTOP of the primary, SIGCONT after the takeover
    Hang,
    /// The network separates the hosts, or cuts off one of them, in one direction or both; all ways take turns
    Partition,
    /// SIGKILL of the secondary
    Secondary,
    /// SIGKILL of the witness, then a switchover with the restarted one
    Witness,
    /// A planned move
    Switchover,
    /// All of these
    All,
}

impl Choice {
    fn failures(self) -> Vec<Failure> {
        match self {
            Self::Kill => vec![Failure::Kill],
            Self::Hang => vec![Failure::Hang],
            Self::Partition => Cut::ALL.map(Failure::Partition).into(),
            Self::Secondary => vec![Failure::Secondary],
            Self::Witness => vec![Failure::Witness],
            Self::Switchover => vec![Failure::Switchover],
            Self::All => {
                let each = [
                    Self::Kill,
                    Self::Hang,
                    Self::Partition,
                    Self::Secondary,
                    Self::Witness,
                    Self::Switchover,
                ];
                each.into_iter().flat_map(Self::failures).collect()
            }
        }
    }
}

impl Args {
    fn plan(self) -> Result<Plan, CliError> {
        let etcd = etcd_of(self.witness.clone(), self.etcd.clone())?;
        let failures = failures_of(&self.fail, etcd.as_ref())?;
        let rounds = self.rounds.map_or(failures.len(), |rounds| rounds as usize);
        self.check_guest()?;
        let pair = self.on_hosts.as_deref().map(|names| self.pair(names)).transpose()?;
        let pacing = PacingSettings { interval: self.interval, budgets: self.pacing }
            .decide(Pacing::Output(BUDGETS))?;
        let bytes = self.memory.saturating_mul(u64::from(self.guests));
        if let Some(host) = HostMemory::of_this_host().filter(|host| bytes > host.available) {
            return Err(CliError::Usage(format!(
                "The guests take {} of memory, and this machine has {} available; give --memory or --guests less",
                show_bytes(bytes),
                show_bytes(host.available)
            )));
        }
        Ok(Plan {
            rounds: failures.into_iter().cycle().take(rounds).collect(),
            seed: self.seed,
            pacing,
            memory_bytes: self.memory,
            disk_bytes: self.disk_bytes(),
            load: self.load,
            mode: self.mode.into(),
            diverge: self.diverge,
            suspend_takes: self.suspend_takes,
            guests: self.guests,
            clients: self.clients,
            plain: self.plain,
            keep_logs: self.keep_logs,
            pair,
            wants_spreads: self.report.is_some(),
            etcd,
            node_flags: Vec::new(),
        })
    }
}

impl Args {
    /// The two hosts, from this one's configuration.
    fn pair(&self, names: &str) -> Result<Pair, CliError> {
        on_hosts::pair(&on_hosts::Asked {
            names,
            config: &self.config,
            port: self.port,
            ssh: &self.ssh,
            failures: &self.fail.iter().flat_map(|choice| choice.failures()).collect::<Vec<_>>(),
        })
    }

    /// What each guest has for a disk, if it has one.
    fn disk_bytes(&self) -> Option<u64> {
        let may_have_one = Mode::from(self.mode) == Mode::Remus && self.on_hosts.is_none();
        let default = may_have_one.then_some(DISK_BYTES);
        self.disk.map_or(default, |bytes| (bytes > 0).then_some(bytes))
    }

    /// Rejects impossible guests at once, before a host does.
    fn check_guest(&self) -> Result<(), CliError> {
        let usage = |error: &dyn std::fmt::Display| CliError::Usage(error.to_string());
        let address = guest_address(0);
        let mut guest = GuestConfig::new(guest_name(0), address.mac, address.ip);
        guest.load = self.load.parse().map_err(|error: LoadError| usage(&error))?;
        guest.memory_bytes = self.memory;
        guest.disk_bytes = self.disk_bytes();
        if guest.disk_bytes.is_some() && Mode::from(self.mode) != Mode::Remus {
            return Err(CliError::Usage(
                "Guests with disks are not run beside their images; give --mode remus".into(),
            ));
        }
        check_span("suspend-takes", self.suspend_takes, SUSPEND_TAKES)?;
        guest.check().map_err(|error| usage(&error))
    }
}

fn etcd_of(witness: Option<WitnessAddress>, etcd: EtcdSettings) -> Result<Option<EtcdConfig>, CliError> {
    match WitnessConfig::decide(witness, etcd, &Transport::PlainLoopback)? {
        None => Ok(None),
        Some(WitnessConfig::Etcd(etcd)) => Ok(Some(etcd)),
        Some(WitnessConfig::Own(_)) => Err(CliError::Usage(
            "A drill starts its own witness; with --witness it uses etcd instead: give etcd://ADDR,…".into(),
        )),
    }
}

/// The failures to rehearse. An etcd that is not the drill's own is never killed, and only connections on this machine can be cut.
fn failures_of(choices: &[Choice], etcd: Option<&EtcdConfig>) -> Result<Vec<Failure>, CliError> {
    let mut failures: Vec<Failure> = choices.iter().flat_map(|choice| choice.failures()).collect();
    let Some(etcd) = etcd else { return Ok(failures) };
    if choices.contains(&Choice::Witness) {
        return Err(CliError::Usage(
            "A drill does not kill an etcd that is not its own; leave `witness` out of --fail".into(),
        ));
    }
    failures.retain(|failure| *failure != Failure::Witness);
    let is_cut = failures.iter().any(|failure| matches!(failure, Failure::Partition(_)));
    if is_cut && !etcd.address.members.iter().all(|member| member.ip().is_loopback()) {
        return Err(CliError::Usage(
            "A drill cuts hosts off from an etcd on this machine only; leave `partition` out of --fail, or give members of \
             etcd on loopback"
                .into(),
        ));
    }
    Ok(failures)
}

/// Runs the drill and prints its report; the exit code says whether every check held.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let (output, record_at, report_at) = (args.output, args.record.clone(), args.report.clone());
    let imprint = Imprint::of_this_process();
    let plan = args.plan()?;
    if let Some(path) = &report_at {
        check_place(path)?;
    }
    let program = std::env::current_exe().map_err(|source| CliError::System {
        attempt: "Cannot find this program's own file".into(),
        source,
    })?;
    let is_text = output == OutputFormat::Text;
    if is_text {
        console::say(table::head());
    }
    let finished = run_drill(&plan, &program, |round| {
        if is_text {
            console::say(table::line(round));
        }
    })
    .map_err(cannot_go_on)?;
    print_end(&finished, output)?;
    if let Some(path) = report_at {
        let page = page::page(&finished.report, &imprint);
        write_to(&path, Allow::Anything, |file| file.write_all(page.as_bytes()))?;
    }
    if let Some(path) = record_at {
        record::write(&path, finished.report.held, finished.report.rounds.len())?;
    }
    Ok(if finished.report.held { Exit::Ok } else { Exit::CheckFailed })
}

/// Says at once that a page cannot be put there, and not after a drill of hours.
fn check_place(path: &Path) -> Result<(), CliError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent.is_none_or(Path::is_dir) && !path.is_dir() {
        true => Ok(()),
        false => Err(CliError::Usage(format!(
            "{} cannot be made: name a file in a directory that is there",
            path.display()
        ))),
    }
}

fn print_end(finished: &Finished, output: OutputFormat) -> Result<(), CliError> {
    match output {
        OutputFormat::Text => print(&table::summary(&finished.report))?,
        OutputFormat::Json => print_json(&finished.report)?,
    }
    if let Some(logs) = &finished.logs {
        console::complain(format_args!("Logs of the processes: {}", logs.display()));
    }
    Ok(())
}

fn cannot_go_on(error: DrillError) -> CliError {
    match error {
        DrillError::System { attempt, source } => {
            CliError::System { attempt: format!("The drill cannot {attempt}"), source }
        }
        error => CliError::Internal(error.to_string()),
    }
}
