//! The command as an operator meets it: wrong usage, missing nodes, and how each of them ends.

use std::path::Path;
use std::process::{Command, Output};

fn understudy(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_understudy")).args(args).output().unwrap()
}

/// How it ended, and that its words say what to do.
fn ends(args: &[&str], code: i32, words: &str) {
    let output = understudy(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?} said {said}");
    assert!(said.contains(words), "{args:?} said {said}");
    assert!(output.stdout.is_empty(), "complaints go to standard error");
}

fn written(directory: &Path, content: &str) -> String {
    let path = directory.join("node.toml");
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_node_that_cannot_work_is_refused_before_it_starts() {
    let node = ["node", "--node", "b", "--control", "/nowhere/b.sock"];
    let with = |more: &[&'static str]| [&node[..], more].concat();
    ends(&with(&[]), 2, "listen is missing");
    ends(&with(&["--listen", "0.0.0.0:7000"]), 2, "mutual TLS");
    ends(&with(&["--listen", "127.0.0.1:1", "--peer", "a=192.0.2.1:7"]), 2, "not a loopback address");
    ends(&with(&["--listen", "127.0.0.1:1", "--peer", "a"]), 2, "NAME=ADDR");
    ends(&with(&["--listen", "127.0.0.1:1", "--interval", "25"]), 2, "such as 25ms");
    ends(&with(&["--listen", "127.0.0.1:1", "--config", "/nowhere/b.toml"]), 2, "/nowhere/b.toml");
    ends(&["witness", "--listen", "192.0.2.1:1", "--state", "/nowhere"], 2, "mutual TLS");
    ends(&["nod"], 2, "node");
}

#[test]
fn a_node_may_be_started_by_its_former_names_and_says_so() {
    let node = ["--node", "a", "--listen", "192.0.2.1:7", "--peer", "b=127.0.0.1:2"];
    let guest = ["--guest", "name=g,mac=52:54:00:00:00:01,ip=10.77.0.11"];
    for former in ["primary", "secondary"] {
        let called = [&[former][..], &node].concat();
        ends(&called, 2, &format!("`understudy {former}` is now `understudy node`"));
        ends(&called, 2, "mutual TLS");
        let help = understudy(&["--help"]);
        let is_listed = |line: &str| line.trim_start().starts_with(&format!("{former} "));
        assert!(
            !String::from_utf8_lossy(&help.stdout).lines().any(is_listed),
            "{former} is not for new scripts"
        );
    }
    let local = ["--node", "a", "--listen", "127.0.0.1:1", "--peer", "b=127.0.0.1:2"];
    ends(&[&["primary"][..], &local].concat(), 2, "give --guest");
    ends(&[&["secondary"][..], &local, &guest].concat(), 2, "protects no guests of its own");
}

#[test]
fn former_names_of_settings_work_and_say_what_to_write() {
    let directory = tempfile::tempdir().unwrap();
    let file = written(directory.path(), "node = \"a\"\n[timing]\nhold = \"1ms\"\n");
    let node = ["node", "--listen", "127.0.0.1:1", "--config", &file, "--grace", "20ms"];
    ends(&node, 2, "--grace is now --link-grace");
    ends(&node, 2, "node.toml: timing.hold is now timing.hold_max");
    ends(&node, 2, "hold-max is 1ms; it may be from 100ms");
}

#[test]
fn a_file_with_an_unknown_key_is_refused_by_name_and_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = written(directory.path(), "node = \"a\"\n[timing]\nintervall = \"10ms\"\n");
    ends(&["node", "--config", &file], 2, "intervall");
    ends(&["node", "--config", &file], 2, "line 3");
    let file = written(directory.path(), "[timing]\ninterval = \"10\"\n");
    ends(&["node", "--config", &file], 2, "such as 25ms");
}

#[test]
fn a_node_that_does_not_run_cannot_be_asked() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("a.sock");
    let socket = socket.to_str().unwrap();
    for command in [
        &["status"][..],
        &["status", "--exit-code"],
        &["switchover", "g1"],
        &["unprotect", "g1"],
        &["protect", "g1"],
    ] {
        ends(&[command, &["--control", socket]].concat(), 5, "is it running");
    }
    // A socket left behind by a dead process.
    drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    ends(&["status", "--control", socket], 5, "is it running");
}

#[test]
fn a_takeover_without_a_witness_first_tells_its_risks() {
    ends(&["takeover", "g1", "--control", "/nowhere/a.sock"], 6, "Switch the other host off first");
    ends(&["takeover", "g1", "--primary-is-dead", "--control", "/nowhere/a.sock"], 5, "is it running");
}

#[test]
fn preflight_ends_as_documented_where_there_is_no_xen_and_no_other_host() {
    ends(&["preflight"], 2, "GUEST");
    ends(&["preflight", "--facts", "web"], 2, "cannot be used with");
    ends(&["preflight", "web", "--to", "-oProxyCommand=true"], 2, "");
    ends(&["preflight", "web", "--to=-oProxyCommand=true"], 2, "is not a host");
    ends(&["preflight", "web", "--to", "b", "--ssh", "/nowhere/ssh"], 1, "give another with --ssh");
    ends(&["preflight", "web", "--to", "b", "--ssh", "false"], 5, "cannot be asked for its facts");
    ends(&["preflight", "web", "--to", "b", "--ssh", "echo"], 4, "not a host's facts");
    ends(&["preflight", "web", "--to", "b", "--timeout", "20"], 2, "such as 25ms");

    let facts = understudy(&["preflight", "--facts"]);
    assert!(facts.status.success(), "facts are told of any host");
    assert!(String::from_utf8_lossy(&facts.stdout).contains("\"format\": 1"));
    if !Path::new("/dev/xen/privcmd").exists() {
        let verdict = understudy(&["preflight", "web", "--output", "json"]);
        assert_eq!(verdict.status.code(), Some(3));
        let said = String::from_utf8_lossy(&verdict.stdout).into_owned();
        assert!(said.contains("\"can_be_protected\": false") && said.contains("\"no_xen\""), "{said}");
    }
}

#[test]
fn help_tells_every_exit_code() {
    let help = understudy(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes:"));
}

#[test]
fn settings_that_no_host_can_have_are_refused_with_their_bounds() {
    let node = ["node", "--node", "b", "--listen", "127.0.0.1:1"];
    let with = |more: &[&'static str]| [&node[..], more].concat();
    ends(&with(&["--interval", "0ms"]), 2, "from 100us to 60s");
    ends(&with(&["--interval", "18446744073709551615ns"]), 2, "from 100us to 60s");
    ends(&with(&["--in-flight-max", "4000000000"]), 2, "from 1 to 256");
    ends(&with(&["--hold-max", "0s"]), 2, "hold-max is 0ns");
    ends(&with(&["--staging", "900G"]), 2, "this host has");
    let guest = "name=g,memory=900G,mac=52:54:00:00:00:01,ip=10.77.0.11";
    let primary =
        ["node", "--node", "a", "--listen", "127.0.0.1:1", "--peer", "b=127.0.0.1:2", "--guest", guest];
    ends(&primary, 2, "available");
    ends(&["drill", "--memory", "900G"], 2, "available");
    ends(&["drill", "--interval", "0ms"], 2, "from 100us to 60s");
    ends(&["drill", "--suspend-takes", "1h"], 2, "from 0ns to 10s");
    // Also what only the processes that are started would refuse.
    ends(&["replay", "/nowhere/recording", "--epoch-buffer", "0"], 2, "from 1.0 MiB");
    ends(&["replay", "/nowhere/recording", "--staging", "900G"], 2, "this host has");
}

#[test]
fn what_cannot_be_listened_on_is_wrong_usage_and_loses_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = written(directory.path(), "theirs");
    let node = ["node", "--node", "b", "--listen", "127.0.0.1:0", "--control"];
    let at = |path: &str, words: &str| ends(&[&node[..], &[path]].concat(), 2, words);
    at(&theirs, "is no socket; it is left alone");
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs");
    at(directory.path().to_str().unwrap(), "is no socket");
    at(directory.path().join("no/such/b.sock").to_str().unwrap(), "a directory that is there");
    at(directory.path().join("b".repeat(200)).to_str().unwrap(), "Cannot listen on");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let socket = directory.path().join("b.sock");
    let socket = socket.to_str().unwrap();
    ends(&["node", "--node", "b", "--listen", &port, "--control", socket], 2, "Address already in use");
    let more = ["--metrics", &port];
    ends(&[&node[..], &[socket], &more].concat(), 2, "Cannot serve metrics");
    assert!(!Path::new(socket).exists(), "what was begun is undone");
}

#[test]
fn a_recording_from_standard_input_is_refused_in_words() {
    ends(&["replay", "-"], 2, "read three times");
    for path in ["/dev/stdin", "/tmp", "/dev/null"] {
        ends(&["replay", path], 2, "is no file");
    }
    ends(&["replay", "/nowhere/recording"], 4, "cannot be read");
}

#[test]
fn a_directory_that_cannot_hold_records_is_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = written(directory.path(), "theirs");
    let dangling = directory.path().join("dangling");
    std::os::unix::fs::symlink("/nowhere/state", &dangling).unwrap();
    for state in [&*theirs, "/proc/understudy", dangling.to_str().unwrap()] {
        ends(&["witness", "--listen", "127.0.0.1:0", "--state", state], 2, "give --state a directory");
    }
}

#[test]
fn a_drill_of_more_rounds_than_can_be_is_refused() {
    for rounds in ["0", "99999999999", "9223372036854775807"] {
        ends(&["drill", "--rounds", rounds], 2, "1000000");
    }
}

#[test]
fn a_configuration_that_has_no_end_is_not_read_for_ever() {
    ends(&["node", "--config", "/dev/zero"], 2, "more than 1 MiB");
    let directory = tempfile::tempdir().unwrap();
    let long = written(directory.path(), &"#".repeat(2 << 20));
    ends(&["node", "--config", &long], 2, "more than 1 MiB");
}

#[test]
fn settings_that_do_not_fit_each_other_are_refused_by_flag_too() {
    let node = ["node", "--node", "b", "--listen", "127.0.0.1:7301"];
    let with = |more: &[&'static str]| [&node[..], more].concat();
    ends(&with(&["--peer", "a=127.0.0.1:7301"]), 2, "for this node and for peer a");
    ends(&with(&["--peer", "a=127.0.0.1:0"]), 2, "has the port 0");
    ends(&with(&["--witness", "127.0.0.1:7301"]), 2, "for this node and for the witness");
    ends(&with(&["--peer", "a=localhost:7302"]), 2, "such as 127.0.0.1:7000");
    ends(&["witness", "--listen", "localhost:7000", "--state", "/nowhere"], 2, "such as 127.0.0.1:7000");
    ends(&with(&["--taps", "much-too-long-for-this-"]), 2, "a shorter prefix");
    ends(&["node", "--node=-b", "--listen", "127.0.0.1:7301"], 2, "no '-' or '.'");
}
