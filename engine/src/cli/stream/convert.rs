//! `understudy stream convert`: a legacy stream of Xen 3.1 to 4.5 becomes a stream of today.
//!
//! ```text
//!   0   converted
//!   4   no legacy stream, or a broken one; or the bytes are not what --width, --guest or the configuration says
//!   6   it holds what would be lost, or does not say whether it ends: the reason is printed, with the flag that decides
//! ```
//!
//! The result has the envelope of the input (xl's or libvirt's), marked as one of today. A file that stood at its place
//! survives until the result is whole.

use super::{CliError, Exit, unreadable};
use crate::console;
use crate::output_file::{Allow, OutputError, write_file_to};
use clap::ValueEnum;
use serde::Serialize;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use understudy_checkpoint::legacy::{
    After, ConvertError, Envelope, Layer, Options, Recognised, Report, Rule, WordSize, convert,
};
use understudy_checkpoint::stream::libxc::DomainType;
use understudy_xen::convert::{Descriptors, may_look_on};

/// A legacy stream to convert.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// The legacy stream, saved or recorded; `-` is standard input
    file: PathBuf,
    /// Output file; `-` is standard output. An existing file is replaced once the new one is complete
    #[arg(short, long, value_name = "OUT", default_value = "-")]
    out: PathBuf,
    /// Word size of the toolstack that sent the stream. The bytes show it; another value is an error
    #[arg(long, value_name = "BITS")]
    width: Option<Width>,
    /// Kind of the guest. The bytes show it; another value is an error
    #[arg(long, value_name = "KIND")]
    guest: Option<Guest>,
    /// Treat it as a Remus stream, if the stream itself does not show that: read on after its first checkpoint
    #[arg(long, conflicts_with = "plain")]
    remus: bool,
    /// Treat it as no Remus stream, if the stream itself does not show that: bytes after its end do not belong to it
    #[arg(long)]
    plain: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Width {
    #[value(name = "32")]
    Bits32,
    #[value(name = "64")]
    Bits64,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Guest {
    Pv,
    Hvm,
}

impl Args {
    fn options(&self, input: &File) -> Options {
        let word = self.width.map(|width| match width {
            Width::Bits32 => WordSize::Four,
            Width::Bits64 => WordSize::Eight,
        });
        let guest = self.guest.map(|guest| match guest {
            Guest::Pv => DomainType::Pv,
            Guest::Hvm => DomainType::Hvm,
        });
        let after = match (self.remus, self.plain) {
            (true, _) => After::Remus,
            (_, true) => After::Plain,
            _ if may_look_on(input) => After::Look,
            _ => After::Stop,
        };
        Options { layer: Layer::Whole, word, guest, after }
    }
}

pub(super) fn run(args: &Args) -> Result<Exit, CliError> {
    if args.out == Path::new("-") && io::stdout().is_terminal() {
        return Err(CliError::Usage("A stream is not for a terminal; name a file with -o".into()));
    }
    let input = open(&args.file).map_err(|error| unreadable(&args.file, &error))?;
    let options = args.options(&input);
    let mut outcome = None;
    let written = write_file_to(&args.out, Allow::Anything, |output| {
        match convert(&mut Descriptors::new(&input, output), options) {
            Err(ConvertError::Write(error)) => Err(error),
            result => {
                let whole = result.is_ok();
                outcome = Some(result);
                if whole { Ok(()) } else { Err(io::Error::other("nothing whole was to be written")) }
            }
        }
    });
    finish(args, outcome, written)
}

fn open(path: &Path) -> io::Result<File> {
    if path == Path::new("-") {
        return io::stdin().as_fd().try_clone_to_owned().map(File::from);
    }
    File::open(path)
}

/// The end of a run, by what became of the conversion and of its output.
fn finish(
    args: &Args,
    outcome: Option<Result<Report, ConvertError>>,
    written: Result<(), OutputError>,
) -> Result<Exit, CliError> {
    let file = args.file.display();
    match outcome {
        Some(Err(ConvertError::Fault(fault))) => {
            let text = format!("{file}: {fault}");
            Err(match fault.rule {
                Rule::Tmem | Rule::Question => CliError::Refused(text),
                _ => CliError::BadInput(text),
            })
        }
        Some(Err(ConvertError::Read(error) | ConvertError::Write(error))) => {
            Err(unreadable(&args.file, &error))
        }
        Some(Ok(report)) => {
            written?;
            tell(&report);
            Ok(Exit::Ok)
        }
        None => {
            Err(written.map_or_else(CliError::from, |()| CliError::Internal("Nothing was converted".into())))
        }
    }
}

/// Says on standard error what was converted: the result may be on standard output.
fn tell(report: &Report) {
    let Report { head, checkpoints, .. } = report;
    let remus =
        if *checkpoints > 1 { format!(", the last of {checkpoints} checkpoints") } else { String::new() };
    console::complain(format_args!("converted: {head}{remus}"));
    if report.dropped {
        console::complain("note: the input ends within another checkpoint, which was left out");
    }
    if report.not_looked {
        let note = "note: the stream does not say whether it ends here, and nobody waited for more; if it is one of \
                    Remus, say --remus";
        console::complain(note);
    }
}

/// What `inspect` and `verify` say of a legacy stream, as JSON.
#[derive(Serialize)]
pub(super) struct Described {
    ok: bool,
    legacy: Legacy,
}

#[derive(Serialize)]
struct Legacy {
    envelope: &'static str,
    sender_bits: u32,
    guest: &'static str,
    frames: u32,
}

pub(super) fn described(found: &Recognised) -> Described {
    let envelope = match found.envelope {
        Envelope::Bare => "none",
        Envelope::Xl => "xl",
        Envelope::Libvirt => "libvirt",
    };
    let guest = match found.head.guest {
        DomainType::Pv => "pv",
        DomainType::Hvm => "hvm",
    };
    let (sender_bits, frames) = (found.head.word.bits(), found.head.frames);
    Described { ok: false, legacy: Legacy { envelope, sender_bits, guest, frames } }
}
