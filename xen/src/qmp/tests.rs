//! The client against a scripted server, and against a real QEMU if one is installed.

use super::message::MESSAGE_BYTES_MAX;
use super::real::{Qemu, status};
use super::{Qmp, QmpError};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;
/// Timeout for what must come; generous, for slow machines.
const LONG: Duration = Duration::from_secs(60);
/// Timeout for what must not come.
const SHORT: Duration = Duration::from_millis(100);

/// A server for one client: greets it, negotiates, and answers each command with the next of `answers`. Returns the
/// commands.
struct Server {
    _directory: tempfile::TempDir,
    path: PathBuf,
    serves: JoinHandle<Vec<Value>>,
}

impl Server {
    fn start(greeting: &'static str, answers: Vec<&'static str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let serves = spawn(move || serve(listener.accept().unwrap().0, greeting, answers));
        Self { _directory: directory, path, serves }
    }

    fn client(&self, answer_max: Duration) -> Result<Qmp, QmpError> {
        Qmp::connect_within(&self.path, answer_max)
    }
}

fn serve(mut client: UnixStream, greeting: &str, answers: Vec<&str>) -> Vec<Value> {
    let mut commands = Vec::new();
    let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
    let mut answers = [r#"{"return": {}, "id": 1}"#].into_iter().chain(answers);
    let _ = writeln!(client, "{greeting}");
    while let Some(Ok(line)) = lines.next() {
        commands.push(serde_json::from_str(&line).unwrap());
        match answers.next() {
            Some("silence") => {}
            Some(answer) => drop(writeln!(client, "{answer}")),
            None => break,
        }
    }
    commands
}

#[test]
fn commands_are_asked_with_their_ids_and_events_are_passed_over() {
    let events =
        "{\"event\": \"STOP\"}\n{\"event\": \"OTHER\"}\n{\"return\": {\"status\": \"paused\"}, \"id\": 2}";
    let refusal = r#"{"error": {"class": "GenericError", "desc": "not now"}, "id": 3}"#;
    let server = Server::start(GREETING, vec![events, refusal, r#"{"return": {}, "id": 4}"#]);
    let mut qmp = server.client(LONG).unwrap();
    assert_eq!(qmp.execute("stop", Value::Null).unwrap(), json!({ "status": "paused" }));
    let error = qmp.execute("save", json!({ "live": false })).unwrap_err();
    assert_eq!(error.to_string(), "QEMU refused save: not now (GenericError)");
    qmp.execute("cont", Value::Null).unwrap();
    drop(qmp);
    let expected = [
        json!({ "execute": "qmp_capabilities", "id": 1 }),
        json!({ "execute": "stop", "id": 2 }),
        json!({ "execute": "save", "id": 3, "arguments": { "live": false } }),
        json!({ "execute": "cont", "id": 4 }),
    ];
    assert_eq!(server.serves.join().unwrap(), expected);
}

#[test]
fn a_server_that_is_no_qemu_is_refused() {
    let greetings = ["", "220 smtp ready", r#"{"return": {}, "id": 1}"#, r#"{"event": "STOP"}"#];
    for greeting in greetings {
        let wait = if greeting.is_empty() { SHORT } else { LONG };
        let error = Server::start(greeting, Vec::new()).client(wait).unwrap_err();
        let is_silent = matches!(&error, QmpError::Timeout { command, .. } if command == "connect");
        assert!(matches!(error, QmpError::Protocol(_)) != is_silent, "{greeting}: {error}");
        assert_eq!(is_silent, greeting.is_empty(), "{error}");
    }
}

#[test]
fn answers_that_do_not_fit_end_the_command() {
    let endless: &str = Box::leak("x".repeat(MESSAGE_BYTES_MAX + 2).into_boxed_str());
    for answer in [r#"{"return": {}, "id": 7}"#, GREETING, "{\"return\": {}}", endless] {
        let server = Server::start(GREETING, vec![answer]);
        let error = server.client(LONG).unwrap().execute("stop", Value::Null).unwrap_err();
        assert!(matches!(error, QmpError::Protocol(_)), "{error}");
    }
    let storm: &str = Box::leak("{\"event\": \"E\"}\n".repeat(2000).into_boxed_str());
    let error = Server::start(GREETING, vec![storm]).client(LONG).unwrap().execute("stop", Value::Null);
    assert!(error.unwrap_err().to_string().contains("events"));
}

#[test]
fn silence_and_the_end_are_told_apart_and_neither_hangs() {
    let server = Server::start(GREETING, vec!["silence"]);
    let mut qmp = server.client(LONG).unwrap();
    qmp.answer_max = SHORT;
    assert!(matches!(qmp.execute("stop", Value::Null).unwrap_err(), QmpError::Timeout { .. }));

    let server = Server::start(GREETING, Vec::new());
    let mut qmp = server.client(LONG).unwrap();
    assert!(matches!(qmp.execute("stop", Value::Null).unwrap_err(), QmpError::Closed { .. }));

    let nowhere = Qmp::connect_within(Path::new("/nowhere/qmp"), LONG).unwrap_err();
    assert!(nowhere.to_string().contains("does the guest's device model run"), "{nowhere}");
}

#[test]
fn a_real_qemu_stops_saves_into_a_file_that_is_handed_over_and_goes_on() {
    let Some(qemu) = Qemu::start() else { return };
    let mut qmp = qemu.connect();
    qmp.execute("stop", Value::Null).unwrap();
    assert_eq!(status(&mut qmp), "paused");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let for_qemu = File::create(&path).unwrap();
    let set = qmp.execute_with("add-fd", json!({}), for_qemu.as_fd()).unwrap();
    let name = format!("/dev/fdset/{}", set["fdset-id"]);
    qmp.execute("xen-save-devices-state", json!({ "filename": name, "live": false })).unwrap();
    let (mut saved, mut state) = (File::open(&path).unwrap(), Vec::new());
    saved.rewind().unwrap();
    saved.read_to_end(&mut state).unwrap();
    assert_eq!(state.first_chunk(), Some(b"QEVM"));

    let wrong = qmp.execute("xen-save-devices-state", json!({ "filename": "/nowhere/state" }));
    assert!(matches!(wrong.unwrap_err(), QmpError::Refused { .. }));
    qmp.execute("cont", Value::Null).unwrap();
    assert_eq!(status(&mut qmp), "running");
}

#[test]
fn a_real_qemu_serves_one_client_after_the_other() {
    let Some(qemu) = Qemu::start() else { return };
    let mut first = qemu.connect();
    for _ in 0..3 {
        assert!(matches!(Qmp::connect_within(&qemu.path(), SHORT), Err(QmpError::Timeout { .. })));
    }
    let path = qemu.path();
    let waits = spawn(move || Qmp::connect_within(&path, LONG));
    first.execute("stop", Value::Null).unwrap();
    drop(first);
    // What the first has done stays done.
    assert_eq!(status(&mut waits.join().unwrap().unwrap()), "paused");
}
