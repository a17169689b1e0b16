//! `colo compare` as an operator meets it, on captures that are made here, and on some of real guests.

#[path = "support/tape.rs"]
mod tape;

use etherparse::PacketBuilder;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use tape::{CLIENT_MAC, Connection, GUEST_MAC, LATER, PRIMARY, Run, TWIN, Tape, service};
use tempfile::TempDir;

fn understudy(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_understudy")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Captures in files.
struct Captures {
    _directory: TempDir,
    primary: PathBuf,
    secondary: PathBuf,
}

impl Captures {
    fn new(primary: &[u8], secondary: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [of_primary, of_secondary] = ["p.pcap", "s.pcap"].map(|name| directory.path().join(name));
        fs::write(&of_primary, primary).unwrap();
        fs::write(&of_secondary, secondary).unwrap();
        Self { _directory: directory, primary: of_primary, secondary: of_secondary }
    }

    fn compare(&self, more: &[&str]) -> Output {
        let files = [&self.primary, &self.secondary].map(|path: &PathBuf| path.to_str().unwrap());
        understudy(&[&["colo", "compare"], &files[..], more].concat())
    }

    fn ends(&self, more: &[&str], code: i32) -> String {
        let output = self.compare(more);
        assert_eq!(output.status.code(), Some(code), "{more:?} said {}", said(&output));
        said(&output)
    }

    fn json(&self, code: i32) -> Value {
        let output = self.compare(&["--output", "json"]);
        assert_eq!(output.status.code(), Some(code), "said {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

const ANSWERS: [&[u8]; 2] =
    [b"HTTP/1.0 200 OK\r\n\r\nthe first page", b"HTTP/1.0 200 OK\r\n\r\nthe second page"];

#[test]
fn guests_with_other_numbers_clocks_and_segments_are_the_same() {
    let captures =
        Captures::new(&service(PRIMARY, 3, &ANSWERS, 1448).file, &service(TWIN, 3, &ANSWERS, 7).file);
    let report = captures.json(0);
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(report["guest"], "02:00:00:00:00:02");
    assert_eq!(report["guest_is_inferred"], true);
    assert_eq!(report["offset_by"], "common_frame");
    assert_eq!(report["all"]["frames"], 3 * 4);
    assert_eq!(report["all"]["matched"], 3 * 4);
    assert_eq!(report["matched_share"], 1.0);
    assert_eq!(report["flow_count"], 3);
    assert_eq!(report["replaced_clients"], 0);
    // Each answer of the copy takes 0.7 ms longer, and its client waits for it.
    let wait = |key: &str| report["waits_ms"][key].as_f64().unwrap();
    assert!(0.69 < wait("p50") && wait("p50") <= wait("p99") && wait("max") < 0.71 * 12.0, "{report:#}");
    let text = captures.ends(&[], 0);
    assert!(text.contains("100.0 % of those that were compared") && text.contains("no divergence"), "{text}");
}

#[test]
fn guests_that_had_clients_of_their_own_are_compared_all_the_same() {
    let captures =
        Captures::new(&service(PRIMARY, 3, &ANSWERS, 1448).file, &service(LATER, 3, &ANSWERS, 11).file);
    let report = captures.json(0);
    assert_eq!(report["all"]["matched"], 3 * 4, "{report:#}");
    assert_eq!(report["all"]["capped"], 0, "the clients' numbers are made the primary's: {report:#}");
    assert_eq!(report["replaced_clients"], 3);
    assert_eq!(report["offset_by"], "first_frames");
    assert_eq!(report["offset_s"], -900.0);
    assert_eq!(report["all"]["late"], 0);
}

#[test]
fn an_answer_that_differs_is_told_with_its_place_and_both_bytes() {
    let other: [&[u8]; 2] = [ANSWERS[0], b"HTTP/1.0 200 OK\r\n\r\nthe fourth page"];
    let primary = service(PRIMARY, 2, &ANSWERS, 1448);
    let mut secondary = service(TWIN, 1, &other, 1448);
    let mut connection = Connection::open(&mut secondary, TWIN, 1);
    for answer in ANSWERS {
        connection.exchange(&mut secondary, b"GET /index.html\r\n", answer, 1448);
    }
    connection.close(&mut secondary);
    let captures = Captures::new(&primary.file, &secondary.file);
    let report = captures.json(3);
    assert_eq!(report["ok"], false);
    assert_eq!(report["diverged_flow_count"], 1, "the other connection goes on: {report:#}");
    assert_eq!(report["divergences_by_kind"]["payload"], 1);
    let found = &report["divergences"][0];
    let place = ANSWERS[0].len() + "HTTP/1.0 200 OK\r\n\r\nthe ".len();
    assert_eq!(found["stream_position"], place, "{found:#}");
    let bytes = |who: &str| found[who]["bytes"].as_str().unwrap().to_owned();
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(bytes("primary").ends_with(&hex("the second page")), "{found:#}");
    assert!(bytes("secondary").ends_with(&hex("the fourth page")), "{found:#}");
    assert_eq!(found["primary"]["place"], 16);
    let diverged = &report["flows"][0];
    assert_eq!(diverged["diverged"], "payload");
    // The second answer and the FIN were sent before the copy's other answer was there.
    assert_eq!((&diverged["matched"], &diverged["waited"]), (&Value::from(2), &Value::from(2)));
    let text = captures.ends(&[], 3);
    assert!(text.contains("[73]") && text.contains("[66]"), "s and f are marked: {text}");
    assert!(text.contains("1 of 2 flows DIVERGED: 1 payload"), "{text}");
}

#[test]
fn a_copy_that_never_answers_is_a_divergence_and_the_end_of_a_capture_is_not() {
    let mut primary = service(PRIMARY, 2, &ANSWERS, 1448);
    primary.now = PRIMARY.begins_at + 11_000_000;
    Connection::open(&mut primary, PRIMARY, 3);
    let mut silent = service(TWIN, 1, &ANSWERS, 1448);
    let mut connection = Connection::open(&mut silent, TWIN, 1);
    connection.asked(&mut silent, b"GET /index.html\r\n");
    silent.now = TWIN.begins_at + 11_000_000;
    silent.frame(&connection.client_frame("", b""));
    let report = Captures::new(&primary.file, &silent.file).json(3);
    assert_eq!(report["divergences_by_kind"]["timeout"], 1, "{report:#}");
    assert_eq!(report["all"]["open"], 1, "the SYN-ACK at the end: {report:#}");
}

#[test]
fn an_answer_that_comes_too_late_for_a_live_pair_is_counted() {
    let primary = service(PRIMARY, 1, &ANSWERS, 1448);
    let captures =
        Captures::new(&primary.file, &service(Run { takes: 90_000, ..TWIN }, 1, &ANSWERS, 1448).file);
    let report = captures.json(0);
    assert_eq!(report["all"]["late"], 4, "{report:#}");
    assert_eq!(report["matched_share"], 0.0);
}

#[test]
fn a_capture_that_was_cut_is_judged_as_far_as_it_goes() {
    let primary = service(PRIMARY, 3, &ANSWERS, 1448).file;
    let secondary = service(TWIN, 3, &ANSWERS, 1448).file;
    let captures = Captures::new(&primary, &secondary[..secondary.len() * 2 / 3 + 1]);
    let output = captures.compare(&["--output", "json"]);
    assert_eq!(output.status.code(), Some(4));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert!(
        report["secondary"]["ended_early"].as_str().unwrap().contains("ends in the middle"),
        "{report:#}"
    );
    assert!(report["primary"]["ended_early"].is_null());
    assert!(report["all"]["matched"].as_u64().unwrap() > 4, "{report:#}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.contains("s.pcap") && complaint.contains("what was read of it was compared"),
        "{complaint}"
    );
}

#[test]
fn frames_that_a_capture_cut_short_are_not_taken_for_differences() {
    let primary = service(PRIMARY, 1, &ANSWERS, 1448);
    let mut cut = Tape::new(TWIN.begins_at);
    let mut connection = Connection::open(&mut cut, TWIN, 0);
    connection.asked(&mut cut, b"GET /index.html\r\n");
    let frame = connection.guest_frame(&cut, "", ANSWERS[0]);
    cut.cut_frame(&frame, 68);
    cut.now += 1_000_000;
    cut.frame(&connection.client_frame("", b""));
    let captures = Captures::new(&primary.file, &cut.file);
    let output = captures.compare(&["--output", "json"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["secondary"]["cut_frames"], 1);
    assert_eq!(report["diverged_flow_count"], 0, "{report:#}");
    assert!(report["all"]["cut"].as_u64().unwrap() >= 2, "{report:#}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("tcpdump -s 0"));
}

/// A datagram of the guest.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let packet = PacketBuilder::ethernet2(GUEST_MAC, CLIENT_MAC).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let mut frame = Vec::new();
    packet.udp(53, 5353).write(&mut frame, payload).unwrap();
    frame
}

#[test]
fn who_the_guest_is_can_be_told_and_must_be_where_it_is_not_clear() {
    let tape = |payload: &[u8]| {
        let mut tape = Tape::new(PRIMARY.begins_at);
        tape.frame(&datagram(payload));
        tape.now += 1_000_000;
        tape.frame(&datagram(b"the end"));
        tape.now += 1_000_000;
        tape.frame(&datagram(b"the very end"));
        tape.file
    };
    let captures = Captures::new(&tape(b"id 1"), &tape(b"id 2"));
    assert!(captures.ends(&[], 2).contains("--guest"));
    for guest in ["10.0.0.1", "02:00:00:00:00:02"] {
        let text = captures.ends(&["--guest", guest], 3);
        assert!(text.contains(&format!("guest      {guest} (as told)")) && text.contains("udp"), "{text}");
    }
    let text = captures.ends(&["--guest", "10.0.0.7"], 3);
    assert!(text.contains("Nothing could be compared"), "{text}");
    assert!(captures.ends(&["--guest", "nobody"], 2).contains("neither a MAC nor an IP address"));
}

#[test]
fn each_frame_is_told_of_if_asked_for() {
    let captures =
        Captures::new(&service(PRIMARY, 1, &ANSWERS, 1448).file, &service(TWIN, 1, &ANSWERS, 1448).file);
    let text = captures.ends(&["--frames"], 0);
    assert_eq!(text.lines().filter(|line| line.contains("matched after")).count(), 4, "{text}");
    let output = captures.compare(&["--frames", "--output", "json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, frames) = lines.split_last().unwrap();
    assert_eq!(report["report"]["ok"], true);
    let numbers: Vec<u64> = frames.iter().map(|frame| frame["frame"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2, 5, 8, 11]);
    assert!(frames.iter().all(|frame| frame["fate"] == "matched" && frame["wait_ms"].is_number()));
}

#[test]
fn what_cannot_be_read_is_said() {
    let captures = Captures::new(b"no capture at all", b"");
    assert!(captures.ends(&["--guest", "10.0.0.1"], 4).contains("neither pcap nor pcapng"));
    let nothing = understudy(&["colo", "compare", "/nowhere/at.all", "/dev/null"]);
    assert_eq!(nothing.status.code(), Some(4));
    assert!(said(&nothing).contains("/nowhere/at.all: it cannot be read"));
    let device = understudy(&["colo", "compare", "/dev/null", "/dev/null"]);
    assert!(said(&device).contains("must be a file"), "{}", said(&device));
}

/// Captures that `tcpdump` wrote of a small service: the primary's of its card, the secondary's of any interface, which
/// is cooked and does not say to whom a frame is. Each guest had a client of its own.
#[test]
fn captures_of_real_guests_are_the_same() {
    let [primary, secondary] = ["primary", "secondary"]
        .map(|name| fs::read(format!("{}/tests/captures/{name}.pcap", env!("CARGO_MANIFEST_DIR"))).unwrap());
    let report = Captures::new(&primary, &secondary).json(0);
    assert_eq!(report["guest"], "02:00:00:00:00:02");
    assert_eq!((&report["flow_count"], &report["replaced_clients"]), (&Value::from(2), &Value::from(2)));
    assert_eq!(report["matched_share"], 1.0, "{report:#}");

    // One byte of an answer, in the middle of the capture.
    let place = secondary.windows(15).position(|bytes| bytes == b"answer 2 to two").unwrap();
    let mut changed = secondary;
    changed[place + 12] = b'T';
    let report = Captures::new(&primary, &changed).json(3);
    assert_eq!(report["divergences"][0]["kind"], "payload");
    assert_eq!(report["divergences"][0]["stream_position"], "answer 1 to one\nanswer 2 to ".len());
}
