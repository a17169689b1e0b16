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
mod peers;
mod verdict;
mod watch;

use super::{CliError, ControlArgs, Exit, OutputFormat, not_written, print_json};
use crate::config::human::{show_bytes, show_us};
use crate::console;
use crate::control::status::{FencingStatus, FullSyncStatus, Quantiles, WatchdogState, WitnessKind};
use crate::control::{ClientError, GuestRole, GuestStatus, Status};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Arguments of `status`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    control: ControlArgs,
    /// Say by the exit code how the guests stand: 0 all are safe, 3 one is not or there is none, 5 the node does not answer
    #[arg(long)]
    exit_code: bool,
    /// Show it anew whenever something changes, and every second; with --output json an object a line
    #[arg(long, conflicts_with = "exit_code")]
    watch: bool,
    /// With --exit-code: judge these guests, of which each has to be here [default: all that the node knows]
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

const COLUMNS: [&str; 9] = [
    "GUEST",
    "ROLE",
    "PROTECTED",
    "EPOCH",
    "COMMIT AGE",
    "PAUSE p50 / p99",
    "COMMIT p50 / p99",
    "LINK",
    "GENERATION",
];

/// The status as a table for a person.
fn render(status: &Status) -> String {
    let mut text = head(status);
    if status.guests.is_empty() {
        text.push_str("\nno guests\n");
    } else {
        put_guests(&mut text, status);
    }
    for waiting in &status.waiting {
        let reason = if waiting.reason.is_empty() { "it is being looked for" } else { &waiting.reason };
        let _ = writeln!(text, "{}: to be protected: {reason}", waiting.name);
    }
    peers::put(&mut text, status);
    text
}

/// How wide each column has to be.
fn widths<const N: usize>(columns: &[&str; N], rows: &[[String; N]]) -> [usize; N] {
    std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([columns[column].len()]).max().unwrap_or(0)
    })
}

fn put_guests(text: &mut String, status: &Status) {
    let mut guests: Vec<&GuestStatus> = status.guests.iter().collect();
    guests.sort_by_cached_key(|guest| natural(&guest.name));
    let rows: Vec<_> = guests.iter().map(|guest| row(guest)).collect();
    let widths = widths(&COLUMNS, &rows);
    text.push('\n');
    put_line(text, &COLUMNS.map(String::from), &widths);
    for (guest, row) in guests.into_iter().zip(&rows) {
        put_line(text, row, &widths);
        if guest.compared_bytes > 0 {
            let (took, memory) = (show_us(guest.pause_parts_us.drain), show_bytes(guest.compared_bytes));
            let _ = writeln!(
                text,
                "{:width$}  └ changes are found by comparing: {took} of each pause (median), {memory} of memory",
                "",
                width = widths[0]
            );
        }
        if let Some(sync) = guest.full_sync {
            let _ = writeln!(text, "{:width$}  └ full sync: {}", "", progress(&sync), width = widths[0]);
        }
        if let Some(pace) = pace(guest) {
            let _ = writeln!(text, "{:width$}  └ {pace}", "", width = widths[0]);
        }
        if let Some(colo) = colo(guest) {
            let _ = writeln!(text, "{:width$}  └ {colo}", "", width = widths[0]);
        }
        if let Some(takeover) = guest.takeover {
            let words = came::words(&takeover, status.clock_ns);
            let _ = writeln!(text, "{:width$}  └ {words}", "", width = widths[0]);
        }
        if let Some(age) = late_commit(guest) {
            let _ = writeln!(
                text,
                "{:width$}  └ the last checkpoint is {age} old, and what the guest sends waits as long: the link or the \
                 other host is slower than the guest changes",
                "",
                width = widths[0]
            );
        }
        if !guest.reason.is_empty() {
            let _ = writeln!(text, "{:width$}  └ {}", "", guest.reason, width = widths[0]);
        }
    }
}

/// How far a full sync is. Most of a disk is copied before the memory is.
pub(super) fn progress(sync: &FullSyncStatus) -> String {
    if sync.pages == 0 && sync.disk_left_bytes > 0 {
        let (left, of) = (show_bytes(sync.disk_left_bytes), show_bytes(sync.of_disk_bytes));
        return format!("{left} of the disk's {of} left, then the memory");
    }
    let left = sync.left_ms.map_or("the time left is not known yet".into(), |ms| {
        format!("{} left", show_us(ms.saturating_mul(1_000)))
    });
    let limit =
        sync.limit_bytes_per_s.map_or(String::new(), |limit| format!(" (limit {}/s)", show_bytes(limit)));
    format!("{:.0} %, {}/s on the link{limit}, {left}", sync.share * 100.0, show_bytes(sync.bytes_per_s))
}

/// How output leaves before its ack; `None` if the guest's mode is remus.
fn colo(guest: &GuestStatus) -> Option<String> {
    let colo = &guest.colo;
    if guest.role != GuestRole::Primary || matches!(&*colo.mode, "" | "remus") {
        return None;
    }
    let mut text = format!("colo, mode {}: ", colo.mode);
    if colo.live {
        text.push_str("the copy is live");
    } else {
        let _ = write!(text, "not live: {}", colo.reason);
    }
    if let Some(share) = colo.match_share {
        let _ = write!(text, "; {:.0} % of what left did so by a match", share * 100.0);
    }
    if colo.match_us.count > 0 {
        let _ = write!(text, ", after {}", times(colo.match_us));
    }
    let diverged: Vec<String> = colo
        .diverged
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(why, count)| format!("{why} {count}"))
        .collect();
    if !diverged.is_empty() {
        let _ = write!(text, "; checkpoints for what did not match: {}", diverged.join(", "));
    }
    Some(text)
}

/// The pacing of the guest's checkpoints, unless it is a clock.
fn pace(guest: &GuestStatus) -> Option<String> {
    let by = match guest.paced_by.as_deref()? {
        "output" => "output that waited",
        "batch" => "answers that were expected",
        "quiet" => "nothing, but the longest interval",
        "interval_min" => "the shortest interval",
        "pause_share" => "the guest's share of time",
        "link_rate" => "the link's rate",
        "cpu_share" => "the processor's share",
        "encoder" => "the one before, which was still being encoded",
        _ => return None,
    };
    Some(format!("checkpoints go by output ({}); the newest waited for {by}", guest.pacing))
}

/// A commit older than this is mentioned.
const LATE_MS: u64 = 1_000;

/// The age of a protected guest's last commit, if it is late.
fn late_commit(guest: &GuestStatus) -> Option<String> {
    let is_here = guest.role == GuestRole::Primary && guest.protected;
    let late_ms = LATE_MS.max((guest.interval_ms * 4.0) as u64);
    let age_ms = guest.commit_age_ms.filter(|age_ms| is_here && *age_ms > late_ms)?;
    Some(show_us(age_ms.saturating_mul(1_000)))
}

/// Key for sorting names as people count: m2 before m10.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits_at = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(digits_at);
        let number_ends = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(number_ends);
        parts.push((word.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

fn head(status: &Status) -> String {
    let link = |connected| if connected { "connected" } else { "NOT connected" };
    let mut text = format!("node {}, process {}; ", status.node, status.pid);
    if status.witness.configured {
        let etcd = if status.witness.kind == Some(WitnessKind::Etcd) { " etcd" } else { "" };
        let _ = write!(text, "witness{etcd} {}", link(status.witness.connected));
    } else {
        text.push_str("no witness: only an operator can order a takeover");
    }
    for peer in &status.peers {
        let _ = write!(text, "; peer {} {}", peer.node, link(peer.connected));
        // With one address there is nothing to say.
        if let Some(path) = peer.path.filter(|_| peer.addresses.len() > 1) {
            let _ = write!(text, " from {} to {}", path.from, path.to);
        }
    }
    text.push('\n');
    if status.maintenance.on {
        text.push_str("  └ in maintenance: takes no new copies; `understudy maintenance off` ends it\n");
    }
    let witness = ("witness", &status.witness.reason);
    let peers = status.peers.iter().map(|peer| (&*peer.node, &peer.reason));
    for (name, reason) in std::iter::once(witness).chain(peers).filter(|(_, reason)| !reason.is_empty()) {
        let _ = writeln!(text, "  └ {name}: {reason}");
    }
    text += &status.fencing.as_ref().map_or_else(String::new, fencing);
    let days = status.certificate.as_ref().and_then(|own| own.expires).map(days_until);
    if let Some(days) = days.filter(|days| *days < EXPIRY_SAID_DAYS) {
        let _ = writeln!(text, "  └ certificate: good for {days} days more; have it signed anew, and reload");
    }
    text
}

/// This host's watchdog, and the hosts that are waited for.
fn fencing(status: &FencingStatus) -> String {
    let watchdog = match status.watchdog {
        WatchdogState::Off => "the watchdog of this host is NOT set",
        WatchdogState::Renewed => "the lease of this host is confirmed; nothing here needs its watchdog",
        WatchdogState::Armed => "the watchdog of this host is set",
        WatchdogState::Near => "the watchdog of this host is NEAR: guests that need it stand still",
    };
    let mut text = format!("  └ fencing: {watchdog}");
    if !status.reason.is_empty() {
        let _ = write!(text, ": {}", status.reason);
    }
    for host in &status.waits_for {
        let _ = write!(text, "; waits until {} is fenced", host.node);
        if let Some(left_ms) = host.left_ms {
            let _ = write!(text, " ({} s at least)", left_ms.div_ceil(1_000));
        }
    }
    text + "\n"
}

/// A certificate that expires within this time is mentioned.
const EXPIRY_SAID_DAYS: u64 = 30;

/// Whole days from now to a time in seconds since 1970; 0 if the time has passed.
pub(super) fn days_until(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    seconds.saturating_sub(now) / (24 * 60 * 60)
}

fn role_words(role: GuestRole) -> &'static str {
    match role {
        GuestRole::Primary => "primary",
        GuestRole::Secondary => "secondary",
    }
}

/// The column that says whether a guest is protected; `state` is one of [`GuestState`], or of a later version.
fn protected_words(role: GuestRole, is_protected: bool, state: &str) -> String {
    let words = state.replace('_', " ");
    match (role, is_protected) {
        (GuestRole::Secondary, _) => format!("copy: {words}"),
        (GuestRole::Primary, true) if words == "protected" => "yes".to_owned(),
        (GuestRole::Primary, true) => format!("yes: {words}"),
        (GuestRole::Primary, false) => format!("no: {words}"),
    }
}

fn age(ms: Option<u64>) -> String {
    or_dash(ms.map(|ms| show_us(ms.saturating_mul(1_000))))
}

fn row(guest: &GuestStatus) -> [String; 9] {
    [
        guest.name.clone(),
        role_words(guest.role).to_owned(),
        protected_words(guest.role, guest.protected, &guest.state.to_string()),
        or_dash(guest.epoch.map(|epoch| epoch.to_string())),
        age(guest.commit_age_ms),
        times(guest.pause_us),
        times(guest.commit_us),
        saved(guest),
        guest.generation.to_string(),
    ]
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn times(times: Quantiles) -> String {
    if times.count == 0 {
        return "-".to_owned();
    }
    format!("{} / {}", show_us(times.p50), show_us(times.p99))
}

/// Bytes on the link, and the ratio of the pages' bytes to them.
fn saved(guest: &GuestStatus) -> String {
    if guest.link_bytes == 0 {
        return "-".to_owned();
    }
    let ratio = guest.raw_bytes as f64 / guest.link_bytes as f64;
    format!("{} ({ratio:.1}:1)", show_bytes(guest.link_bytes))
}

fn put_line<const N: usize>(text: &mut String, cells: &[String; N], widths: &[usize; N]) {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(line, "{cell:width$}  ");
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::GuestState;
    use crate::control::status::{
        ColoStatus, CopiedAhead, FORMAT, MaintenanceStatus, PageCounts, PauseCalls, PauseParts, PeerStatus,
        WaitingStatus, WitnessKind, WitnessStatus,
    };

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
    fn guests_are_listed_as_people_count() {
        let mut names = ["m10", "m2", "a", "m1", "m1-b2", "m"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["a", "m1", "m1-b2", "m2", "m10", "m"]);
    }

    #[test]
    fn a_copy_that_runs_is_told_and_why_it_does_not() {
        assert_eq!(colo(&guest("g1")), None);
        let live = ColoStatus {
            mode: "auto".into(),
            live: true,
            match_share: Some(0.75),
            diverged: [("content".to_owned(), 3), ("full".to_owned(), 0)].into(),
            match_us: Quantiles { count: 300, p50: 181, p99: 724, max: 1448 },
            ..ColoStatus::default()
        };
        let said = |colo_status| colo(&GuestStatus { colo: colo_status, ..guest("g1") });
        assert_eq!(
            said(live).as_deref(),
            Some(
                "colo, mode auto: the copy is live; 75 % of what left did so by a match, after 181 µs / 724 µs; \
                 checkpoints for what did not match: content 3"
            )
        );
        let off = ColoStatus {
            mode: "colo".into(),
            reason: "the guest is not protected".into(),
            ..ColoStatus::default()
        };
        assert_eq!(said(off).as_deref(), Some("colo, mode colo: not live: the guest is not protected"));
    }

    #[test]
    fn a_full_sync_says_how_far_it_is() {
        let begun = FullSyncStatus::default();
        assert_eq!(progress(&begun), "0 %, 0 B/s on the link, the time left is not known yet");
        let of_disk = FullSyncStatus { disk_left_bytes: 3 << 30, of_disk_bytes: 8 << 30, ..begun };
        assert_eq!(progress(&of_disk), "3.0 GiB of the disk's 8.0 GiB left, then the memory");
        let sync = FullSyncStatus { share: 0.42, bytes_per_s: 31 << 20, left_ms: Some(12_300), ..begun };
        assert_eq!(progress(&sync), "42 %, 31.0 MiB/s on the link, 12.3 s left");
        let limited = FullSyncStatus { limit_bytes_per_s: Some(32 << 20), ..sync };
        assert_eq!(progress(&limited), "42 %, 31.0 MiB/s on the link (limit 32.0 MiB/s), 12.3 s left");
    }

    #[test]
    fn a_late_commit_is_told() {
        let late = GuestStatus { commit_age_ms: Some(4_600), ..guest("g1") };
        assert_eq!(late_commit(&late).as_deref(), Some("4.6 s"));
        assert_eq!(late_commit(&guest("g1")), None);
        let slow = GuestStatus { commit_age_ms: Some(4_600), interval_ms: 2_000.0, ..guest("g1") };
        assert_eq!(late_commit(&slow), None, "its interval is as long");
        let held = GuestStatus { role: GuestRole::Secondary, ..late };
        assert_eq!(late_commit(&held), None);
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
            }],
            guests: vec![guest("g1"), unprotected, compared],
            waiting: vec![WaitingStatus { name: "g3".into(), reason: "it does not run here".into() }],
        };
        let expected = "\
node a, process 4711; witness connected; peer b NOT connected
  └ in maintenance: takes no new copies; `understudy maintenance off` ends it
  └ b: nobody listens there

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
