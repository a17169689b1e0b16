//! Every command that prints, where nobody reads what it prints or nothing can be written: it does what it was asked to, ends, and says
//! so by its exit code. Each command is in one of the two tables below, or the last test fails.
//!
//! ```text
//!   a reader that is gone    as if it was read to its end: the same exit code, and no complaint
//!   a full disk              exit code 1 and the reason on standard error; what was asked for is done all the same
//! ```
//!
//! Not here: logs of processes that stay (`printing`).

#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "support/hosts.rs"]
mod hosts;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "support/keys.rs"]
mod keys;
mod support;

use hosts::Hosts;
use keys::{make, tls};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{HANG_GUARD, Running, free_address, node};
use understudy::control::{GuestRole, GuestState};
use understudy::guest::DiskPlace;

/// Commands that are in no row of the table, each with the reason.
const ELSEWHERE: [(&str, &str); 9] = [
    ("drill", "says its rounds line by line; `drill_command` has its ends"),
    ("node", "stays: `printing`"),
    ("witness", "stays: `printing`; what it shows is in the table"),
    ("remus", "says lines that may be lost; needs Xen or a guest to come"),
    ("replay", "needs a recording of a guest: `stream_command`"),
    ("restore", "needs a copy that stands: `restoring`"),
    ("takeover", "needs a host that is dead; prints as `unprotect` does"),
    ("reclaim", "needs a guest that is kept; prints as `unprotect` does"),
    ("discard", "needs a guest that is kept; prints as `unprotect` does"),
];

/// A standard stream whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn understudy() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.env_remove("UNDERSTUDY_CONTROL").args(["--log", "error"]);
    command
}

/// What the commands are about: a pair, a node that may be joined, and files.
struct World {
    hosts: Hosts,
    root: tempfile::TempDir,
    inviter: SocketAddr,
    _inviter: Running,
    stream: PathBuf,
    legacy: PathBuf,
}

impl World {
    fn new() -> Self {
        let hosts = Hosts::with_guests(2);
        ["g0", "g1"].iter().for_each(|name| hosts.wait("a", name, |guest| guest.protected));
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &["i"]);
        let inviter = free_address();
        let of_inviter = tls(root.path(), "i").display().to_string();
        let (running, _) = node("i", root.path(), inviter, &["--tls", &of_inviter]);
        let legacy = root.path().join("legacy");
        let sample =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/legacy/tiny-hvm-w8-trailing.zst");
        let mut zstd = Command::new("zstd");
        zstd.arg("-dcq").arg(sample).stdout(File::create(&legacy).unwrap());
        assert!(zstd.status().expect("the tests need the zstd command: install Debian's zstd").success());
        let stream = root.path().join("stream");
        let mut convert = understudy();
        convert.args(["stream", "convert"]).arg(&legacy).arg("-o").arg(&stream).stdout(Stdio::null());
        assert!(convert.status().unwrap().success());
        Self { hosts, root, inviter, _inviter: running, stream, legacy }
    }

    /// Where the witness of the pair has its records.
    fn records(&self) -> String {
        self.hosts.control("a").with_file_name("witness").display().to_string()
    }

    fn path(&self, name: impl std::fmt::Display) -> String {
        self.root.path().join(name.to_string()).display().to_string()
    }

    /// The words of the line that lets `name` join.
    fn invite(&self, name: &str) -> Vec<String> {
        let mut invite = understudy();
        invite
            .args(["invite", name, "--address", &self.inviter.to_string(), "--tls"])
            .arg(tls(self.root.path(), "i"));
        let said = String::from_utf8(invite.output().unwrap().stdout).unwrap();
        let line =
            said.lines().find_map(|line| line.trim().strip_prefix("understudy ")).expect("a line to paste");
        line.split(' ').map(String::from).collect()
    }
}

/// A command: its words in the world, which may differ between the first run and the second, and how it ends if all of it is read.
type Row = (&'static str, i32, fn(&World, usize) -> Vec<String>);

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// For the node a.
fn of_a(world: &World, said: &[&str]) -> Vec<String> {
    [words(said), vec!["--control".into(), world.hosts.control("a").display().to_string()]].concat()
}

fn of_b(world: &World, said: &[&str]) -> Vec<String> {
    [words(said), vec!["--control".into(), world.hosts.control("b").display().to_string()]].concat()
}

/// About a disk that no node uses.
fn of_disk(world: &World, said: &[&str]) -> Vec<String> {
    let disks = world.path("disks");
    DiskPlace::new(Path::new(&disks), "g", 1 << 20).open().unwrap();
    [words(said), vec!["--lab-disks".into(), disks]].concat()
}

const ROWS: [Row; 36] = [
    ("status", 0, |world, _| of_a(world, &["status"])),
    ("status", 0, |world, _| of_a(world, &["status", "--output", "json"])),
    ("status", 0, |world, _| of_a(world, &["status", "--watch"])),
    ("events", 0, |world, _| of_a(world, &["events"])),
    ("events", 0, |world, _| of_a(world, &["events", "--follow"])),
    ("events", 0, |world, _| of_a(world, &["events", "--follow", "--output", "json"])),
    ("wait", 0, |world, _| of_a(world, &["wait", "g0", "--for", "protected"])),
    ("wait", 0, |world, _| of_a(world, &["wait", "g0", "--for", "protected", "--output", "json"])),
    ("maintenance", 0, |world, _| of_a(world, &["maintenance", "on"])),
    ("maintenance", 0, |world, _| of_a(world, &["maintenance", "off", "--output", "json"])),
    ("evacuate", 0, |world, _| of_b(world, &["evacuate"])),
    ("evacuate", 0, |world, _| of_b(world, &["evacuate", "--output", "json"])),
    ("unprotect", 0, |world, _| of_a(world, &["unprotect", "g1"])),
    ("protect", 0, |world, _| of_a(world, &["protect", "g1"])),
    ("protect", 0, |world, _| of_a(world, &["protect", "--all"])),
    ("protect", 0, |world, _| of_a(world, &["protect", "--all", "--output", "json"])),
    // There and back again.
    ("switchover", 0, |world, run| match run {
        0 => of_a(world, &["switchover", "g0"]),
        _ => {
            world.hosts.wait("b", "g0", |guest| guest.protected);
            of_b(world, &["switchover", "g0"])
        }
    }),
    ("preflight", 0, |_, _| words(&["preflight", "--facts"])),
    ("keygen", 0, |world, run| words(&["keygen", "k", "--tls", &world.path(format_args!("k{run}"))])),
    ("invite", 0, |world, run| {
        let of_inviter = tls(world.root.path(), "i").display().to_string();
        words(&["invite", &format!("n{run}"), "--address", "127.0.0.1:7001", "--tls", &of_inviter])
    }),
    ("join", 0, |world, run| {
        let name = format!("j{run}");
        [world.invite(&name), words(&["--tls", &world.path(&name)])].concat()
    }),
    ("trust", 0, |world, _| {
        words(&["trust", "list", "--tls", &tls(world.root.path(), "i").display().to_string()])
    }),
    ("trust", 0, |world, run| {
        let (of_inviter, name) = (tls(world.root.path(), "i").display().to_string(), format!("j{run}"));
        words(&["trust", "remove", &name, "--tls", &of_inviter, "--control", &world.path("i.sock")])
    }),
    ("reload", 0, |world, _| words(&["reload", "--control", &world.path("i.sock")])),
    ("doctor", 0, |world, run| {
        let report = world.path(format_args!("report{run}"));
        [words(&["doctor", "--report", &report, "--config", "/nowhere.toml"]), of_a(world, &[])].concat()
    }),
    ("witness", 0, |world, _| words(&["witness", "show", "--state", &world.records()])),
    ("stream", 0, |world, _| words(&["stream", "inspect", world.stream.to_str().unwrap()])),
    ("stream", 0, |world, _| {
        words(&["stream", "verify", world.stream.to_str().unwrap(), "--output", "json"])
    }),
    ("stream", 4, |world, _| {
        words(&["stream", "inspect", world.legacy.to_str().unwrap(), "--output", "json"])
    }),
    ("disk", 0, |world, _| of_disk(world, &["disk", "status"])),
    ("disk", 0, |world, _| of_disk(world, &["disk", "status", "--output", "json"])),
    ("disk", 0, |world, _| of_disk(world, &["disk", "verify", "g"])),
    ("disk", 0, |world, _| of_disk(world, &["disk", "verify", "g", "--output", "json"])),
    ("colo", 0, |_, _| compare(&[])),
    ("colo", 0, |_, _| compare(&["--frames"])),
    ("colo", 0, |_, _| compare(&["--frames", "--output", "json"])),
];

fn compare(more: &[&str]) -> Vec<String> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let files = ["primary.pcap", "secondary.pcap"].map(|name| captures.join(name).display().to_string());
    [words(&["colo", "compare"]), files.to_vec(), words(more)].concat()
}

fn run(words: &[String], stdout: Stdio) -> Output {
    understudy()
        .args(words)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

#[test]
fn whoever_does_not_read_changes_nothing_of_what_a_command_does() {
    let world = World::new();
    for (name, code, row) in ROWS {
        let words = row(&world, 0);
        let Output { status, stderr, .. } = run(&words, closed());
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(code), "{name}: {words:?}, nobody reads it: {said}");
        assert!(code == 4 || said.is_empty(), "{name}: {words:?}, nobody reads it: {said}");

        let words = row(&world, 1);
        let Output { status, stderr, .. } = run(&words, full());
        let said = String::from_utf8_lossy(&stderr);
        let is_told = said.contains("standard output") && said.contains("No space left");
        assert!(
            is_told && status.code() == Some(1),
            "{name}: {words:?}, nothing can be written: {status}, {said}"
        );
    }
    // What was asked for is done.
    for made in ["k0", "k1", "j0", "j1"] {
        assert!(Path::new(&world.path(made)).join("own.crt").exists(), "{made}");
    }
    for made in ["report0", "report1"] {
        assert!(Path::new(&world.path(made)).exists(), "{made}");
    }
    assert!(!tls(world.root.path(), "i").join("trust/j1.crt").exists());
    world.hosts.wait("a", "g0", |guest| guest.role == GuestRole::Primary);
}

/// What the command has said is for people; the guests are what counts.
#[test]
fn an_evacuation_that_cannot_say_anything_moves_every_guest() {
    for stdout in [closed as fn() -> Stdio, full] {
        let hosts = Hosts::with_guests(3);
        (0..3).for_each(|number| hosts.wait("a", &format!("g{number}"), |guest| guest.protected));
        let output = hosts.ask("a", &["evacuate"]).stdout(stdout()).output().unwrap();
        for number in 0..3 {
            hosts.wait("b", &format!("g{number}"), |guest| guest.role == GuestRole::Primary);
        }
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    }
}

/// A process that goes on, once it has said or begun what it does. It can be interrupted, also where these tests run in the background
/// of a shell, which has what it starts there ignore that.
fn begin(hosts: &Hosts, words: &[&str]) -> Running {
    let asked = hosts.ask("a", words);
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(asked.get_program()).args(asked.get_args());
    for (name, value) in asked.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn an_interrupt_ends_what_goes_on_and_the_node_stands_as_before() {
    let hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    let going_on: [&[&str]; 5] = [
        &["status", "--watch"],
        &["events", "--follow"],
        &["wait", "g0", "--for", "gone", "--timeout", "600s"],
        &["protect", "nobody-has-it"],
        &["doctor", "--report", "/nowhere/at/all", "--config", "/nowhere.toml"],
    ];
    for words in going_on {
        let mut process = begin(&hosts, words);
        thread::sleep(Duration::from_millis(300));
        // One that has ended by itself, as the last, is not there to be interrupted.
        let _ = kill(Pid::from_raw(process.0.id() as i32), Signal::SIGINT);
        let began = Instant::now();
        let status = loop {
            if let Some(status) = process.0.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < HANG_GUARD, "{words:?} goes on");
            thread::sleep(Duration::from_millis(5));
        };
        assert!(
            !status.success() && status.signal().is_none_or(|signal| signal == Signal::SIGINT as i32),
            "{words:?}"
        );
    }
    // A host that stands still would be left by an evacuation whose copy's host does not answer.
    kill(Pid::from_raw(hosts.b.0.id() as i32), Signal::SIGSTOP).unwrap();
    let mut evacuation = begin(&hosts, &["evacuate", "--timeout", "600s"]);
    thread::sleep(Duration::from_millis(300));
    kill(Pid::from_raw(evacuation.0.id() as i32), Signal::SIGINT).unwrap();
    assert!(!evacuation.0.wait().unwrap().success());
    kill(Pid::from_raw(hosts.b.0.id() as i32), Signal::SIGCONT).unwrap();
    // Wherever it is by now, it is protected again or moved whole, and nobody lets go of it.
    let began = Instant::now();
    loop {
        let runs = ["a", "b"].iter().any(|node| {
            let status = hosts.client(node).status().ok();
            let is_whole = |guest: &understudy::control::GuestStatus| {
                guest.role == GuestRole::Primary
                    && matches!(guest.state, GuestState::Protected)
                    && guest.wished
            };
            status.is_some_and(|status| status.guests.iter().any(is_whole))
        });
        if runs {
            break;
        }
        assert!(began.elapsed() < HANG_GUARD, "the guest is protected nowhere");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A disk that takes nothing: no file may grow. What a full one would say comes as another error.
fn without_room(words: &[String]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_understudy")]);
    shell.args(words).env_remove("UNDERSTUDY_CONTROL").output().unwrap()
}

#[test]
fn what_cannot_write_its_files_leaves_none_that_looks_finished() {
    let world = World::new();
    let of_inviter = tls(world.root.path(), "i").display().to_string();
    let line = world.invite("full");
    let report = [
        words(&["doctor", "--report", &world.path("report"), "--config", "/nowhere.toml"]),
        of_a(&world, &[]),
    ];
    let out = world.path("converted");
    let rows: [(Vec<String>, &str); 5] = [
        (words(&["keygen", "k", "--tls", &world.path("keys")]), "keys/own.key"),
        ([line, words(&["--tls", &world.path("joins")])].concat(), "joins/own.key"),
        (
            words(&["invite", "later", "--address", "127.0.0.1:7001", "--tls", &of_inviter]),
            "i.tls/invitations/later",
        ),
        (report.concat(), "report"),
        (words(&["stream", "convert", world.legacy.to_str().unwrap(), "-o", &out]), "converted"),
    ];
    for (words, file) in rows {
        let output = without_room(&words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("File too large"), "{words:?}: {output:?}");
        assert!(!Path::new(&world.path(file)).exists(), "{words:?} leaves {file}");
        // And with room it succeeds: nothing stands in its way.
        let again = run(&words, Stdio::null());
        assert!(again.status.success(), "{words:?}: {again:?}");
    }
}

#[test]
fn every_command_is_in_a_table() {
    let help = understudy().arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: BTreeSet<String> = listed
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect();
    let in_tables = ROWS.iter().map(|(name, ..)| *name).chain(ELSEWHERE.iter().map(|(name, _)| *name));
    assert_eq!(commands, in_tables.map(str::to_owned).collect());
}
