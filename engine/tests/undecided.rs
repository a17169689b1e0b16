//! A host that may not, or cannot know whether it may, run its guest. One that has lost both its secondary and its
//! witness holds its output, then pauses the guest, and goes on when the witness is back (`docs/DESIGN.md#a5`). One whose
//! guest is another's by the witness's record says so, and needs no restart once that one is back. Real processes,
//! SIGKILL.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use support::{HANG_GUARD, Running, free_address, node, witness};
use understudy::control::{Client, GuestState, GuestStatus, Wish};

/// Asks the primary until its guest stands as wanted.
fn wait_for(client: &Client, wanted: impl Fn(&GuestStatus) -> bool) -> GuestStatus {
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < HANG_GUARD {
        if let Ok(status) = client.status() {
            last = status.guests.into_iter().find(|guest| guest.name == "g1");
            if let Some(guest) = last.take_if(|guest| wanted(guest)) {
                return guest;
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("the guest never came to stand as wanted: {last:?}");
}

fn kill(mut running: Running) {
    running.0.kill().unwrap();
    running.0.wait().unwrap();
}

#[test]
fn without_secondary_and_witness_the_guest_is_paused_and_goes_on_when_the_witness_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, listen) = (free_address(), free_address(), free_address().to_string());
    let (watching, _, _) = witness(directory.path(), &listen, &[]);
    let (holding, _) = node("b", directory.path(), b, &["--witness", &listen]);
    let guest = "name=g1,memory=16M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=mixed";
    let peer = format!("b={b}");
    let more = ["--witness", &listen, "--peer", &peer, "--guest", guest, "--hold-max", "500ms"];
    let (_running, _) = node("a", directory.path(), a, &more);
    let client = Client::new(directory.path().join("a.sock"));
    wait_for(&client, |guest| guest.protected);

    kill(watching);
    kill(holding);
    let paused = wait_for(&client, |guest| guest.state == GuestState::PausedUndecided);
    assert!(!paused.protected && !paused.reason.is_empty(), "it says why: {paused:?}");

    let (_watching, _, _) = witness(directory.path(), &listen, &[]);
    let alone = wait_for(&client, |guest| guest.state == GuestState::Unprotected);
    assert_eq!(alone.generation, paused.generation, "nobody else was in charge meanwhile");

    let (_holding, _) = node("b", directory.path(), b, &["--witness", &listen]);
    let again = wait_for(&client, |guest| guest.protected);
    assert!(again.acked > paused.acked, "the guest runs: {again:?}");
}

#[test]
fn without_a_witness_a_guest_whose_secondary_is_lost_says_that_a_person_decides_and_how() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (free_address(), free_address());
    let (holding, _) = node("b", directory.path(), b, &[]);
    let guest = "name=g1,memory=16M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=mixed";
    let peer = format!("b={b}");
    let (_running, _) =
        node("a", directory.path(), a, &["--peer", &peer, "--guest", guest, "--hold-max", "500ms"]);
    let client = Client::new(directory.path().join("a.sock"));
    wait_for(&client, |guest| guest.protected);

    kill(holding);
    let paused = wait_for(&client, |guest| guest.state == GuestState::PausedUndecided);
    assert!(paused.reason.contains("b was lost") && !paused.reason.contains("answer"), "{paused:?}");
    assert!(paused.reason.contains("`understudy unprotect` lets it go on here"), "{paused:?}");
    client.wish("g1", Wish::Unprotect).unwrap();
    wait_for(&client, |guest| guest.state == GuestState::Unprotected);
}

fn page(metrics: SocketAddr) -> String {
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn a_guest_of_another_host_is_refused_in_words_and_protected_once_that_host_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, listen) = (free_address(), free_address(), free_address().to_string());
    let (_watching, _, _) = witness(directory.path(), &listen, &[]);
    let guest = "name=g1,memory=16M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=idle";
    let (to_a, to_b) = (format!("a={a}"), format!("b={b}"));
    let of_b = ["--witness", &listen, "--peer", &to_a, "--guest", guest];
    let [client_a, client_b] = ["a.sock", "b.sock"].map(|socket| Client::new(directory.path().join(socket)));
    let (owner, _) = node("b", directory.path(), b, &of_b);
    wait_for(&client_b, |guest| guest.state == GuestState::Unprotected);
    kill(owner);

    let of_a = ["--witness", &listen, "--peer", &to_b, "--guest", guest];
    let (_late, metrics) = node("a", directory.path(), a, &of_a);
    let refused = wait_for(&client_a, |guest| guest.state == GuestState::ClaimRefused);
    assert!(refused.reason.contains("b as the owner") && !refused.protected, "{refused:?}");
    let page = page(metrics);
    assert!(page.contains("role=\"waiting\"") && !page.contains("role=\"primary\""), "{page}");

    let (_owner, _) = node("b", directory.path(), b, &of_b);
    wait_for(&client_b, |guest| guest.protected);
}
