//! A witness whose records cannot be written says so, and goes on when they can be; its records are looked at and given
//! up by commands. Real processes.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};
use support::{HANG_GUARD, free_address, node, witness};
use understudy::control::{Client, GuestState, Status};

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < HANG_GUARD, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn state_of(client: &Client) -> Option<GuestState> {
    let Status { guests, .. } = client.status().ok()?;
    guests.into_iter().next().map(|guest| guest.state)
}

fn asked(state: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    let Output { status, stdout, stderr } =
        command.arg("witness").args(words).arg("--state").arg(state).output().unwrap();
    (status.code(), [&stdout[..], &stderr].map(String::from_utf8_lossy).concat())
}

#[test]
fn a_witness_that_cannot_write_says_so_and_its_records_are_shown_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let (watching, at, page) = witness(directory.path(), "127.0.0.1:0", &[]);
    let (state, away) = (directory.path().join("witness"), directory.path().join("away"));
    let text = metrics(page);
    assert!(text.contains("understudy_witness_requests_total{outcome=\"failed\"} 0"), "{text}");
    assert!(text.contains("understudy_witness_writable 1"), "{text}");

    // No room for a record, as far as the witness can tell.
    std::fs::rename(&state, &away).unwrap();
    let (a, b) = (free_address(), free_address());
    let (peer, at) = (format!("b={b}"), at.to_string());
    let guest = "name=g1,memory=16M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=idle";
    let more = ["--witness", &at, "--peer", &peer, "--guest", guest];
    let (running, _) = node("a", directory.path(), a, &more);
    let client = Client::new(directory.path().join("a.sock"));
    until("it is counted", || {
        let text = metrics(page);
        let is_counted =
            !text.contains("outcome=\"failed\"} 0") && text.contains("understudy_witness_writable 0");
        is_counted.then_some(())
    });
    assert_eq!(state_of(&client), Some(GuestState::Claiming), "nothing was promised");
    until("the node says what is wrong", || {
        let status = client.status().ok()?;
        status.witness.reason.contains("records no change").then_some(())
    });

    std::fs::rename(&away, &state).unwrap();
    until("the guest is claimed", || state_of(&client).filter(|state| *state == GuestState::Unprotected));
    assert!(metrics(page).contains("understudy_witness_writable 1"));

    let (code, said) = asked(&state, &["show"]);
    assert_eq!((code, said.contains("g1: a may run it, in generation 1")), (Some(0), true), "{said}");
    let (code, said) = asked(&state, &["show", "g1", "--output", "json"]);
    assert_eq!((code, said.contains("\"owner\": \"a\"")), (Some(0), true), "{said}");
    assert_eq!(asked(&state, &["show", "g2"]).0, Some(6));
    let (code, said) = asked(&state, &["forget", "g1"]);
    assert_eq!((code, said.contains("--runs-nowhere")), (Some(6), true), "{said}");
    let (code, said) = asked(&state, &["forget", "g1", "--runs-nowhere"]);
    assert_eq!((code, said.contains("in use")), (Some(6), true), "{said}");

    drop(running);
    drop(watching);
    let (code, said) = asked(&state, &["forget", "g1", "--runs-nowhere"]);
    assert_eq!((code, said.contains("forgotten: g1")), (Some(0), true), "{said}");
    assert!(asked(&state, &["show"]).1.contains("no records"));
    assert_eq!(asked(&directory.path().join("nowhere"), &["show"]).0, Some(4));
}
