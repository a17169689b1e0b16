//! `understudy disk`: what is on the disks that a node keeps, while no node uses them.
//!
//! ```text
//!   status    what a node that starts would find of each
//!   verify    the content as hashes; with those of the other host: what differs, and whether it may
//! ```
//!
//! Nothing is changed. Not here: disks in use, of which `status` tells, and what makes two disks the same, a full copy.

use super::{CliError, Exit, OutputFormat, print, print_json};
use crate::config::Settings;
use crate::config::human::show_bytes;
use crate::drill::progress::Progress;
use crate::guest::{Difference, DiskPrints, Look, LookError, NotAlike, Worth};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use understudy_disk::intent::REGION_BYTES;

/// A file of hashes of a disk of 16 TiB is smaller.
const PRINTS_BYTES_MAX: u64 = 256 << 20;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Show what a node that starts would find of its guests' disks
    Status(StatusArgs),
    /// Read a disk whole, and compare it with the other host's
    Verify(VerifyArgs),
}

/// Arguments of `disk status`.
#[derive(clap::Args, Debug)]
pub(super) struct StatusArgs {
    /// Name of the guest [default: each that has a disk here]
    guest: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Arguments of `disk verify`.
#[derive(clap::Args, Debug)]
pub(super) struct VerifyArgs {
    /// Name of the guest
    guest: String,
    /// What `disk verify --output json` wrote on the other host
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Where the disks are, and the form of the answer.
#[derive(clap::Args, Debug)]
struct PlaceArgs {
    /// Directory for the disks of lab guests, as the node has it
    #[arg(long, value_name = "DIRECTORY", required_unless_present = "config")]
    lab_disks: Option<PathBuf>,
    /// The node's configuration file, which names that directory
    #[arg(long, value_name = "FILE", conflicts_with = "lab_disks")]
    config: Option<PathBuf>,
    /// Format of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
}

impl PlaceArgs {
    fn directory(&self) -> Result<PathBuf, CliError> {
        let of_config = || -> Result<_, CliError> {
            let Some(config) = &self.config else { return Ok(None) };
            Ok(Settings::read(config)?.lab.disks)
        };
        let directory = if self.lab_disks.is_some() { self.lab_disks.clone() } else { of_config()? };
        directory.ok_or_else(|| {
            CliError::Usage("The node has no directory for disks: lab.disks is not set".into())
        })
    }
}

impl From<LookError> for CliError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::InUse(_) | LookError::Large(_) | LookError::Unmarked(_) | LookError::NoEpoch => {
                Self::Refused(error.to_string())
            }
            LookError::Nothing(_) | LookError::Place(_) | LookError::Storage(_) => {
                Self::BadInput(error.to_string())
            }
        }
    }
}

pub(super) fn run(command: &Command) -> Result<Exit, CliError> {
    match command {
        Command::Status(args) => status(args),
        Command::Verify(args) => verify(args),
    }
}

fn status(args: &StatusArgs) -> Result<Exit, CliError> {
    let directory = args.place.directory()?;
    if let Some(guest) = &args.guest {
        return show(&args.place, vec![found(guest, &Look::at(&directory, guest)?)]).map(|()| Exit::Ok);
    }
    // What one disk is does not hide the others.
    let (mut all, mut exit) = (Vec::new(), Exit::Ok);
    for guest in guests(&directory)? {
        let (said, worst) = match Look::at(&directory, &guest) {
            Ok(look) => (found(&guest, &look), exit),
            // A node that runs has its disks: that is as it should be.
            Err(error @ LookError::InUse(_)) => (failed(&guest, &error), exit),
            Err(error) => (failed(&guest, &error), CliError::from(error).exit()),
        };
        all.push(said);
        exit = worst;
    }
    if all.is_empty() && args.place.output == OutputFormat::Text {
        print(&format!("no guest has a disk in {}", directory.display()))?;
        return Ok(exit);
    }
    show(&args.place, all)?;
    Ok(exit)
}

/// The guests that have a directory there.
fn guests(directory: &Path) -> Result<Vec<String>, CliError> {
    let unread = |error: std::io::Error| {
        CliError::BadInput(format!("{} cannot be read: {error}", directory.display()))
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        if entry.file_type().map_err(unread)?.is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

/// What is said of a disk, for programs and for people.
type Said = (Value, String);

fn found(guest: &str, look: &Look) -> Said {
    let (worth, size_bytes, history) = (look.worth(), look.size_bytes(), look.history());
    let marked = look.marked();
    let (regions, unknown) = match &marked {
        Ok(marked) => (Some(marked.len()), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let value = json!({
        "guest": guest, "size_bytes": size_bytes, "history": history, "worth": worth,
        "marked_regions": regions, "reason": unknown,
    });
    let may_differ = match (&marked, worth) {
        (_, Worth::Blank | Worth::Nothing | Worth::Epoch { .. }) => String::new(),
        (Err(error), _) => format!("; {error}"),
        (Ok(marked), _) => {
            let bytes = (marked.len() as u64 * REGION_BYTES).min(size_bytes);
            format!("; the other host's lacks {} of it at most", show_bytes(bytes))
        }
    };
    let words = words(worth);
    (value, format!("{guest}: disk of {}: {words}{may_differ}", show_bytes(size_bytes)))
}

fn failed(guest: &str, error: &LookError) -> Said {
    (json!({ "guest": guest, "reason": error.to_string() }), format!("{guest}: {error}"))
}

fn words(worth: Worth) -> String {
    match worth {
        Worth::Blank => "blank, nothing was ever written to it".into(),
        Worth::Nothing => {
            "at no epoch, since a full copy of it was broken off; no guest is started with it, and the next full copy makes it whole"
                .into()
        }
        Worth::Epoch { generation, epoch } => {
            format!("a copy, exactly at epoch {epoch} of generation {generation}")
        }
        Worth::Owned { generation, .. } => format!("the guest's own, which ran here in generation {generation}"),
    }
}

fn show(place: &PlaceArgs, all: Vec<Said>) -> Result<(), CliError> {
    match place.output {
        OutputFormat::Json => print_json(&all.into_iter().map(|(value, _)| value).collect::<Vec<_>>()),
        OutputFormat::Text => all.iter().try_for_each(|(_, words)| print(words)),
    }
}

fn verify(args: &VerifyArgs) -> Result<Exit, CliError> {
    let there = args.against.as_deref().map(read_prints).transpose()?;
    let mut look = Look::at(&args.place.directory()?, &args.guest)?;
    let (mut line, of) = (Progress::new(), show_bytes(look.size_bytes()));
    let prints = look.prints(|bytes| line.show(format_args!("{} of {of} read", show_bytes(bytes))));
    line.clear();
    let prints = prints?;
    let Some(there) = there else { return tell(args, &prints) };
    let difference = prints.against(&there).map_err(|error| match error {
        NotAlike::NoPrints(_) => CliError::BadInput(error.to_string()),
        NotAlike::Of(_) | NotAlike::Worthless | NotAlike::Older { .. } => {
            CliError::Refused(error.to_string())
        }
    })?;
    judge(args, &difference)
}

fn read_prints(path: &Path) -> Result<DiskPrints, CliError> {
    let bad = |why: &dyn std::fmt::Display| CliError::BadInput(format!("{}: {why}", path.display()));
    let bytes = fs::metadata(path).map_err(|error| bad(&error))?.len();
    if bytes > PRINTS_BYTES_MAX {
        return Err(bad(&"it is too long to be what `disk verify --output json` writes"));
    }
    let text = fs::read(path).map_err(|error| bad(&error))?;
    serde_json::from_slice(&text).map_err(|error| bad(&error))
}

/// The hashes, to be carried to the other host.
fn tell(args: &VerifyArgs, prints: &DiskPrints) -> Result<Exit, CliError> {
    match args.place.output {
        OutputFormat::Json => print_json(prints)?,
        OutputFormat::Text => print(&format!(
            "{}: all of the disk's {} can be read; with --output json the hashes of it are written, for --against on the other host",
            args.guest,
            show_bytes(prints.size_bytes)
        ))?,
    }
    Ok(Exit::Ok)
}

fn judge(args: &VerifyArgs, difference: &Difference) -> Result<Exit, CliError> {
    let Difference { written, damaged } = difference;
    match args.place.output {
        OutputFormat::Json => print_json(difference)?,
        OutputFormat::Text if written.is_empty() && damaged.is_empty() => {
            print(&format!("{}: both disks are the same", args.guest))?;
        }
        OutputFormat::Text => {
            if !written.is_empty() {
                print(&format!(
                    "{}: regions of 4 MiB that differ where a guest wrote since both disks had the same: {}; the next full copy sends them",
                    args.guest,
                    written.len()
                ))?;
            }
            if !damaged.is_empty() {
                let first: Vec<_> =
                    damaged.iter().take(8).map(|region| (region * REGION_BYTES).to_string()).collect();
                print(&format!(
                    "{}: regions of 4 MiB that differ where no guest wrote: {}, the first at byte {}; a disk is damaged, or was written by \
                     another program. If the disk is right where the guest ran last, remove the guest's directory on the other host: the next \
                     full copy sends all. If the copy is right, let the guest be taken over there first; where it ran last its disk is \
                     never removed, or it would begin with a blank one",
                    args.guest,
                    damaged.len(),
                    first.join(", ")
                ))?;
            }
        }
    }
    Ok(if damaged.is_empty() { Exit::Ok } else { Exit::CheckFailed })
}
