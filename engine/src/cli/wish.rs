//! `understudy protect | unprotect | switchover | takeover`: an operator's wish for one guest of a running node.

use super::{CliError, ControlArgs, Exit};
use crate::control::Wish;

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

/// Asks the node and prints its answer.
pub(super) fn run(wish: Wish, args: Args) -> Result<Exit, CliError> {
    Err(CliError::Internal(format!("{wish:?} {} {:?}: not built yet", args.guest, args.control)))
}

/// Asks for a takeover that no witness decides, or prints its risks.
pub(super) fn run_takeover(args: TakeoverArgs) -> Result<Exit, CliError> {
    if !args.primary_is_dead {
        return Err(CliError::Refused(TAKEOVER_RISKS.into()));
    }
    run(Wish::ForceTakeover, args.wish)
}
