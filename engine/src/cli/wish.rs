//! `understudy protect | unprotect | switchover | takeover`: an operator's request about one guest of a running node.

use super::{CliError, ControlArgs, Exit, OutputFormat, print};
use crate::config::human::parse_span;
use crate::config::{BudgetSettings, FindChanges, ModeChoice, PacingSettings};
use crate::control::{Client, ClientError, GuestRole, GuestState, GuestStatus, Protection, Wish};
use std::thread;
use std::time::{Duration, Instant};
use understudy_session::Span;

/// Arguments of `unprotect`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Name of the guest
    guest: String,
    #[command(flatten)]
    control: ControlArgs,
}

/// Arguments of `switchover`.
#[derive(clap::Args, Debug)]
pub(super) struct SwitchoverArgs {
    #[command(flatten)]
    wish: Args,
    /// Also move it to a host in maintenance; without this flag that is refused
    #[arg(long)]
    even_in_maintenance: bool,
}

/// Arguments of `protect`.
#[derive(clap::Args, Debug)]
pub(super) struct ProtectArgs {
    /// Name of the guest
    #[arg(required_unless_present = "all")]
    guest: Option<String>,
    /// Protect each guest that runs here and was unprotected
    #[arg(long, conflicts_with_all = ["guest", "to", "find_changes"])]
    all: bool,
    #[command(flatten)]
    control: ControlArgs,
    /// The peer that is to hold its copy; needed only if the node has several peers
    #[arg(long, value_name = "PEER")]
    to: Option<String>,
    /// Make checkpoints by a clock, this far apart; also changes a guest that is protected already
    #[arg(long, value_name = "TIME", value_parser = parse_span, conflicts_with = "pacing")]
    interval: Option<Span>,
    /// Make checkpoints when output waits, within interval-min, interval-max, pause-share, cpu-share and link-rate, or "output";
    /// budgets that are not named keep their values
    #[arg(long, value_name = "KEY=VALUE,...")]
    pacing: Option<BudgetSettings>,
    /// How changed pages are found; `compare` is for PV guests where Xen has no log [default: log]
    #[arg(long, value_name = "HOW")]
    find_changes: Option<FindChanges>,
    /// Protect by checkpoints alone (remus), also by a copy that runs on the peer (colo), or by whichever pays (auto); also
    /// changes a guest that is protected already [default: remus]
    #[arg(long, value_name = "MODE")]
    mode: Option<ModeChoice>,
}

/// Arguments of `takeover`.
#[derive(clap::Args, Debug)]
pub(super) struct TakeoverArgs {
    #[command(flatten)]
    wish: Args,
    /// Confirm that the other host is dead; without this flag only the risks are printed
    #[arg(long)]
    primary_is_dead: bool,
}

/// Arguments of `reclaim`.
#[derive(clap::Args, Debug)]
pub(super) struct ReclaimArgs {
    #[command(flatten)]
    wish: Args,
    /// Confirm that no other host runs the guest; without this flag only the risks are printed
    #[arg(long)]
    nobody_else_runs_it: bool,
}

/// Arguments of `discard`.
#[derive(clap::Args, Debug)]
pub(super) struct DiscardArgs {
    #[command(flatten)]
    wish: Args,
    /// Confirm that this guest is not needed; without this flag only the risks are printed
    #[arg(long)]
    lose_it: bool,
}

const RECLAIM_RISKS: &str = "\
Nothing but you can tell whether another host runs the guest. If one does, two guests with one identity answer on
the network. A copy that another host holds is overwritten by the next full sync of this guest.
See that the guest runs nowhere else, then repeat with --nobody-else-runs-it";

const DISCARD_RISKS: &str = "\
The guest that is paused and kept here is ended, and what only its memory holds is lost.
See that another host runs it, or that nobody needs it, then repeat with --lose-it";

const TAKEOVER_RISKS: &str = "\
Nothing but you can tell whether the guest still runs on the other host. If it does, a takeover makes two
guests with one identity: both answer on the network, and both write to every disk they share.
Switch the other host off first, then repeat with --primary-is-dead";

/// How long a switchover may take: a few epochs. A node that cannot do it says so before.
const SWITCHOVER_MAX: Duration = Duration::from_secs(30);

/// How long finding out whether a guest can be protected may take.
const FIND_MAX: Duration = Duration::from_secs(20);

const PROTECT_ACCEPTED: &str = "accepted: `understudy status` shows when the guest is protected";

/// How often the node is asked for the progress of a request.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Asks the node, waits for a switchover to finish, and prints the result.
pub(super) fn run(wish: Wish, args: Args) -> Result<Exit, CliError> {
    let client = args.control.client()?;
    client.wish(&args.guest, wish)?;
    let outcome = match wish {
        Wish::Switchover => wait_until_moved(&client, &args.guest)?,
        Wish::Protect => PROTECT_ACCEPTED,
        Wish::Unprotect => "accepted: the guest goes on without a copy",
        Wish::ForceTakeover => "accepted: the guest is started here from its last commit",
        Wish::Reclaim => "accepted: `understudy status` shows when the guest runs here",
        Wish::Discard => "accepted: the guest is ended here",
    };
    report(&args.guest, &args.control, outcome)?;
    Ok(Exit::Ok)
}

/// Moves a guest, waits until it has moved, and prints the result.
pub(super) fn run_switchover(args: SwitchoverArgs) -> Result<Exit, CliError> {
    let SwitchoverArgs { wish: Args { guest, control }, even_in_maintenance } = args;
    let client = control.client()?;
    client.switch_over(&guest, even_in_maintenance)?;
    report(&guest, &control, wait_until_moved(&client, &guest)?)?;
    Ok(Exit::Ok)
}

fn report(guest: &str, control: &ControlArgs, outcome: &str) -> Result<(), CliError> {
    match control.output {
        OutputFormat::Text => print(&format!("{guest}: {outcome}")),
        OutputFormat::Json => print(&serde_json::json!({ "guest": guest, "outcome": outcome }).to_string()),
    }
}

/// Asks the node to protect a guest, and waits until it does or says why it cannot; or all of them.
pub(super) fn run_protect(args: ProtectArgs) -> Result<Exit, CliError> {
    let client = args.control.client()?;
    match &args.guest {
        Some(guest) => protect_one(&client, &args, guest),
        None => protect_all(&client, &args),
    }
}

fn protection(args: &ProtectArgs, guest: &str) -> Protection {
    let pacing = PacingSettings { interval: args.interval, budgets: args.pacing };
    Protection {
        guest: guest.to_owned(),
        to: args.to.clone(),
        interval_ms: None,
        pacing: Some(pacing).filter(|it| !it.is_empty()).map(|it| it.to_string()),
        find_changes: args.find_changes,
        mode: args.mode,
    }
}

fn protect_one(client: &Client, args: &ProtectArgs, guest: &str) -> Result<Exit, CliError> {
    client.protect(protection(args, guest))?;
    let began = Instant::now();
    loop {
        let status = client.status()?;
        if status.guests.iter().any(|here| here.name == *guest && here.state != GuestState::Ended) {
            report(guest, &args.control, PROTECT_ACCEPTED)?;
            return Ok(Exit::Ok);
        }
        let waiting = status.waiting.into_iter().find(|waiting| waiting.name == *guest);
        if let Some(reason) = waiting.map(|it| it.reason).filter(|reason| !reason.is_empty()) {
            return Err(CliError::Refused(format!(
                "{guest} cannot be protected: {reason}. The node goes on looking; it is protected once this is put right"
            )));
        }
        if began.elapsed() > FIND_MAX {
            return Err(CliError::Refused(format!(
                "The node has not found {guest} yet; its log says what it waits for"
            )));
        }
        thread::sleep(ASK_EVERY);
    }
}

/// Protects the guests that run here and are not to be protected yet. A refusal for one does not stop the others.
fn protect_all(client: &Client, args: &ProtectArgs) -> Result<Exit, CliError> {
    let status = client.status()?;
    let is_meant = |guest: &&GuestStatus| {
        guest.role == GuestRole::Primary && !guest.wished && guest.state != GuestState::Ended
    };
    let mut exit = Exit::Ok;
    let mut outcomes = Vec::new();
    for guest in status.guests.iter().filter(is_meant) {
        let outcome = match client.protect(protection(args, &guest.name)) {
            Ok(()) => PROTECT_ACCEPTED.to_owned(),
            Err(ClientError::Refused(reason)) => {
                exit = Exit::Refused;
                format!("refused: {reason}")
            }
            Err(error) => return Err(error.into()),
        };
        outcomes.push((&guest.name, outcome));
    }
    match args.control.output {
        OutputFormat::Json => {
            let each = outcomes
                .iter()
                .map(|(guest, outcome)| serde_json::json!({ "guest": guest, "outcome": outcome }));
            print(&serde_json::Value::from_iter(each).to_string())?;
        }
        OutputFormat::Text if outcomes.is_empty() => {
            print(&format!("no guest that runs on {} is without the wish to be protected", status.node))?;
        }
        OutputFormat::Text => {
            outcomes.iter().try_for_each(|(guest, outcome)| print(&format!("{guest}: {outcome}")))?;
        }
    }
    Ok(exit)
}

/// Waits until this node is no longer the guest's primary.
fn wait_until_moved(client: &Client, guest: &str) -> Result<&'static str, CliError> {
    let began = Instant::now();
    loop {
        let status = client.status()?;
        let here = status.guests.iter().find(|g| g.name == guest && g.role == GuestRole::Primary);
        let Some(here) = here else {
            return Ok("moved");
        };
        if began.elapsed() > SWITCHOVER_MAX {
            return Err(CliError::Refused(format!(
                "{guest} is still here and {}; nothing is lost, try again. {}",
                here.state.words(),
                here.reason
            )));
        }
        thread::sleep(ASK_EVERY);
    }
}

/// Makes the node run a guest that it keeps paused, or prints the risks.
pub(super) fn run_reclaim(args: ReclaimArgs) -> Result<Exit, CliError> {
    if !args.nobody_else_runs_it {
        return Err(CliError::Refused(RECLAIM_RISKS.into()));
    }
    run(Wish::Reclaim, args.wish)
}

/// Makes the node end a guest that it keeps paused, or prints the risks.
pub(super) fn run_discard(args: DiscardArgs) -> Result<Exit, CliError> {
    if !args.lose_it {
        return Err(CliError::Refused(DISCARD_RISKS.into()));
    }
    run(Wish::Discard, args.wish)
}

/// Asks for a takeover without a witness's decision, or prints its risks.
pub(super) fn run_takeover(args: TakeoverArgs) -> Result<Exit, CliError> {
    if !args.primary_is_dead {
        return Err(CliError::Refused(TAKEOVER_RISKS.into()));
    }
    run(Wish::ForceTakeover, args.wish)
}
