//! Hosts whose guest needs fencing, as real processes with the lab's watchdog: a host that hangs is reset before the other side
//! starts its guest; a switchover needs no reset; what cannot be fenced is not protected, and says why.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use support::{HANG_GUARD, Running, free_address, node, witness};
use understudy::control::status::{GuestRole, Status, WatchdogState};
use understudy::control::{Client, GuestStatus, Wish};
use understudy::witness::Store;
use understudy_link::{Decoder, Frame, HelloAnswer, Identity, LEASES_SINCE, LinkFrame, encode};
use understudy_session::NodeName;
use understudy_session::lease::Standing;

const GUEST: &str = "name=g1,memory=16M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=mixed,fence=enforce";

fn look(directory: &Path, node: &str) -> Option<Status> {
    Client::new(directory.join(format!("{node}.sock"))).status().ok()
}

fn guest(status: &Status) -> Option<&GuestStatus> {
    status.guests.iter().find(|guest| guest.name == "g1")
}

/// Asks a node until it stands as wanted.
fn wait_for(directory: &Path, node: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < HANG_GUARD {
        last = look(directory, node);
        if let Some(status) = last.take_if(|status| wanted(status)) {
            return status;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{node} never came to stand as wanted: {last:?}");
}

fn runs_g1(status: &Status) -> bool {
    guest(status).is_some_and(|guest| guest.role == GuestRole::Primary)
}

fn is_protected(status: &Status) -> bool {
    guest(status).is_some_and(|guest| guest.protected)
}

struct Pair {
    directory: tempfile::TempDir,
    a: Running,
    _b: Running,
    _witness: Running,
}

/// The guest runs on a, protected, and a's watchdog is set.
fn pair() -> Pair {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (a, b, listen) = (free_address(), free_address(), free_address().to_string());
    let (watching, _, _) = witness(at, &listen, &[]);
    let to_a = format!("a={a}");
    let to_b = format!("b={b}");
    let common = ["--witness", &listen, "--fence-watchdog", "4s"];
    let (holding, _) = node("b", at, b, &[&common[..], &["--peer", &to_a]].concat());
    let (running, _) = node("a", at, a, &[&common[..], &["--peer", &to_b, "--guest", GUEST]].concat());
    wait_for(at, "a", is_protected);
    Pair { directory, a: running, _b: holding, _witness: watching }
}

fn standing_of(directory: &Path, host: &str) -> Option<Standing> {
    let leases = Store::look_at_leases(&directory.join("witness")).unwrap();
    leases.iter().find(|(name, _)| name.0 == host).map(|(_, lease)| lease.standing)
}

#[test]
fn a_hung_host_is_reset_by_its_watchdog_before_the_other_side_starts_the_guest() {
    let mut pair = pair();
    let at = pair.directory.path();
    let status = look(at, "a").unwrap();
    assert_eq!(status.fencing.map(|fencing| fencing.watchdog), Some(WatchdogState::Armed));
    assert_eq!(standing_of(at, "a"), Some(Standing::Held));
    kill(Pid::from_raw(pair.a.0.id() as i32), Signal::SIGSTOP).unwrap();

    let began = Instant::now();
    let mut has_waited = false;
    let reset = loop {
        let was_reset = pair.a.0.try_wait().unwrap();
        let other = look(at, "b");
        let waits = |status: &Status| status.fencing.as_ref().is_some_and(|it| !it.waits_for.is_empty());
        has_waited |= other.as_ref().is_some_and(waits);
        if other.is_some_and(|status| runs_g1(&status)) {
            break was_reset;
        }
        assert!(began.elapsed() < HANG_GUARD, "nobody ever starts the guest");
        thread::sleep(Duration::from_millis(20));
    };
    let reset = reset.expect("the hung host is gone before its guest is started elsewhere");
    assert_eq!(reset.signal(), Some(Signal::SIGKILL as i32));
    assert!(has_waited, "and the status said what was waited for");
    assert_eq!(standing_of(at, "a"), Some(Standing::Taken));
    let status = wait_for(at, "b", |status| {
        status.fencing.as_ref().is_some_and(|fencing| fencing.watchdog == WatchdogState::Armed)
    });
    assert!(status.fencing.is_some_and(|fencing| fencing.waits_for.is_empty()));
}

#[test]
fn a_switchover_needs_no_reset_and_the_host_without_the_guest_needs_no_watchdog() {
    let mut pair = pair();
    let at = pair.directory.path();
    Client::new(at.join("a.sock")).wish("g1", Wish::Switchover).unwrap();
    wait_for(at, "b", |status| runs_g1(status) && is_protected(status));
    let status = wait_for(at, "a", |status| {
        status.fencing.as_ref().is_some_and(|fencing| fencing.watchdog == WatchdogState::Renewed)
    });
    assert!(!runs_g1(&status));
    assert_eq!(standing_of(at, "a"), Some(Standing::Held), "nobody took it away");
    assert!(pair.a.0.try_wait().unwrap().is_none());
}

/// A witness that speaks no version with leases.
fn older_witness() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| drop(thread::spawn(|| serve(stream))))
    });
    address
}

fn serve(mut stream: TcpStream) {
    let (mut decoder, mut sequence) = (Decoder::new(), 0);
    loop {
        let mut answers = Vec::new();
        while let Ok(Some(frame)) = decoder.next_frame() {
            let from = Identity { node: NodeName("witness".into()), instance: 1 };
            match frame {
                Frame::Link(LinkFrame::Hello(_)) => {
                    answers.push(LinkFrame::HelloAnswer(HelloAnswer { version: LEASES_SINCE - 1, from }));
                }
                Frame::Link(LinkFrame::Ping) => answers.push(LinkFrame::Pong),
                _ => {}
            }
        }
        for answer in answers {
            let bytes = encode(&answer.into()).unwrap().seal(sequence);
            sequence += 1;
            stream.write_all(&bytes).unwrap();
        }
        match stream.read(decoder.space().unwrap()) {
            Ok(count) if count > 0 => decoder.filled(count),
            _ => return,
        }
    }
}

#[test]
fn a_guest_is_not_protected_under_a_witness_that_keeps_no_leases_and_the_status_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (a, b, listen) = (free_address(), free_address(), older_witness().to_string());
    let to_b = format!("b={b}");
    let (_b, _) = node("b", at, b, &["--witness", &listen]);
    let (_a, _) = node("a", at, a, &["--witness", &listen, "--peer", &to_b, "--guest", GUEST]);
    let says_so = |reason: &str| reason.contains("older version");
    let status =
        wait_for(at, "a", |status| status.fencing.as_ref().is_some_and(|fencing| says_so(&fencing.reason)));
    assert_eq!(status.fencing.map(|fencing| fencing.watchdog), Some(WatchdogState::Off));
    assert!(!status.guests.iter().any(|guest| guest.protected));
}
