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
    let node = ["secondary", "--node", "b", "--control", "/nowhere/b.sock"];
    let with = |more: &[&'static str]| [&node[..], more].concat();
    ends(&with(&[]), 2, "listen is missing");
    ends(&with(&["--listen", "0.0.0.0:7000"]), 2, "mutual TLS");
    ends(&with(&["--listen", "127.0.0.1:1", "--peer", "a=192.0.2.1:7"]), 2, "not a loopback address");
    ends(&with(&["--listen", "127.0.0.1:1", "--peer", "a"]), 2, "NAME=ADDR");
    ends(&with(&["--listen", "127.0.0.1:1", "--interval", "25"]), 2, "such as 25ms");
    ends(&with(&["--listen", "127.0.0.1:1", "--config", "/nowhere/b.toml"]), 2, "/nowhere/b.toml");
    ends(&["witness", "--listen", "192.0.2.1:1", "--state", "/nowhere"], 2, "mutual TLS");
    ends(&["primary", "--node", "a", "--listen", "127.0.0.1:1", "--control", "/x"], 2, "give --guest");
    ends(&["prinary"], 2, "primary");
}

#[test]
fn a_file_with_an_unknown_key_is_refused_by_name_and_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = written(directory.path(), "node = \"a\"\n[timing]\nintervall = \"10ms\"\n");
    ends(&["secondary", "--config", &file], 2, "intervall");
    ends(&["secondary", "--config", &file], 2, "line 3");
    let file = written(directory.path(), "[timing]\ninterval = \"10\"\n");
    ends(&["secondary", "--config", &file], 2, "such as 25ms");
}

#[test]
fn a_node_that_does_not_run_cannot_be_asked() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("a.sock");
    let socket = socket.to_str().unwrap();
    for command in [&["status"][..], &["switchover", "g1"], &["unprotect", "g1"], &["protect", "g1"]] {
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
fn help_tells_every_exit_code() {
    let help = understudy(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes:"));
}
