//! `understudy colo`: whether a service suits COLO, by what two guests sent.
//!
//! ```text
//!   PRIMARY ──┬─ survey: who is the guest, who its clients, which clock ─┐
//!   SECONDARY ┴─────────────────────────────────────────────────────────┴─► judge ─► report
//! ```
//!
//! Both captures are read twice or three times and never kept. How a run ends:
//!
//! ```text
//!   no divergence                                         0
//!   a divergence, or nothing that could be compared       3
//!   a capture that ends early, is damaged or was cut      4, after what was read of it is told
//! ```

mod alignment;
mod both;
mod capture;
mod clients;
mod evidence;
mod findings;
mod flows;
mod frames;
mod guest;
mod judge;
mod link_layer;
mod report;

use super::{CliError, Exit, OutputFormat, print, print_json};
use alignment::{Alignment, Reason};
use both::{Both, Host};
use capture::{Capture, CaptureError, Captured, Nanoseconds};
use clients::{Clients, Openings};
use findings::Findings;
use guest::{Guest, Inference};
use judge::Judge;
use report::{CaptureReport, Report};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Frames that are examined to find out who the guest and its clients are.
const SURVEYED_MAX: usize = 1_000_000;

/// Lines of `--frames` are printed in pieces of this many bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// What to do about COLO.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Compare two captures: what would output have waited for under COLO, and where do the two guests differ
    Compare(CompareArgs),
}

/// Two captures to compare.
#[derive(clap::Args, Debug)]
pub(super) struct CompareArgs {
    /// What the first guest sent and received: a pcap or pcapng file
    primary: PathBuf,
    /// What the second guest sent and received
    secondary: PathBuf,
    /// MAC or IP address of the guest, the same in both; by default, the only address that answers TCP connections in both
    #[arg(long, value_name = "ADDRESS", value_parser = guest::parse)]
    guest: Option<Guest>,
    /// Seconds to add to the times of SECONDARY; by default, such that the first frame to the guest is at the same time
    #[arg(long, value_name = "SECONDS", value_parser = alignment::parse_offset, allow_hyphen_values = true)]
    offset: Option<Nanoseconds>,
    /// Say for each frame of PRIMARY when it would have left; with `--output json`, one line per frame, then the report
    #[arg(long)]
    frames: bool,
    /// Format of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
}

/// Runs one of them.
pub(super) fn run(command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Compare(args) => run_compare(&args),
    }
}

fn open(path: &Path) -> Result<Capture, CliError> {
    let said = |why: &dyn std::fmt::Display| CliError::BadInput(format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|error| said(&CaptureError::Unreadable(error)))?;
    let is_file = file.metadata().map_err(|error| said(&CaptureError::Unreadable(error)))?.is_file();
    if !is_file {
        return Err(said(&"it is read more than once, so it must be a file: write the capture to one first"));
    }
    Capture::new(file).map_err(|error| said(&error))
}

/// Examines the frames of a capture. An error that ends the capture early is reported when the capture is judged.
fn survey(path: &Path, mut look_at: impl FnMut(&Captured)) -> Result<(), CliError> {
    let mut capture = open(path)?;
    let frames = std::iter::from_fn(|| capture.next().ok().flatten());
    frames.take(SURVEYED_MAX).for_each(|frame| look_at(&frame));
    Ok(())
}

fn find_guest(args: &CompareArgs) -> Result<Guest, CliError> {
    if let Some(guest) = args.guest {
        return Ok(guest);
    }
    let (mut primary, mut secondary) = (Inference::default(), Inference::default());
    survey(&args.primary, |frame| primary.look_at(frame))?;
    survey(&args.secondary, |frame| secondary.look_at(frame))?;
    primary.guest(&secondary).map_err(|error| CliError::Usage(error.to_string()))
}

fn align(args: &CompareArgs, guest: Guest) -> Result<Alignment, CliError> {
    match args.offset {
        Some(offset) => Ok(Alignment { offset, reason: Reason::Told }),
        None => Ok(Alignment::find(open(&args.primary)?, open(&args.secondary)?, guest)),
    }
}

fn run_compare(args: &CompareArgs) -> Result<Exit, CliError> {
    let guest = find_guest(args)?;
    let mut openings = Openings::default();
    survey(&args.primary, |frame| openings.look_at(frame, guest))?;
    let alignment = align(args, guest)?;
    let mut both = Both::new(open(&args.primary)?, open(&args.secondary)?, alignment.offset);
    let mut judge = Judge::new(guest, Clients::new(openings), alignment.reason, args.frames);
    let mut lines = Lines { form: args.output, text: String::new() };
    while let Some((host, frame)) = both.next() {
        judge.frame(host, frame);
        lines.take(&mut judge)?;
    }
    judge.finish();
    lines.take(&mut judge)?;
    let report = assemble(args, guest, alignment, judge.findings(), both.ended_early());
    match args.output {
        OutputFormat::Text => lines.finish(&report.text())?,
        OutputFormat::Json if args.frames => {
            lines.finish(&compact(&serde_json::json!({ "report": report }))?)?
        }
        OutputFormat::Json => print_json(&report)?,
    }
    conclude(&report)
}

/// Buffered lines of `--frames`.
struct Lines {
    form: OutputFormat,
    text: String,
}

impl Lines {
    fn take(&mut self, judge: &mut Judge) -> Result<(), CliError> {
        while let Some(frame) = judge.poll_frame() {
            // Writing into a string cannot fail.
            let _ = match self.form {
                OutputFormat::Text => writeln!(self.text, "{frame}"),
                OutputFormat::Json => writeln!(self.text, "{}", compact(&frame)?),
            };
            if self.text.len() >= CHUNK_BYTES {
                print(&std::mem::take(&mut self.text))?;
            }
        }
        Ok(())
    }

    fn finish(mut self, last: &str) -> Result<(), CliError> {
        if !self.text.is_empty() && self.form == OutputFormat::Text {
            self.text.push('\n');
        }
        self.text.push_str(last);
        print(&self.text)
    }
}

fn compact(value: &impl serde::Serialize) -> Result<String, CliError> {
    serde_json::to_string(value)
        .map_err(|error| CliError::Internal(format!("The result has no JSON form: {error}")))
}

fn assemble(
    args: &CompareArgs,
    guest: Guest,
    alignment: Alignment,
    (findings, replaced_clients): (Findings, u64),
    ended_early: [Option<&CaptureError>; 2],
) -> Report {
    let capture = |host: Host, path: &Path| {
        let seen = findings.seen[host as usize];
        CaptureReport {
            file: path.display().to_string(),
            frames: seen.frames,
            guest_frames: seen.guest_frames,
            stranger_frames: seen.stranger_frames,
            cut_frames: seen.cut_frames,
            ended_early: ended_early[host as usize].map(ToString::to_string),
        }
    };
    let (primary, secondary) =
        (capture(Host::Primary, &args.primary), capture(Host::Secondary, &args.secondary));
    let all = findings.flows.all();
    let (flows, unlisted_flows) = findings.flows.reports();
    let divergence_count: u64 = findings.by_kind.values().sum();
    let is_whole = |capture: &CaptureReport| capture.ended_early.is_none() && capture.cut_frames == 0;
    Report {
        ok: divergence_count == 0 && is_whole(&primary) && is_whole(&secondary) && all.share().is_some(),
        guest: guest.to_string(),
        guest_is_inferred: args.guest.is_none(),
        offset_s: alignment.offset as f64 / 1e9,
        offset_by: alignment.reason.name(),
        replaced_clients,
        primary,
        secondary,
        all,
        matched_share: all.share(),
        waits_ms: findings.waits,
        flow_count: findings.flows.count(),
        diverged_flow_count: divergence_count,
        unlisted_divergences: divergence_count - findings.divergences.len() as u64,
        divergences_by_kind: findings.by_kind,
        divergences: findings.divergences,
        flows,
        unlisted_flows,
    }
}

fn conclude(report: &Report) -> Result<Exit, CliError> {
    for capture in [&report.primary, &report.secondary] {
        if let Some(why) = &capture.ended_early {
            return Err(CliError::BadInput(format!(
                "{}: {why}; what was read of it was compared",
                capture.file
            )));
        }
    }
    if report.diverged_flow_count > 0 {
        return Ok(Exit::CheckFailed);
    }
    for capture in [&report.primary, &report.secondary] {
        if capture.cut_frames > 0 {
            let why = "frames are cut short; capture whole frames with `tcpdump -s 0`";
            return Err(CliError::BadInput(format!("{}: {why}", capture.file)));
        }
    }
    match report.matched_share {
        Some(_) => Ok(Exit::Ok),
        None => Err(CliError::CheckFailed(
            "Nothing could be compared: the guest sent nothing in both captures".into(),
        )),
    }
}
