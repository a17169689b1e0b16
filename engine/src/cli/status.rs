//! `understudy status`: how the guests of a running node stand.
//!
//! ```text
//!   node a, process 4711; witness connected; peer b connected
//!
//!   GUEST  ROLE     PROTECTED        EPOCH  COMMIT AGE  PAUSE p50 / p99    COMMIT p50 / p99   LINK           GENERATION
//!   g1     primary  yes              1204   14 ms       310 µs / 900 µs    2.1 ms / 4.0 ms    31 MiB (42:1)  2
//!   g2     primary  no: unprotected  …
//!          └ Peer b does not answer
//! ```

mod came;
mod colours;
mod guests;
mod head;
mod notes;
mod peers;
mod table;
mod verdict;
mod watch;

use super::{CliError, ControlArgs, Exit, OutputFormat, not_written, print_json};
use crate::console;
use crate::control::{ClientError, Status};
use std::fmt::Write;

pub(super) use head::days_until;
pub(super) use notes::progress;

/// Arguments of `status`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    control: ControlArgs,
    /// Report by the exit code whether the guests are safe: 0 all are, 3 one is not or there is none, 5 the node does not answer
    #[arg(long)]
    exit_code: bool,
    /// Show the status again whenever something changes, and every second; with --output json, one object per line
    #[arg(long, conflicts_with = "exit_code")]
    watch: bool,
    /// With --exit-code: check only these guests, each of which has to be here [default: all that the node knows]
    #[arg(value_name = "GUEST", requires = "exit_code")]
    guests: Vec<String>,
}

/// Asks the node and prints its answer.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    if args.watch {
        return watch::run(&args.control);
    }
    let status = args.control.client()?.status()?;
    match args.control.output {
        OutputFormat::Text => {
            console::report_in_colour(&render(&status), colours::colour).map_err(not_written)?;
        }
        OutputFormat::Json => print_json(&status)?,
    }
    if !args.exit_code {
        return Ok(Exit::Ok);
    }
    let unsafe_guests = verdict::unsafe_guests(&status, &args.guests);
    for reason in &unsafe_guests {
        console::complain(format_args!("understudy: {reason}"));
    }
    Ok(if unsafe_guests.is_empty() { Exit::Ok } else { Exit::CheckFailed })
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable { .. }
            | ClientError::NotAllowed { .. }
            | ClientError::NotASocket { .. }
            | ClientError::Hangs { .. } => Self::Unreachable(error.to_string()),
            ClientError::Refused(_) => Self::Refused(error.to_string()),
            ClientError::BadAnswer { .. } => Self::Internal(error.to_string()),
        }
    }
}

/// The status as a table for a person.
fn render(status: &Status) -> String {
    let mut text = head::head(status);
    if status.guests.is_empty() {
        text.push_str("\nno guests\n");
    } else {
        guests::put(&mut text, status);
    }
    for waiting in &status.waiting {
        let reason = if waiting.reason.is_empty() { "it is being looked for" } else { &waiting.reason };
        let _ = writeln!(text, "{}: to be protected: {reason}", waiting.name);
    }
    peers::put(&mut text, status);
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::status::{
        ColoStatus, CopiedAhead, FORMAT, MaintenanceStatus, PageCounts, PauseCalls, PauseParts, PeerStatus,
        Quantiles, SpareStatus, WaitingStatus, WitnessKind, WitnessStatus,
    };
    use crate::control::{GuestRole, GuestState, GuestStatus};

    pub(in crate::cli) fn guest(name: &str) -> GuestStatus {
        GuestStatus {
            name: name.into(),
            role: GuestRole::Primary,
            peer: "b".into(),
            state: GuestState::Protected,
            protected: true,
            wished: true,
            reason: String::new(),
            generation: 2,
            epoch: Some(1204),
            acked: Some(1203),
            committed: Some(1203),
            commit_age_ms: Some(14),
            interval_ms: 25.0,
            pacing: "interval=25ms".into(),
            paced_by: Some("clock".into()),
            pause_us: Quantiles { count: 1204, p50: 310, p99: 900, max: 1500 },
            pause_parts_us: PauseParts::default(),
            pause_calls: PauseCalls::default(),
            commit_us: Quantiles { count: 1203, p50: 2_100, p99: 4_000, max: 9_000 },
            pages: PageCounts::default(),
            copied_ahead: CopiedAhead::default(),
            raw_bytes: 1_302 << 20,
            link_bytes: 31 << 20,
            compared_bytes: 0,
            held_bytes: 0,
            dropped_frames: 0,
            takeover: None,
            full_sync: None,
            kept: Default::default(),
            export: None,
            disk: None,
            colo: ColoStatus::default(),
        }
    }

    /// A node with these guests and nothing else.
    pub(in crate::cli) fn of(guests: Vec<GuestStatus>) -> Status {
        let witness = WitnessStatus::none();
        Status {
            format: FORMAT,
            node: "a".into(),
            pid: 1,
            clock_ns: 0,
            maintenance: Default::default(),
            witness,
            certificate: None,
            fencing: None,
            peers: Vec::new(),
            guests,
            waiting: Vec::new(),
        }
    }

    #[test]
    fn the_table_says_who_is_protected_and_why_not() {
        let unprotected = GuestStatus {
            protected: false,
            state: GuestState::Unprotected,
            reason: "Peer b does not answer".into(),
            pause_us: Quantiles::default(),
            commit_us: Quantiles::default(),
            link_bytes: 0,
            commit_age_ms: None,
            ..guest("g2")
        };
        let compared = GuestStatus {
            compared_bytes: 64 << 20,
            pause_parts_us: PauseParts { drain: 21_000, ..PauseParts::default() },
            pause_calls: PauseCalls::default(),
            ..guest("g4")
        };
        let status = Status {
            format: FORMAT,
            node: "a".into(),
            pid: 4711,
            clock_ns: 90_000_000_000,
            maintenance: MaintenanceStatus { on: true, since: Some(1) },
            witness: WitnessStatus {
                configured: true,
                kind: Some(WitnessKind::Own),
                address: "127.0.0.1:7000".into(),
                connected: true,
                reason: String::new(),
            },
            certificate: None,
            fencing: None,
            peers: vec![PeerStatus {
                node: "b".into(),
                address: None,
                addresses: Vec::new(),
                path: None,
                connected: false,
                reason: "nobody listens there".into(),
                round_trip_us: None,
                said: None,
                spares: vec![SpareStatus {
                    address: "198.51.100.2:7002".parse().unwrap(),
                    answers: false,
                    reason: "nothing comes any more".into(),
                }],
            }],
            guests: vec![guest("g1"), unprotected, compared],
            waiting: vec![WaitingStatus { name: "g3".into(), reason: "it does not run here".into() }],
        };
        let expected = "\
node a, process 4711; witness connected; peer b NOT connected
  └ in maintenance: takes no new copies; `understudy maintenance off` ends it
  └ b: nobody listens there
  └ b does not answer at 198.51.100.2:7002: nothing comes any more

GUEST  ROLE     PROTECTED        EPOCH  COMMIT AGE  PAUSE p50 / p99  COMMIT p50 / p99  LINK               GENERATION
g1     primary  yes              1204   14.0 ms     310 µs / 900 µs  2.1 ms / 4.0 ms   31.0 MiB (42.0:1)  2
g2     primary  no: unprotected  1204   -           -                -                 -                  2
       └ Peer b does not answer
g4     primary  yes              1204   14.0 ms     310 µs / 900 µs  2.1 ms / 4.0 ms   31.0 MiB (42.0:1)  2
       └ changes are found by comparing: 21.0 ms of each pause (median), 64.0 MiB of memory
g3: to be protected: it does not run here
";
        assert_eq!(render(&status), expected);
    }
}
