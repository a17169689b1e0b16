//! `understudy protect | unprotect | switchover | takeover`: an operator's wish for one guest of a running node.

use super::{CliError, ControlArgs, Exit, OutputFormat};
use crate::control::{Client, GuestRole, Wish};
use std::thread;
use std::time::{Duration, Instant};

/// Arguments of `protect`, `unprotect` and `switchover`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Name of the guest
    guest: String,
    #[command(flatten)]
    control: ControlArgs,
}

/// Arguments of `takeover`.
#[derive(clap::Args, Debug)]
pub(super) struct TakeoverArgs {
    #[command(flatten)]
    wish: Args,
    /// Confirm that the other host is dead; without this only the risks are printed
    #[arg(long)]
    primary_is_dead: bool,
}

const TAKEOVER_RISKS: &str = "\
Nothing but you can tell whether the guest still runs on the other host. If it does, a takeover makes two
guests with one identity: both answer on the network, and both write to every disk they share.
Switch the other host off first, then repeat with --primary-is-dead";

/// How long a switchover is waited for. It takes a few epochs; a node that cannot says so before.
const SWITCHOVER_MAX: Duration = Duration::from_secs(30);

/// How often the node is asked how far a wish is.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Asks the node, waits for a switchover to be done, and prints what became of it.
pub(super) fn run(wish: Wish, args: Args) -> Result<Exit, CliError> {
    let client = Client::new(&args.control.control);
    client.wish(&args.guest, wish)?;
    let outcome = match wish {
        Wish::Switchover => wait_until_moved(&client, &args.guest)?,
        Wish::Protect => "accepted: `understudy status` shows when the guest is protected",
        Wish::Unprotect => "accepted: the guest goes on without a copy",
        Wish::ForceTakeover => "accepted: the guest is started here from its last commit",
    };
    match args.control.output {
        OutputFormat::Text => println!("{}: {outcome}", args.guest),
        OutputFormat::Json => println!("{}", serde_json::json!({ "guest": args.guest, "outcome": outcome })),
    }
    Ok(Exit::Ok)
}

/// Waits until this node is not the guest's primary any more.
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
                here.state, here.reason
            )));
        }
        thread::sleep(ASK_EVERY);
    }
}

/// Asks for a takeover that no witness decides, or prints its risks.
pub(super) fn run_takeover(args: TakeoverArgs) -> Result<Exit, CliError> {
    if !args.primary_is_dead {
        return Err(CliError::Refused(TAKEOVER_RISKS.into()));
    }
    run(Wish::ForceTakeover, args.wish)
}
