//! The arguments of `convert-legacy-stream`, as its own parser takes them: long options may be shortened, values may be
//! attached, and what is no option is ignored.

use super::descriptors::{Descriptors, inherited, may_look_on};
use std::fs::File;
use std::io;
use understudy_checkpoint::legacy::{After, ConvertError, Layer, Options, Report, WordSize, convert};
use understudy_checkpoint::stream::libxc::DomainType;

/// What `--help` says.
pub const ABOUT: &str = "\
usage: understudy-convert-legacy-stream -i INPUT -o OUTPUT [-w 32|64] [-g pv|hvm] [-f libxc|libxl]

Converts a stream of Xen 3.1 to 4.5 to one of today. Set LIBXL_CONVERT_HELPER to its path, and `xl restore` and
`xl migrate-receive` take old files and senders.

  -i, --in FD or FILE       the legacy stream
  -o, --out FD or FILE      the result
  -w, --width 32|64         words of the sender: 32 must be right; 64, as libxl always says, is not compared
  -g, --guest-type pv|hvm   the guest's kind: must be right
  -f, --format libxc|libxl  what the result begins with (default libxc)
  -x, --xl                  xl's header may come first, with --format libxl
      --skip-qemu           leave the device model's record alone, with --format libxc
      --remus, --plain      another checkpoint may follow the first, or may not: where the stream does not say it
  -v, --verbose             say what was converted
      --syslog              say it to the system's log
      --version, --help

Exit codes: 0 done, 1 not converted, 2 wrong usage.";

/// Why there is nothing to carry out.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// `--help`.
    #[error("help was asked for")]
    Help,
    /// `--version`.
    #[error("the version was asked for")]
    Version,
    /// No input or no output.
    #[error("--in and --out are required")]
    Missing,
    /// What no such program takes.
    #[error("{0}")]
    Usage(String),
}

/// An order to convert a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    input: String,
    output: String,
    word: Option<WordSize>,
    guest: Option<DomainType>,
    layer: Layer,
    after: Option<After>,
    /// Say what was converted.
    pub verbose: bool,
    /// Say it to the system's log.
    pub syslog: bool,
}

/// Options: what they are called, their letter, and whether they take a value.
const OPTIONS: [(&str, Option<char>, bool); 13] = [
    ("in", Some('i'), true),
    ("out", Some('o'), true),
    ("width", Some('w'), true),
    ("guest-type", Some('g'), true),
    ("format", Some('f'), true),
    ("verbose", Some('v'), false),
    ("xl", Some('x'), false),
    ("skip-qemu", None, false),
    ("syslog", None, false),
    ("remus", None, false),
    ("plain", None, false),
    ("help", Some('h'), false),
    ("version", None, false),
];

fn usage<T>(text: String) -> Result<T, Refusal> {
    Err(Refusal::Usage(text))
}

/// The option that a word begins: its name, whether it takes a value, and the value that is attached.
fn long(word: &str) -> Result<(&'static str, bool, Option<String>), Refusal> {
    let (name, attached) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    let exact = OPTIONS.iter().find(|(known, ..)| *known == name);
    let mut begun = OPTIONS.iter().filter(|(known, ..)| known.starts_with(name));
    match (exact, begun.next(), begun.next()) {
        (Some((known, _, takes)), ..) | (None, Some((known, _, takes)), None) => {
            Ok((known, *takes, attached))
        }
        (None, None, _) => usage(format!("there is no option --{name}")),
        (None, Some(_), Some(_)) => usage(format!("--{name} may be one of several options")),
    }
}

/// All options in `words`, with their values.
fn options(words: &[String]) -> Result<Vec<(&'static str, String)>, Refusal> {
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(name) = word.strip_prefix("--") {
            let (name, takes, attached) = long(name)?;
            let value = match (takes, attached) {
                (false, Some(_)) => return usage(format!("--{name} takes no value")),
                (false, None) => Some(String::new()),
                (true, Some(value)) => Some(value),
                (true, None) => words.next().cloned(),
            };
            let Some(value) = value else { return usage(format!("--{name} needs a value")) };
            found.push((name, value));
            continue;
        }
        let mut letters = word.strip_prefix('-').unwrap_or_default().chars();
        while let Some(letter) = letters.next() {
            let known = OPTIONS.iter().find(|(_, known, _)| *known == Some(letter));
            let Some((name, _, takes)) = known else { return usage(format!("there is no option -{letter}")) };
            let attached: String = if *takes { letters.by_ref().collect() } else { String::new() };
            let value = if *takes && attached.is_empty() { words.next().cloned() } else { Some(attached) };
            let Some(value) = value else { return usage(format!("-{letter} needs a value")) };
            found.push((name, value));
        }
    }
    Ok(found)
}

impl Order {
    /// Reads the arguments of the program.
    pub fn parse(words: &[String]) -> Result<Self, Refusal> {
        let found = options(words)?;
        let has = |name: &str| found.iter().any(|(known, _)| *known == name);
        let value =
            |name: &str| found.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| &value[..]);
        if has("help") {
            return Err(Refusal::Help);
        }
        if has("version") {
            return Err(Refusal::Version);
        }
        let word = match value("width") {
            // libxl says so of every stream.
            None | Some("64") => None,
            Some("32") => Some(WordSize::Four),
            Some(other) => return usage(format!("--width is 32 or 64, not {other}")),
        };
        let guest = match value("guest-type") {
            None => None,
            Some("pv") => Some(DomainType::Pv),
            Some("hvm") => Some(DomainType::Hvm),
            Some(other) => return usage(format!("--guest-type is pv or hvm, not {other}")),
        };
        let layer = match (value("format").unwrap_or("libxc"), has("xl")) {
            ("libxl", true) => Layer::Whole,
            ("libxl", false) => Layer::Libxl,
            ("libxc", false) => Layer::Libxc { skip_emulator: has("skip-qemu") },
            ("libxc", true) => return usage("--xl goes with --format libxl only".into()),
            (other, _) => return usage(format!("--format is libxc or libxl, not {other}")),
        };
        let after = match (has("remus"), has("plain")) {
            (true, true) => return usage("--remus and --plain contradict each other".into()),
            (true, false) => Some(After::Remus),
            (false, true) => Some(After::Plain),
            (false, false) => None,
        };
        let (Some(input), Some(output)) = (value("in"), value("out")) else { return Err(Refusal::Missing) };
        let (input, output) = (input.to_owned(), output.to_owned());
        Ok(Self { input, output, word, guest, layer, after, verbose: has("verbose"), syslog: has("syslog") })
    }

    /// Converts.
    pub fn carry_out(&self) -> Result<Report, ConvertError> {
        let input = open(&self.input, || File::open(&self.input)).map_err(ConvertError::Read)?;
        let output = open(&self.output, || File::create(&self.output)).map_err(ConvertError::Write)?;
        let after = self.after.unwrap_or(if may_look_on(&input) { After::Look } else { After::Stop });
        let options = Options { layer: self.layer, word: self.word, guest: self.guest, after };
        convert(&mut Descriptors::new(&input, &output), options)
    }
}

/// A number is a descriptor, all else is a path.
fn open(place: &str, path: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
    let fd = place.parse::<u32>().ok().and_then(|number| i32::try_from(number).ok());
    fd.map_or_else(path, |fd| Ok(inherited(fd)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Order, Refusal> {
        Order::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn libxls_own_words_are_taken() {
        let order = parse("--in 7 --out 9 --width 64 --guest hvm --format libxl").unwrap();
        assert_eq!((&order.input[..], &order.output[..], order.word), ("7", "9", None));
        assert_eq!((order.guest, order.layer), (Some(DomainType::Hvm), Layer::Libxl));
    }

    #[test]
    fn options_are_shortened_and_joined_as_the_stock_program_takes_them() {
        let order = parse("-i a -ob -w32 -g pv -v --skip --sys ignored").unwrap();
        assert_eq!((&order.input[..], &order.output[..], order.word), ("a", "b", Some(WordSize::Four)));
        assert_eq!(order.layer, Layer::Libxc { skip_emulator: true });
        assert!(order.verbose && order.syslog);
        let order = parse("-vx --in=a --out=b --for=libxl").unwrap();
        assert!(order.verbose && order.layer == Layer::Whole);
    }

    #[test]
    fn wrong_words_are_told() {
        assert_eq!(parse("--in a"), Err(Refusal::Missing));
        assert_eq!(parse("--help --in"), Err(Refusal::Usage("--in needs a value".into())));
        assert_eq!(parse("-h"), Err(Refusal::Help));
        assert_eq!(parse("--vers"), Err(Refusal::Version));
        for line in [
            "--width 16 -i a -o b",
            "-g pvh -i a -o b",
            "-f raw -i a -o b",
            "-x -i a -o b",
            "--ver -i a -o b",
            "--nothing",
            "-q",
            "--remus --plain -i a -o b",
            "--xl=1",
        ] {
            assert!(matches!(parse(line), Err(Refusal::Usage(_))), "{line}");
        }
    }
}
