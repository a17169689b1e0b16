//! `understudy wait`: until a guest stands as it should, or the time is over.
//!
//! ```text
//!   status ── as wanted ─► 0
//!     ▲  └── not yet ─► the node's next event (a node of an earlier version: a moment) ─┐
//!     └──────────────────────────────────────────────────────────────── time is over ─► 3
//! ```

use super::status::progress;
use super::{CliError, ControlArgs, Exit, OutputFormat, print};
use crate::config::human::parse_span;
use crate::control::{ClientError, GuestRole, GuestState, GuestStatus, Status};
use crate::drill::progress::Progress;
use std::thread;
use std::time::{Duration, Instant};
use understudy_session::Span;

/// Arguments of `wait`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Name of the guest
    guest: String,
    /// State to wait for
    #[arg(long = "for", value_name = "WHAT", value_enum)]
    wanted: Wanted,
    /// Longest time to wait
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_span)]
    timeout: Span,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    /// It runs here, and would survive the death of this host
    Protected,
    /// It runs here, and its output leaves without a copy
    Unprotected,
    /// It runs here, protected or not
    Running,
    /// Its copy here is complete, and may take over
    Standing,
    /// This node neither runs it, nor holds a copy, nor looks for it
    Gone,
}

/// How often a full sync's progress, which causes no events, is shown on a terminal.
const SHOW_EVERY_MS: u64 = 1_000;

/// Delay between two requests to a node that does not answer, or that has no events.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Waits.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let client = args.control.client()?;
    let ends_at = Instant::now() + Duration::from(args.timeout);
    // Before the first status, so that no event is missed in between.
    let mut newest = client.events(u64::MAX, 0).map(|page| page.newest).ok();
    let mut line = Progress::new();
    loop {
        let status = client.status();
        if let Ok(status) = &status
            && stands(status, &args.guest, args.wanted)
        {
            line.clear();
            report(&args, status)?;
            return Ok(Exit::Ok);
        }
        let left = ends_at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            line.clear();
            return Err(too_late(&args, status));
        }
        line.show(format_args!("{}", standing(&status, &args.guest)));
        newest = match newest {
            Some(after) => client
                .events(after, (left.as_millis() as u64).min(SHOW_EVERY_MS))
                .map(|page| page.newest)
                .ok(),
            None => client.events(u64::MAX, 0).map(|page| page.newest).ok(),
        };
        if newest.is_none() {
            thread::sleep(ASK_EVERY.min(left));
        }
    }
}

fn stands(status: &Status, guest: &str, wanted: Wanted) -> bool {
    use GuestState::*;
    let here = status.guests.iter().find(|here| here.name == guest);
    let is_waiting = status.waiting.iter().any(|waiting| waiting.name == guest);
    let Some(here) = here else { return wanted == Wanted::Gone && !is_waiting };
    let runs = here.role == GuestRole::Primary
        && matches!(here.state, Unprotected | Seeding | Arming | Protected | Late | LinkLost | MarkingStale);
    match wanted {
        Wanted::Protected => here.protected,
        Wanted::Unprotected => here.role == GuestRole::Primary && here.state == Unprotected,
        Wanted::Running => runs,
        Wanted::Standing => here.state == Standing,
        Wanted::Gone => here.state == Ended && !is_waiting,
    }
}

fn report(args: &Args, status: &Status) -> Result<(), CliError> {
    let here = status.guests.iter().find(|here| here.name == args.guest);
    let state = here.map(|here| here.state);
    match args.control.output {
        OutputFormat::Text => {
            print(&format!("{}: {}", args.guest, state.map_or("gone".into(), GuestState::words)))
        }
        OutputFormat::Json => print(&serde_json::json!({ "guest": args.guest, "state": state }).to_string()),
    }
}

/// The present state, for the line on a terminal.
fn standing(status: &Result<Status, ClientError>, guest: &str) -> String {
    let Ok(status) = status else { return "the node does not answer".into() };
    match status.guests.iter().find(|here| here.name == guest) {
        None => "not here".into(),
        Some(GuestStatus { state, full_sync: Some(sync), .. }) => {
            format!("{}: {}", state.words(), progress(sync))
        }
        Some(here) => here.state.words(),
    }
}

/// The error when time is up, with the present state.
fn too_late(args: &Args, status: Result<Status, ClientError>) -> CliError {
    let status = match status {
        Ok(status) => status,
        Err(error) => return error.into(),
    };
    let how = match status.guests.iter().find(|here| here.name == args.guest) {
        None => format!("is not on node {}", status.node),
        Some(here) if here.reason.is_empty() => format!("is {} on node {}", here.state.words(), status.node),
        Some(here) => format!("is {} on node {}: {}", here.state.words(), status.node, here.reason),
    };
    CliError::CheckFailed(format!("{} {how}", args.guest))
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{guest, of};
    use super::*;

    #[test]
    fn what_is_waited_for_is_told_by_the_guests_state_here() {
        let standing = |role, state, wanted| {
            let protected = state == GuestState::Protected;
            stands(&of(vec![GuestStatus { role, state, protected, ..guest("g1") }]), "g1", wanted)
        };
        use GuestRole::{Primary, Secondary};
        assert!(standing(Primary, GuestState::Protected, Wanted::Protected));
        assert!(!standing(Primary, GuestState::Arming, Wanted::Protected));
        assert!(standing(Primary, GuestState::Arming, Wanted::Running));
        assert!(!standing(Primary, GuestState::Fenced, Wanted::Running));
        assert!(!standing(Secondary, GuestState::Seeding, Wanted::Running), "only its copy is here");
        assert!(standing(Secondary, GuestState::Standing, Wanted::Standing));
        assert!(standing(Primary, GuestState::Unprotected, Wanted::Unprotected));
        assert!(standing(Primary, GuestState::Ended, Wanted::Gone));
        assert!(!standing(Primary, GuestState::Unprotected, Wanted::Gone));
        assert!(stands(&of(Vec::new()), "g1", Wanted::Gone));
        assert!(!stands(&of(Vec::new()), "g1", Wanted::Running));
    }
}
