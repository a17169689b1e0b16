//! `understudy events`: what has changed on a node, one line each, and what changes from now on.
//!
//! ```text
//!   2026-11-30T19:22:38.960Z  g1       protected (was arming), primary, generation 2
//!   2026-11-30T19:23:04.112Z  link b   down (was up): the link ended: nothing was heard
//! ```
//!
//! The node keeps a bounded number and waits for nobody: a reader that is too slow is told how many it has missed.

use super::{CliError, ControlArgs, Exit, OutputFormat, not_written};
use crate::config::human::{parse_span, show_time};
use crate::console;
use crate::control::GuestRole;
use crate::control::events::{Event, Events, Subject, WAIT_MS_MAX};
use std::time::{SystemTime, UNIX_EPOCH};
use understudy_session::Span;

/// Arguments of `events`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Also print further events, until the node ends or the reader goes away
    #[arg(long)]
    follow: bool,
    /// Leave out older events
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    since: Option<Span>,
    #[command(flatten)]
    control: ControlArgs,
}

/// Prints what the node has kept, and follows.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let client = args.control.client()?;
    let not_before = args.since.map_or(0, |since| now_ms().saturating_sub(since.0 / 1_000_000));
    let (mut after, mut pid) = (0, None);
    loop {
        let page = client.events(after, if args.follow { WAIT_MS_MAX } else { 0 })?;
        if pid.replace(page.pid).is_some_and(|pid| pid != page.pid) {
            // Another process numbers its events anew.
            after = 0;
            continue;
        }
        let is_last = page.events.last().is_none_or(|event| event.number == page.newest);
        after = page.events.last().map_or(page.newest, |event| event.number);
        if !print(&page, not_before, args.control.output)? || (is_last && !args.follow) {
            return Ok(Exit::Ok);
        }
    }
}

/// Returns `false` once the reader has gone.
fn print(page: &Events, not_before: u64, output: OutputFormat) -> Result<bool, CliError> {
    let mut text = String::new();
    if page.lost > 0 {
        text += &match output {
            OutputFormat::Text => format!("… {} events are gone: they were asked for too late\n", page.lost),
            OutputFormat::Json => format!("{}\n", serde_json::json!({ "lost": page.lost })),
        };
    }
    for event in page.events.iter().filter(|event| event.at_ms >= not_before) {
        text += &match output {
            OutputFormat::Text => line(event),
            OutputFormat::Json => serde_json::to_string(event).expect("an event is plain data"),
        };
        text.push('\n');
    }
    if text.is_empty() { Ok(true) } else { console::stream(&text).map_err(not_written) }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}

/// An event for a person.
fn line(event: &Event) -> String {
    let Event { at_ms, subject, name, state, was, role, generation, reason, .. } = event;
    let whose = match subject {
        Subject::Guest => name.clone(),
        Subject::Node => format!("node {name}"),
        Subject::Link => format!("link {name}"),
        Subject::Witness => "witness".into(),
        Subject::Maintenance => "maintenance".into(),
    };
    let words = |state: &str| state.replace('_', " ");
    let mut text = format!("{}  {whose:<12}  {}", show_time(*at_ms), words(state));
    if !was.is_empty() && was != state {
        text += &format!(" (was {})", words(was));
    }
    match role {
        Some(GuestRole::Primary) => text += ", primary",
        Some(GuestRole::Secondary) => text += ", secondary",
        None => {}
    }
    if let Some(generation) = generation {
        text += &format!(", generation {generation}");
    }
    if !reason.is_empty() {
        text += &format!(": {reason}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event = Event {
            number: 7,
            at_ms: 1_796_066_558_960,
            subject: Subject::Guest,
            name: "g1".into(),
            state: "link_lost".into(),
            was: "protected".into(),
            role: Some(GuestRole::Primary),
            generation: Some(2),
            reason: "the link to b is down".into(),
        };
        assert_eq!(
            line(&event),
            "2026-11-30T19:22:38.960Z  g1            link lost (was protected), primary, generation 2: the link to b is down"
        );
        let link = Event {
            subject: Subject::Link,
            name: "b".into(),
            state: "up".into(),
            was: String::new(),
            role: None,
            generation: None,
            reason: String::new(),
            ..event
        };
        assert!(line(&link).ends_with("  link b        up"));
    }
}
