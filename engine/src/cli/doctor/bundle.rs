//! `doctor --report DIR`: what somebody needs who is to help, as plain files in a new directory, for a person to look through before
//! it is given away.
//!
//! ```text
//!   status, events ◄── the node, if it answers          settings, trust ◄── files that are no secret
//!   versions, units, log, xen ◄── commands of the host, each with its time and its bytes
//!          └───────────────► scrub ───────────────► DIR/NAME, 0600
//! ```
//!
//! Private keys, invitations and passwords are not opened, nor is anything that holds a guest's memory. What commands and logs say is
//! [scrubbed](super::scrub) all the same. Of xenstore only what understudy keeps there is taken: it has passwords of consoles as well.

use super::super::{CliError, NodeArgs};
use super::scrub::scrub;
use super::words_of::{Took, words_of};
use crate::config::human::show_time;
use crate::config::{ConfigError, Settings};
use crate::control::events::Event;
use crate::control::{Client, ClientError};
use crate::output_file::{Allow, sync_directory, write_to};
use crate::trust::Credentials;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use understudy_session::{NodeName, Span};

/// Bytes of one file, at most. A dozen of them are few enough to send.
const FILE_BYTES_MAX: usize = 4 << 20;

/// How long one command of the host may take.
const COMMAND_MAX: Duration = Duration::from_secs(10);

/// Events that are asked for, at most: more than a node keeps.
const EVENTS_MAX: usize = 4_096;

/// Keys of xenstore whose lines are taken.
const XENSTORE_KEYS: [&str; 5] =
    ["/understudy", "/name =", "/state =", "/control/feature", "/control/shutdown"];

/// What goes into it.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) node: &'a NodeArgs,
    /// Its configuration.
    pub(super) config: &'a Path,
    /// How old lines of the log may be.
    pub(super) since: Span,
    /// What `doctor` found, as JSON.
    pub(super) findings: String,
}

/// Writes it, and returns the names of its files.
pub(super) fn write(directory: &Path, wanted: &Wanted<'_>) -> Result<Vec<&'static str>, CliError> {
    if fs::symlink_metadata(directory).is_ok() {
        return Err(CliError::Usage(format!(
            "{} is there already; name a new directory",
            directory.display()
        )));
    }
    let parts = gather(wanted);
    let attempt = |what: &str| format!("{} cannot be {what}", directory.display());
    let failed = |what: &str| {
        let attempt = attempt(what);
        move |source| CliError::System { attempt, source }
    };
    DirBuilder::new().mode(0o700).create(directory).map_err(failed("made"))?;
    let unfinished = Unfinished(directory.to_owned());
    for (name, text) in &parts {
        let text = cut(&scrub(text));
        write_to(&directory.join(name), Allow::Files, |file| file.write_all(text.as_bytes()))?;
    }
    sync_directory(directory).map_err(failed("made stable"))?;
    std::mem::forget(unfinished);
    Ok(parts.into_iter().map(|(name, _)| name).collect())
}

/// A bundle that is not whole: it goes, so that nobody takes it for one that is.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Made by this process a moment ago. What cannot be removed is small news beside the error that led here.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn cut(text: &str) -> String {
    if text.len() <= FILE_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = FILE_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}\n… and {} bytes more\n", &text[..end], text.len() - end)
}

fn gather(wanted: &Wanted<'_>) -> Vec<(&'static str, String)> {
    let settings = Settings::read(wanted.config);
    // A configuration that cannot be read is what the report may be about.
    let client = wanted.node.client();
    let of_node = |ask: fn(&Client) -> Result<String, ClientError>| match &client {
        Ok(client) => ask(client).unwrap_or_else(|error| format!("{error}\n")),
        Err(error) => format!("{error}\n"),
    };
    vec![
        ("README.txt", readme()),
        ("status.json", of_node(|client| client.status().map(|status| pretty(&status)))),
        ("events.jsonl", of_node(events)),
        ("findings.json", wanted.findings.clone()),
        ("settings.toml", settings_text(wanted.config)),
        ("trust.txt", trust(settings)),
        ("versions.txt", versions()),
        ("units.txt", units()),
        ("log.txt", log(wanted.since)),
        ("xen.txt", xen()),
        ("xenstore.txt", xenstore()),
    ]
}

fn readme() -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    format!(
        "Made by `understudy doctor --report`, version {}, at {}.\n\
         It has names and addresses of hosts and guests, and no private key, token, password or memory of a guest.\n\
         Look through it before you give it away.\n",
        env!("CARGO_PKG_VERSION"),
        show_time(now_ms)
    )
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("has no JSON form: {error}"))
}

/// All that the node keeps.
fn events(client: &Client) -> Result<String, ClientError> {
    let (mut after, mut text) = (0, String::new());
    for _ in 0..EVENTS_MAX {
        let page = client.events(after, 0)?;
        let line = |event: &Event| serde_json::to_string(event).unwrap_or_default() + "\n";
        text.extend(page.events.iter().map(line));
        match page.events.last() {
            Some(last) if last.number < page.newest => after = last.number,
            _ => break,
        }
    }
    Ok(text)
}

/// The configuration without comments, which may hold anything.
fn settings_text(path: &Path) -> String {
    let read = fs::read_to_string(path).map_err(|error| error.to_string());
    let table = read.and_then(|text| text.parse::<toml::Table>().map_err(|error| error.message().to_owned()));
    match table {
        Ok(table) => table.to_string(),
        Err(why) => format!("# {} cannot be read: {why}\n", path.display()),
    }
}

/// Who is trusted: names and fingerprints, which are public.
fn trust(settings: Result<Settings, ConfigError>) -> String {
    let (directory, node) = match settings {
        Ok(Settings { tls: Some(tls), node, .. }) => (tls, node),
        Ok(_) => return "the configuration names no certificates\n".into(),
        Err(error) => return format!("{error}\n"),
    };
    match Credentials::load(&directory, &NodeName(node.unwrap_or_default())) {
        Ok(own) => {
            let mut text = format!("own: {:#}\n", own.fingerprint());
            for (name, pins) in own.pins() {
                for pin in pins {
                    let _ = writeln!(text, "{}: {pin:#}", name.0);
                }
            }
            text
        }
        Err(error) => format!("{error}\n"),
    }
}

/// What each command says, under its name.
fn all_of(commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for words in commands {
        let _ = writeln!(text, "$ {}", words.join(" "));
        text += &match words_of(words, FILE_BYTES_MAX, COMMAND_MAX) {
            Took::All(said) => said,
            Took::Some { said, why } => format!("{said}\n({why})\n"),
        };
        text.push('\n');
    }
    text
}

fn versions() -> String {
    let own = format!("understudy {}\n\n", env!("CARGO_PKG_VERSION"));
    own + &all_of(&[
        &["uname", "-a"],
        &["cat", "/etc/os-release"],
        &["dpkg-query", "--show", "understudy*", "xen*", "libxen*", "qemu-system-x86"],
    ])
}

const UNITS: [&str; 2] = ["understudy.service", "understudy-witness.service"];

/// The units as they are, without their environment.
fn units() -> String {
    let [node, witness] = UNITS;
    let shown = "--property=Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainStartTimestamp,NRestarts,\
                 FragmentPath,DropInPaths,MemoryCurrent,WatchdogUSec";
    let text = all_of(&[&["systemctl", "show", shown, node, witness], &["systemctl", "cat", node, witness]]);
    text.lines()
        .filter(|line| !line.trim_start().starts_with("Environment="))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The newest lines first, so that the oldest go where there are too many.
fn log(since: Span) -> String {
    let [node, witness] = UNITS;
    let since = format!("--since=-{}s", since.0 / 1_000_000_000);
    all_of(&[&[
        "journalctl",
        "--no-pager",
        "--reverse",
        "--output=short-iso-precise",
        &since,
        "-u",
        node,
        "-u",
        witness,
    ]])
}

fn xen() -> String {
    all_of(&[&["xl", "info"], &["xl", "list"], &["xl", "dmesg"]])
}

fn xenstore() -> String {
    let text = all_of(&[&["xenstore-ls", "-f", "/local/domain"], &["xenstore-ls", "-f", "/understudy"]]);
    let is_ours =
        |line: &&str| line.starts_with(['$', '(']) || XENSTORE_KEYS.iter().any(|key| line.contains(key));
    text.lines().filter(is_ours).map(|line| format!("{line}\n")).collect()
}
