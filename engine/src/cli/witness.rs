//! `understudy witness`: the third party that decides who may run a guest; and `witness show` and `witness forget`, by
//! which a person looks at its records and gives one up.

use super::{CliError, Exit, OutputFormat, print, print_json};
use crate::config::human::parse_address;
use crate::connection::Transport;
use crate::console;
use crate::descriptors::raise_limit;
use crate::supervisor::Supervisor;
use crate::witness::daemon::{Config, Daemon, DaemonError};
use crate::witness::{Store, StoreError};
use std::net::SocketAddr;
use std::path::PathBuf;
use understudy_session::{Copy, Record};

/// Arguments of `witness`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    #[command(subcommand)]
    ask: Option<Ask>,
    /// Address that nodes connect to
    #[arg(long, value_name = "ADDR", required = true, value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// Directory of the records; created if missing, used by one witness at a time
    #[arg(long, value_name = "DIR", required = true)]
    state: Option<PathBuf>,
    /// Address to serve Prometheus metrics at (HTTP, /metrics)
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    metrics: Option<SocketAddr>,
    /// Directory with its certificate and with those that it trusts: only nodes over mutual TLS are accepted
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
}

#[derive(clap::Subcommand, Debug)]
enum Ask {
    /// Show the records: who may run each guest, and where its copy is
    Show(ShowArgs),
    /// Delete the records of guests that are gone
    Forget(ForgetArgs),
}

#[derive(clap::Args, Debug)]
struct ShowArgs {
    /// Show one guest only
    guest: Option<String>,
    /// Show only guests that this node may run
    #[arg(long, value_name = "NODE", conflicts_with = "guest")]
    owner: Option<String>,
    /// Directory of the records; the witness may be running
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Format of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
}

#[derive(clap::Args, Debug)]
struct ForgetArgs {
    /// Names of the guests
    #[arg(value_name = "GUEST", required = true)]
    guests: Vec<String>,
    /// Directory of the records; the witness may not be running
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Confirm that no host runs any of them or holds a copy; without this flag only the records and the risks are printed
    #[arg(long)]
    runs_nowhere: bool,
}

/// Runs the witness until it is told to end, or answers about its records. The first line of output says where it
/// listens.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    match args.ask {
        Some(Ask::Show(args)) => return show(&args),
        Some(Ask::Forget(args)) => return forget(&args),
        None => {}
    }
    let (Some(listen), Some(state)) = (args.listen, args.state) else {
        return Err(CliError::Usage("A witness needs --listen and --state".into()));
    };
    raise_limit();
    let transport = args.tls.map_or(Transport::PlainLoopback, |directory| Transport::Tls { directory });
    let listen = transport.admit(listen).map_err(|error| CliError::Usage(error.to_string()))?;
    let mut daemon = Daemon::open(Config { listen, state, metrics: args.metrics, transport })?;
    let address = daemon.address().map_err(|error| CliError::Internal(error.to_string()))?;
    console::say(format_args!("witness listening on {address}"));
    daemon.run(Supervisor::of_this_process())?;
    Ok(Exit::Ok)
}

/// A record for programs.
#[derive(serde::Serialize)]
struct Shown<'a> {
    guest: &'a str,
    revision: u64,
    generation: u64,
    owner: &'a str,
    /// The node whose copy may take over; none if no copy may.
    fresh_at: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(guest: &'a str, record: &'a Record) -> Self {
        let fresh_at = match &record.copy {
            Copy::Stale => None,
            Copy::Fresh { holder } => Some(holder.0.as_str()),
        };
        let Record { revision, generation, owner, .. } = record;
        Self { guest, revision: *revision, generation: generation.0, owner: &owner.0, fresh_at }
    }

    fn line(&self) -> String {
        let Self { guest, revision, generation, owner, fresh_at } = self;
        let copy = match fresh_at {
            Some(holder) => format!("its copy on {holder} may take over"),
            None => "no copy may take over".to_owned(),
        };
        format!("{guest}: {owner} may run it, in generation {generation}; {copy} (revision {revision})")
    }
}

fn show(args: &ShowArgs) -> Result<Exit, CliError> {
    let mut records = Store::look(&args.state)?;
    if let Some(guest) = &args.guest {
        records.retain(|(name, _)| name == guest);
        if records.is_empty() {
            return Err(unknown(guest, args.state.clone()).into());
        }
    }
    if let Some(owner) = &args.owner {
        records.retain(|(_, record)| record.owner.0 == *owner);
    }
    let shown: Vec<_> = records.iter().map(|(guest, record)| Shown::of(guest, record)).collect();
    match args.output {
        OutputFormat::Json => print_json(&serde_json::json!({ "records": shown }))?,
        OutputFormat::Text if shown.is_empty() => print("no records")?,
        OutputFormat::Text => print(&shown.iter().map(Shown::line).collect::<Vec<_>>().join("\n"))?,
    }
    Ok(Exit::Ok)
}

fn unknown(guest: &str, path: PathBuf) -> StoreError {
    StoreError::Unknown { path, guest: guest.to_owned() }
}

fn forget(args: &ForgetArgs) -> Result<Exit, CliError> {
    if !args.runs_nowhere {
        return Err(CliError::Refused(risks(args)?));
    }
    let records = Store::forget(&args.state, &args.guests)?;
    let lines =
        records.iter().map(|(guest, record)| format!("forgotten: {}", Shown::of(guest, record).line()));
    print(&lines.collect::<Vec<_>>().join("\n"))?;
    Ok(Exit::Ok)
}

/// The risk of giving up these records.
fn risks(args: &ForgetArgs) -> Result<String, CliError> {
    let records = Store::look(&args.state)?;
    let mut text = String::new();
    for guest in &args.guests {
        let record = records.iter().find(|(name, _)| name == guest);
        let (_, record) = record.ok_or_else(|| unknown(guest, args.state.clone()))?;
        text += &format!("{}\n", Shown::of(guest, record).line());
    }
    Ok(format!(
        "{text}Without its record a guest goes to the next host that claims it. If another host runs it, two guests have one \
         identity; if a host holds its copy, that copy is lost.\nSee that neither is so on any host (`understudy status`), stop \
         the witness, then repeat with --runs-nowhere"
    ))
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::InUse(_) | StoreError::Unknown { .. } => Self::Refused(text),
            StoreError::Damaged(_) | StoreError::DamagedLease(_) => Self::BadInput(text),
            StoreError::Io { attempt: "list", .. } => Self::BadInput(text),
            StoreError::Io { attempt: "create" | "open", ref source, .. } if !is_exhausted(source) => {
                Self::Usage(format!(
                    "{text}; give --state a directory that can be written, or a new name in one"
                ))
            }
            StoreError::Io { .. } => Self::Internal(text),
        }
    }
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Store(error) => error.into(),
            DaemonError::Credentials(_) => Self::Usage(error.to_string()),
            DaemonError::Listen { ref source, .. } if is_exhausted(source) => {
                Self::Internal(error.to_string())
            }
            DaemonError::Listen { .. } => Self::Usage(error.to_string()),
            DaemonError::Loop(_) => Self::Internal(error.to_string()),
        }
    }
}

/// Another address would fail as well.
fn is_exhausted(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}
