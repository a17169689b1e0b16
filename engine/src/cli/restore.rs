//! `understudy restore`: a committed epoch of a guest that is held here becomes a file for `xl restore`.
//!
//! Not here: starting a guest from it, which is `xl`'s, and which epochs a node keeps (`--keep-epochs`).

use super::{CliError, ControlArgs, Exit, OutputFormat, print};
use crate::config::human::{parse_span, show_bytes, show_time};
use crate::control::status::{ExportState, ExportStatus, KeptEpoch};
use crate::control::{Client, ClientError, GuestRole, GuestStatus};
use crate::drill::progress::Progress;
use std::path::{Path, PathBuf, absolute};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use understudy_session::Span;

/// How often the node is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `restore`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Name of the guest; its copy is held by the node that is asked
    guest: String,
    /// File to write; by default the epochs that are kept are listed
    file: Option<PathBuf>,
    /// A kept epoch [default: the one committed last]
    #[arg(long, value_name = "EPOCH", requires = "file", conflicts_with = "ago")]
    epoch: Option<u64>,
    /// The newest kept epoch that is at least so old
    #[arg(long, value_name = "TIME", value_parser = parse_span, requires = "file")]
    ago: Option<Span>,
    #[command(flatten)]
    control: ControlArgs,
}

/// Lists the kept epochs, or writes one.
pub(super) fn run(args: &Args) -> Result<Exit, CliError> {
    let client = args.control.client()?;
    let held = held(&client, &args.guest)?;
    let Some(file) = &args.file else { return list(args, &held) };
    let epoch = match args.ago {
        Some(ago) => Some(newest_before(&held, ago)?),
        None => args.epoch,
    };
    let path = absolute(file).map_err(|error| CliError::Usage(format!("{}: {error}", file.display())))?;
    client.export(&args.guest, &path, epoch)?;
    let done = follow(&client, &args.guest, &path)?;
    let ExportStatus { epoch, bytes, state, reason, .. } = done;
    if state != ExportState::Done {
        return Err(CliError::Refused(format!("Nothing was written to {}: {reason}", path.display())));
    }
    match args.control.output {
        OutputFormat::Json => print(
            &serde_json::json!({ "guest": args.guest, "epoch": epoch, "path": path, "bytes": bytes })
                .to_string(),
        )?,
        OutputFormat::Text => print(&format!(
            "{} holds epoch {} of {} ({}). Start it by `xl restore {0}`, but on no network where {2} runs",
            path.display(),
            epoch.unwrap_or_default(),
            args.guest,
            show_bytes(bytes),
        ))?,
    }
    Ok(Exit::Ok)
}

fn held(client: &Client, name: &str) -> Result<GuestStatus, CliError> {
    let status = client.status()?;
    let found = status.guests.into_iter().find(|guest| guest.name == name);
    match found {
        Some(guest) if guest.role == GuestRole::Secondary => Ok(guest),
        Some(guest) => Err(CliError::Refused(format!(
            "{name} runs on {}; ask {}, which holds its copy",
            status.node, guest.peer
        ))),
        None => Err(CliError::Refused(format!("No image of {name} is held by {}", status.node))),
    }
}

fn newest_before(held: &GuestStatus, ago: Span) -> Result<u64, CliError> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let latest_ms = now_ms.saturating_sub(ago.0 / 1_000_000);
    let kept = held.kept.epochs.iter().rev().find(|kept| kept.at_ms <= latest_ms);
    kept.map(|kept| kept.epoch).ok_or_else(|| {
        CliError::Refused(match held.kept.epochs.first() {
            None => format!("No epochs of {} are kept; see --keep-epochs of the node", held.name),
            Some(oldest) => {
                format!("The oldest epoch of {} that is kept is of {}", held.name, show_time(oldest.at_ms))
            }
        })
    })
}

fn list(args: &Args, held: &GuestStatus) -> Result<Exit, CliError> {
    let kept = &held.kept;
    match args.control.output {
        OutputFormat::Json => print(
            &serde_json::json!({ "guest": held.name, "committed": held.committed, "kept": kept }).to_string(),
        )?,
        OutputFormat::Text => {
            let committed = held.committed.map_or("nothing".into(), |epoch| format!("epoch {epoch}"));
            print(&format!("{}: {committed} is committed", held.name))?;
            for KeptEpoch { epoch, at_ms } in &kept.epochs {
                print(&format!("epoch {epoch}  {}", show_time(*at_ms)))?;
            }
            let (count, bytes) = (kept.epochs.len(), show_bytes(kept.bytes));
            print(&format!("{count} earlier epochs are kept, in {bytes} of memory"))?;
        }
    }
    Ok(Exit::Ok)
}

/// Waits until the node has written the file, or could not.
fn follow(client: &Client, guest: &str, path: &Path) -> Result<ExportStatus, CliError> {
    let mut line = Progress::new();
    loop {
        let status = client.status().inspect_err(|_| line.clear())?;
        let export = status.guests.into_iter().find(|held| held.name == guest).and_then(|held| held.export);
        let Some(export) = export.filter(|export| Path::new(&export.path) == path) else {
            line.clear();
            let why = format!(
                "{guest} is not held there any more; whether {} was written, its log says",
                path.display()
            );
            return Err(ClientError::Refused(why).into());
        };
        if export.state != ExportState::Writing {
            line.clear();
            return Ok(export);
        }
        line.show(format_args!("{} written", show_bytes(export.bytes)));
        thread::sleep(ASK_EVERY);
    }
}
