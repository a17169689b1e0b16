//! `understudy stream`: read, check, cut and convert Xen migration streams.
//!
//! All take a path or `-`. What is wrong with a stream is told by [`stream`](understudy_checkpoint::stream);
//! here it gets its form and its exit code:
//!
//! ```text
//!                  sound    a rule is broken    no stream of xl, libxl or libxc
//!   inspect          0              4                        4
//!   verify           0              3                        4
//!   materialize      0         4, or 3 (below)               4
//!   convert          0         4, or 6 (convert.rs)          4       of a legacy stream
//! ```
//!
//! A legacy stream (before Xen 4.6) is no stream to the first three: they say what it is, and `convert` takes it.
//!
//! `materialize` judges the epoch by the rules of `verify` before it writes a byte. With `--unsound` it writes an epoch
//! that breaks them, and ends with 3.

mod convert;

use super::{CliError, Exit, OutputFormat, print, print_json};
use crate::output_file::{Allow, write_to};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use understudy_checkpoint::legacy::{Recognised, recognise};
use understudy_checkpoint::stream::{
    Defect, Ending, Inspection, PageCounts, RecordedEpoch, Recording, Rule, StreamError, Verdict, inspect,
    verify, verify_restore_file, write_restore_file,
};

/// What to do with a stream.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Show records, epochs and sizes
    Inspect(ReadArgs),
    /// Check everything that can be checked without restoring
    Verify(ReadArgs),
    /// Turn one committed epoch of a checkpointed stream into a plain stream for `xl restore`
    Materialize(MaterializeArgs),
    /// Turn a legacy stream (Xen 3.1 to 4.5) into one for today's `xl restore`
    Convert(convert::Args),
}

/// A stream to read.
#[derive(clap::Args, Debug)]
pub(super) struct ReadArgs {
    /// The stream, saved or recorded; `-` is standard input
    file: PathBuf,
    /// Format of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
}

/// A stream to cut.
#[derive(clap::Args, Debug)]
pub(super) struct MaterializeArgs {
    /// The recorded stream; `-` is standard input
    file: PathBuf,
    /// Which checkpoint, from 0
    #[arg(long, value_name = "N")]
    epoch: u64,
    /// Output file; `-` is standard output. An existing file is replaced once the new one is complete
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// Write the epoch even if `verify` would find a fault in it; the exit code is then 3
    #[arg(long)]
    unsound: bool,
}

/// Runs one of them.
pub(super) fn run(command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Inspect(args) => run_inspect(&args),
        Command::Verify(args) => run_verify(&args),
        Command::Materialize(args) => run_materialize(&args),
        Command::Convert(args) => convert::run(&args),
    }
}

/// What an input is, told from its first bytes.
enum Opened {
    /// Something to read, legacy streams excepted.
    Other(Box<dyn Read + Send>),
    Legacy(Recognised),
}

impl Opened {
    fn at(path: &Path) -> Result<Self, CliError> {
        let mut input: Box<dyn Read + Send> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).map_err(|error| unreadable(path, &error))?)
        };
        let (found, read) = recognise(&mut input).map_err(|error| unreadable(path, &error))?;
        Ok(match found {
            Some(found) => Self::Legacy(found),
            None => Self::Other(Box::new(io::Cursor::new(read).chain(input))),
        })
    }
}

/// Opens a stream in a file, or on standard input for `-`.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, CliError> {
    match Opened::at(path)? {
        Opened::Other(input) => Ok(input),
        Opened::Legacy(found) => Err(legacy(path, &found)),
    }
}

/// The error for an input that is a legacy stream.
fn legacy(path: &Path, found: &Recognised) -> CliError {
    let Recognised { envelope, head } = found;
    CliError::BadInput(format!(
        "{}: This is a legacy stream (before Xen 4.6), {envelope}: {head}. `understudy stream convert` makes a stream of \
         today of it",
        path.display()
    ))
}

/// Opens a stream for a command that answers in JSON, too.
fn open_to_answer(args: &ReadArgs) -> Result<Box<dyn Read + Send>, CliError> {
    match Opened::at(&args.file)? {
        Opened::Other(input) => Ok(input),
        Opened::Legacy(found) => {
            if args.output == OutputFormat::Json {
                print_json(&convert::described(&found))?;
            }
            Err(legacy(&args.file, &found))
        }
    }
}

/// The error for an input that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> CliError {
    CliError::BadInput(format!("{} cannot be read: {error}", path.display()))
}

/// The error for an input that is no valid stream.
pub(super) fn unsound(path: &Path, error: &StreamError) -> CliError {
    CliError::BadInput(format!("{}: {error}", path.display()))
}

fn run_inspect(args: &ReadArgs) -> Result<Exit, CliError> {
    let found = inspect(open_to_answer(args)?).map_err(|error| unreadable(&args.file, &error))?;
    match args.output {
        OutputFormat::Json => print_json(&found)?,
        OutputFormat::Text => print(&describe(&found))?,
    }
    match found.fault {
        None => Ok(Exit::Ok),
        Some(fault) => Err(CliError::BadInput(format!("{}: {fault}", args.file.display()))),
    }
}

fn describe(found: &Inspection) -> String {
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "?".into());
    let mut lines = vec![
        format!(
            "guest    {} ({}), {} KiB",
            found.name.as_deref().unwrap_or("?"),
            found.guest.unwrap_or("?"),
            or_unknown(found.memory_kib_max.map(|kib| kib.to_string())),
        ),
        format!(
            "stream   {} layer outermost, libxc v{}, written by Xen {}, {} bytes, highest pfn {}",
            or_unknown(found.layer.map(|layer| layer.to_string())),
            or_unknown(found.libxc_version.map(|version| version.to_string())),
            found.xen_version.as_deref().unwrap_or("?"),
            found.bytes,
            or_unknown(found.pfn_max.map(|pfn| format!("{pfn:#x}"))),
        ),
        format!(
            "ending   {}",
            match found.ending {
                Some(Ending::Plain) if found.followed =>
                    "plain, with END; bytes follow that no receiver reads",
                Some(Ending::Plain) => "plain, with END",
                Some(Ending::Checkpoint) => "after a complete checkpoint",
                None => "broken or cut short",
            }
        ),
        String::new(),
        format!("{:<7} {:<26} {:>9} {:>14}", "layer", "record", "count", "bytes"),
    ];
    lines.extend(found.records.iter().map(|record| {
        format!(
            "{:<7} {:<26} {:>9} {:>14}",
            record.layer.to_string(),
            record.name,
            record.count,
            record.bytes
        )
    }));
    lines.push(String::new());
    lines.push(format!(
        "{:<7} {:>14} {:>14} {:>10} {:>9} {:>9} {:>7}",
        "epoch", "at byte", "bytes", "normal", "tables", "absent", "other"
    ));
    let row = |name: &str, offset: u64, bytes: u64, pages: &PageCounts| {
        let tables: u64 = pages.tables.iter().sum();
        let other = pages.allocate_only + pages.broken;
        format!(
            "{name:<7} {offset:>14} {bytes:>14} {:>10} {tables:>9} {:>9} {other:>7}",
            pages.normal, pages.absent
        )
    };
    let epochs = found.epochs.iter();
    lines.extend(epochs.map(|it| row(&it.epoch.to_string(), it.offset, it.bytes, &it.pages)));
    lines.push(row("all", 0, found.bytes, &found.pages));
    lines.join("\n")
}

fn run_verify(args: &ReadArgs) -> Result<Exit, CliError> {
    let verdict = verify(open_to_answer(args)?).map_err(|error| unreadable(&args.file, &error))?;
    match args.output {
        OutputFormat::Json => print_json(&verdict)?,
        OutputFormat::Text => print(&judge(&verdict))?,
    }
    let no_stream = [Rule::Magic, Rule::Compressed, Rule::Legacy];
    match verdict.faults.last() {
        None => Ok(Exit::Ok),
        Some(fault) if no_stream.contains(&fault.rule) => Ok(Exit::BadInput),
        Some(_) => Ok(Exit::CheckFailed),
    }
}

fn judge(verdict: &Verdict) -> String {
    let mut lines: Vec<String> = verdict.faults.iter().map(|fault| fault.to_string()).collect();
    let unlisted = verdict.fault_count - verdict.faults.len() as u64;
    if unlisted > 0 {
        lines.push(format!("… and {unlisted} more"));
    }
    let Verdict { bytes, records, checkpoints, .. } = verdict;
    if verdict.followed {
        lines.push(format!(
            "note: bytes follow the end of the stream, at byte {bytes}; no receiver reads them"
        ));
    }
    let word = if verdict.ok { "sound".to_string() } else { format!("{} faults", verdict.fault_count) };
    lines.push(format!("{word}: {records} records, {checkpoints} complete checkpoints, {bytes} bytes"));
    lines.join("\n")
}

fn run_materialize(args: &MaterializeArgs) -> Result<Exit, CliError> {
    let mut recording = Recording::new(open(&args.file)?);
    let fail = |error: StreamError| unsound(&args.file, &error);
    let (description, mut image) = recording.first_copy().map_err(fail)?;
    let mut epoch = RecordedEpoch::default();
    for number in 1..=args.epoch {
        if !recording.next_epoch_onto(&mut image, &mut epoch).map_err(fail)? {
            let file = args.file.display();
            return Err(CliError::BadInput(format!("{file} holds the complete epochs 0 to {}", number - 1)));
        }
    }
    let verdict = verify_restore_file(&description, &image);
    if let Some(fault) = verdict.faults.first().filter(|_| !args.unsound) {
        let (file, epoch, count) = (args.file.display(), args.epoch, verdict.fault_count);
        let detail = Defect { rule: fault.rule, detail: fault.detail.clone() };
        return Err(CliError::BadInput(format!(
            "{file}: Epoch {epoch} is not written, `stream verify` would find {count} faults in it, first: {detail}; \
             --unsound writes it as it is"
        )));
    }
    // Only now, so that an invalid input leaves the output untouched.
    write_to(&args.out, Allow::Anything, |mut out| write_restore_file(&mut out, &description, &image))?;
    Ok(if verdict.ok { Exit::Ok } else { Exit::CheckFailed })
}
