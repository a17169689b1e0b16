//! `understudy evacuate`: every guest that runs here goes to the host that holds its copy, before its engine ends or its host
//! is rebooted. It ends by itself, and gives up nothing that could still be taken over.
//!
//! ```text
//!   protected ───────────────────────► switchover ──► gone from here                        moved
//!   being copied, without its link ──► waited for ──┬─ protected (as above)
//!                                                   ├─ at the end, no whole copy: unprotect  let go: goes on here, bare
//!   nobody makes a copy ──────────────► unprotect ──┘
//!   kept for a person, or its copy is whole and it did not move                             left as it is
//! ```
//!
//! [`plan`] decides for one guest what is done next; this asks the node. Not here: keeping guests away afterwards.

mod plan;

use super::{CliError, ControlArgs, Exit, OutputFormat, print, print_json};
use crate::config::human::parse_span;
use crate::console;
use crate::control::{Client, ClientError, GuestRole, Status, Wish};
use plan::{Course, Moment, Outcome};
use serde::Serialize;
use std::thread;
use std::time::{Duration, Instant};
use understudy_session::Span;

/// Arguments of `evacuate`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Time limit. A guest that has not moved by then is left if it has a complete copy, and let go otherwise
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_span)]
    timeout: Span,
    /// Also move guests to a host in maintenance; without this flag they are left
    #[arg(long)]
    even_in_maintenance: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// The most guests that move, and so are suspended, at a time: the other host starts one after the other.
const MOVING_MAX: usize = 2;

/// How long to wait for a copy that is about to be made before the guest counts as one without a copy.
const BEGIN_MAX: Duration = Duration::from_secs(3);

/// The most time reserved for the last moves; a quarter of a short time limit.
const LET_GO_MAX: Duration = Duration::from_secs(5);

/// How often the node is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Moves what can be moved, and prints the result for each guest.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let client = args.control.client()?;
    let time_max = Duration::from(args.timeout);
    let began = Instant::now();
    let mut status = client.status()?;
    let mut courses = courses(&status);
    let is_text = args.control.output == OutputFormat::Text;
    // The guests are what counts: what cannot be said is told at the end.
    let mut said = Ok(());
    loop {
        let moment = match began.elapsed() {
            elapsed if elapsed >= time_max => Moment::Over,
            elapsed if elapsed + LET_GO_MAX.min(time_max / 4) >= time_max => Moment::LettingGo,
            elapsed if elapsed >= BEGIN_MAX => Moment::Moving,
            _ => Moment::Beginning,
        };
        for at in 0..courses.len() {
            advance(&client, &status, &mut courses, at, moment, args.even_in_maintenance)?;
            if is_text && let Some(line) = courses[at].say_once() {
                said = said.and(print(&line));
            }
        }
        if courses.iter().all(|course| course.outcome().is_some()) {
            break;
        }
        thread::sleep(ASK_EVERY.min(time_max.saturating_sub(began.elapsed())));
        status = client.status()?;
    }
    finish(&status.node, &courses, args.control.output).and_then(|exit| said.map(|()| exit))
}

/// The guests that run here at the beginning. A guest that arrives later was moved by somebody, or its host died.
fn courses(status: &Status) -> Vec<Course> {
    let here = status.guests.iter().filter(|guest| guest.role == GuestRole::Primary);
    here.map(|guest| Course::new(&guest.name, &guest.peer)).collect()
}

/// Takes the next step for one guest.
fn advance(
    client: &Client,
    status: &Status,
    courses: &mut [Course],
    at: usize,
    moment: Moment,
    even_in_maintenance: bool,
) -> Result<(), ClientError> {
    let has_room = courses.iter().filter(|course| course.is_moving()).count() < MOVING_MAX;
    let course = &mut courses[at];
    let seen = status.guests.iter().find(|guest| guest.name == course.name());
    let peer = status.peers.iter().find(|peer| peer.node == course.to() && peer.connected);
    let is_peer_there = peer.is_some();
    let is_closed = peer.and_then(|peer| peer.said.as_ref()).is_some_and(|said| said.bulletin.maintenance.on);
    if is_closed && !even_in_maintenance && seen.is_some_and(|guest| guest.protected) {
        course
            .leave(seen, &format!("{} is in maintenance; --even-in-maintenance moves it there", course.to()));
        return Ok(());
    }
    let Some(wish) = course.next(seen, is_peer_there, moment) else { return Ok(()) };
    if wish == Wish::Switchover && !has_room {
        return Ok(());
    }
    let begun = match wish {
        Wish::Switchover => client.switch_over(course.name(), even_in_maintenance),
        wish => client.wish(course.name(), wish),
    };
    match begun {
        Ok(()) => course.began(wish),
        // The guest's state has changed; the next look shows it.
        Err(ClientError::Refused(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

#[derive(Serialize)]
struct Evacuation<'a> {
    node: &'a str,
    moved: usize,
    let_go: usize,
    left: usize,
    guests: &'a [Course],
}

fn finish(node: &str, courses: &[Course], output: OutputFormat) -> Result<Exit, CliError> {
    let count = |outcome| courses.iter().filter(|course| course.outcome() == Some(outcome)).count();
    let (moved, let_go, left) = (count(Outcome::Moved), count(Outcome::LetGo), count(Outcome::Left));
    match output {
        OutputFormat::Json => print_json(&Evacuation { node, moved, let_go, left, guests: courses })?,
        OutputFormat::Text if courses.is_empty() => print(&format!("no guest runs on {node}"))?,
        OutputFormat::Text => {}
    }
    if let_go + left == 0 {
        return Ok(Exit::Ok);
    }
    console::complain(format_args!(
        "understudy: {} of {} guests are still here",
        let_go + left,
        courses.len()
    ));
    Ok(Exit::CheckFailed)
}
