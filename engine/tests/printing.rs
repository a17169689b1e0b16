//! Whoever reads what a process prints can neither end nor stop it: logs on a full disk, a reader that is gone, one that
//! reads no more, a closed terminal. Real processes.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{HANG_GUARD, Running, free_address, node, witness};
use understudy::control::{Client, Status};

fn understudy(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.args(args);
    command
}

/// A standard stream whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A node that runs one small guest and logs to `stderr`.
fn primary(
    directory: &Path,
    (listen, peer, witness): (SocketAddr, SocketAddr, SocketAddr),
    log: &str,
    stderr: Stdio,
) -> (Running, Client) {
    let control = directory.join("a.sock");
    let (listen, peer, witness) = (listen.to_string(), format!("b={peer}"), witness.to_string());
    let guest = "name=g1,memory=16M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=idle";
    let mut command =
        understudy(&["--log", log, "node", "--node", "a", "--listen", &listen, "--guest", guest]);
    command.args(["--peer", &peer, "--witness", &witness]).arg("--control").arg(&control);
    command.stdout(full()).stderr(stderr);
    (Running(command.spawn().unwrap()), Client::new(control))
}

fn wait_for(client: &Client, wanted: impl Fn(&Status) -> bool) -> Status {
    let began = Instant::now();
    loop {
        let last = client.status();
        match last {
            Ok(status) if wanted(&status) => return status,
            _ if began.elapsed() < HANG_GUARD => thread::sleep(Duration::from_millis(20)),
            last => panic!("it never came to stand as wanted: {last:?}"),
        }
    }
}

fn is_protected(status: &Status) -> bool {
    status.guests.iter().any(|guest| guest.protected)
}

/// How a child ends that must end by itself.
fn end_of(mut child: Child) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(began.elapsed() < HANG_GUARD, "it does not end");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_primary_whose_log_cannot_be_written_goes_on_when_there_is_something_to_log() {
    for (name, stderr) in [("full", full()), ("closed", closed())] {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (free_address(), free_address());
        let (_watching, at, _) = witness(directory.path(), "127.0.0.1:0", &[]);
        let as_secondary = || node("b", directory.path(), b, &["--witness", &at.to_string()]);
        let (holding, _) = as_secondary();
        let (mut running, client) = primary(directory.path(), (a, b, at), "info", stderr);
        wait_for(&client, is_protected);
        // Worth several lines.
        drop(holding);
        wait_for(&client, |status| !is_protected(status));
        let (_holding, _) = as_secondary();
        wait_for(&client, is_protected);
        assert!(running.0.try_wait().unwrap().is_none(), "{name}: it runs");
    }
}

#[test]
fn a_reader_that_reads_no_more_stops_no_node() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (free_address(), free_address());
    let (_reader, writer) = std::io::pipe().unwrap();
    let (_watching, at, _) = witness(directory.path(), "127.0.0.1:0", &[]);
    let (_holding, _) = node("b", directory.path(), b, &["--witness", &at.to_string()]);
    let (_running, client) = primary(directory.path(), (a, b, at), "trace", writer.into());
    wait_for(&client, is_protected);
    // Strangers who connect to the link make it say more than the pipe holds.
    for _ in 0..400 {
        if let Ok(mut stranger) = TcpStream::connect(a) {
            let _ = stranger.write_all(&[b'x'; 600]);
            let _ = stranger.read(&mut [0; 64]);
        }
    }
    wait_for(&client, is_protected);
}

#[test]
fn a_witness_whose_log_and_first_line_cannot_be_written_serves() {
    let directory = tempfile::tempdir().unwrap();
    let listen = free_address();
    let mut command = understudy(&["witness", "--listen", &listen.to_string(), "--state"]);
    command.arg(directory.path().join("w")).stdout(full()).stderr(full());
    let mut witness = Running(command.spawn().unwrap());
    let began = Instant::now();
    let flood = |count: usize| {
        for _ in 0..count {
            if let Ok(mut stranger) = TcpStream::connect(listen) {
                let _ = stranger.write_all(b"GET / HTTP/1.1\r\n\r\nmore than a header of the link has");
            }
        }
    };
    while TcpStream::connect(listen).is_err() {
        assert!(began.elapsed() < HANG_GUARD, "the witness listens");
        thread::sleep(Duration::from_millis(5));
    }
    flood(200);
    assert!(TcpStream::connect(listen).is_ok());
    assert!(witness.0.try_wait().unwrap().is_none(), "it runs");
}

#[test]
fn a_stranger_cannot_fill_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let listen = free_address();
    let log = directory.path().join("log");
    let mut command = understudy(&["witness", "--listen", &listen.to_string(), "--state"]);
    command.arg(directory.path().join("w")).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let mut witness = Running(command.spawn().unwrap());
    let began = Instant::now();
    let mut refused = 0;
    while refused < 1_000 {
        assert!(began.elapsed() < HANG_GUARD, "the witness listens");
        let Ok(mut stranger) = TcpStream::connect(listen) else { continue };
        let _ = stranger.write_all(&[b'x'; 600]);
        let _ = stranger.read(&mut [0; 64]);
        refused += 1;
    }
    let pid = nix::unistd::Pid::from_raw(witness.0.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(witness.0.wait().unwrap().code(), Some(0));
    let lines = std::fs::read_to_string(&log).unwrap().lines().count();
    assert!((10..300).contains(&lines), "{lines} lines for {refused} connections");
}

#[test]
fn a_closed_terminal_or_a_signal_for_other_daemons_ends_no_node() {
    let directory = tempfile::tempdir().unwrap();
    let (holding, _) = node("b", directory.path(), free_address(), &[]);
    let client = Client::new(directory.path().join("b.sock"));
    wait_for(&client, |_| true);
    let pid = nix::unistd::Pid::from_raw(holding.0.id() as i32);
    use nix::sys::signal::Signal::{SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2};
    for signal in [SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2] {
        nix::sys::signal::kill(pid, signal).unwrap();
        thread::sleep(Duration::from_millis(50));
        wait_for(&client, |_| true);
    }
}

/// Ends with `code`, as if somebody read it to its end, and complains of nothing.
fn is_quiet(args: &[&str], code: i32) {
    let child = understudy(args).stdout(closed()).stderr(Stdio::piped()).spawn().unwrap();
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert_eq!(status.code(), Some(code), "{args:?}");
    assert!(stderr.is_empty(), "{args:?} said {}", String::from_utf8_lossy(&stderr));
}

#[test]
fn a_report_that_nobody_reads_to_its_end_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let (_holding, _) = node("b", directory.path(), free_address(), &[]);
    let socket = directory.path().join("b.sock");
    wait_for(&Client::new(&socket), |_| true);
    let socket = socket.to_str().unwrap();
    is_quiet(&["status", "--control", socket], 0);
    is_quiet(&["status", "--control", socket, "--output", "json"], 0);
    is_quiet(&["preflight", "--facts"], 0);
    is_quiet(&["--help"], 0);
    is_quiet(&["--version"], 0);
    is_quiet(&["stream", "verify", "/dev/null"], 3);
    if !Path::new("/dev/xen/privcmd").exists() {
        is_quiet(&["preflight", "web"], 3);
    }
}

#[test]
fn a_report_that_cannot_be_written_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (_holding, _) = node("b", directory.path(), free_address(), &[]);
    let socket = directory.path().join("b.sock");
    wait_for(&Client::new(&socket), |_| true);
    for args in [&["status", "--control", socket.to_str().unwrap()][..], &["preflight", "--facts"]] {
        let child = understudy(args).stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("standard output") && said.contains("No space left"), "{args:?} said {said}");
    }
    // And a complaint that nobody hears changes nothing about the end.
    let child = understudy(&["status", "--control", "/nowhere/a.sock"]).stderr(full()).spawn().unwrap();
    assert_eq!(end_of(child), Some(5));
}
