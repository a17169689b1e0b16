//! Guests, hosts and stations on the switch, as a drill uses them.

mod common;

use common::{CLIENT_IP, CLIENT_MAC, GUEST_IP, GUEST_MAC, config, copy_whole};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use understudy_checkpoint::domain::Source;
use understudy_lab::{
    Answer, LabGuest, Load, Mac, Observer, Outcome, Patience, Port, Sighting, Station, Switch, Uplink,
};

/// Generous: a loaded machine must not fail a test.
const PATIENCE: Patience = Patience { timeout: Duration::from_secs(5), attempts: 3 };
/// For answers that must not come.
const SHORT: Patience = Patience { timeout: Duration::from_millis(50), attempts: 1 };

/// A host that passes frames between its uplink and a guest, without any protection.
struct Host {
    port: Arc<HostPort>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct HostPort(Mutex<Uplink>);

impl Port for HostPort {
    fn transmit(&self, frame: &[u8]) {
        let mut uplink = self.0.lock();
        uplink.write_frame(frame);
        uplink.flush().unwrap();
    }
}

impl Host {
    fn plug(path: &Path, name: &str) -> Self {
        let uplink = Uplink::connect(path, name).unwrap();
        Self { port: Arc::new(HostPort(Mutex::new(uplink))), stop: Arc::default(), thread: None }
    }

    fn run(&mut self, guest: LabGuest) {
        let (port, stop) = (self.port.clone(), self.stop.clone());
        let readable = port.0.lock().as_fd().try_clone_to_owned().unwrap();
        self.thread = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let _ =
                    poll(&mut [PollFd::new(readable.as_fd(), PollFlags::POLLIN)], PollTimeout::from(20u8));
                while let Some(frame) = port.0.lock().next_frame().unwrap() {
                    guest.inject(frame);
                }
            }
        }));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Notes which port sourced the guest's frames.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Observer for Notes {
    fn seen(&mut self, sighting: &Sighting<'_>) {
        if understudy_lab::wire::source_of(sighting.frame) == Some(GUEST_MAC) {
            let mut notes = self.0.lock();
            if notes.last().is_none_or(|last| last != sighting.name) {
                notes.push(sighting.name.to_owned());
            }
        }
    }
}

fn answered(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answered { answer, by } => {
            assert_eq!(by, GUEST_MAC);
            answer
        }
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn a_station_resolves_pings_and_uses_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Switch::start(&folder.path().join("switch"), None).unwrap();
    let mut host = Host::plug(switch.path(), "host-a");
    host.run(LabGuest::start(&config(Load::MIXED, 1), host.port.clone()).unwrap());
    let mut station = Station::connect(switch.path(), "client", CLIENT_MAC, CLIENT_IP).unwrap();

    assert_eq!(station.resolve(GUEST_IP, PATIENCE).unwrap(), Some(GUEST_MAC));
    assert_eq!(station.ping(GUEST_IP, PATIENCE).unwrap().unwrap().by, GUEST_MAC);
    assert_eq!(answered(station.get(GUEST_IP, "n", PATIENCE).unwrap()), Answer::Miss);
    assert_eq!(answered(station.incr(GUEST_IP, "n", 1, PATIENCE.timeout).unwrap()), Answer::NotFound);
    assert_eq!(answered(station.set(GUEST_IP, "n", b"0", PATIENCE).unwrap()), Answer::Stored);
    for n in 1..=200 {
        assert_eq!(answered(station.incr(GUEST_IP, "n", 1, PATIENCE.timeout).unwrap()), Answer::Number(n));
    }
    assert_eq!(answered(station.get(GUEST_IP, "n", PATIENCE).unwrap()), Answer::Value(b"200".to_vec()));
    let refused = answered(station.set(GUEST_IP, "n", &[0; 1025], PATIENCE).unwrap());
    assert_eq!(refused, Answer::Refused("object too large for cache".into()));
    assert_eq!(switch.port_of(GUEST_MAC).unwrap().1, "host-a");
    assert_eq!(switch.ports().len(), 2);
}

#[test]
fn a_guest_that_continues_on_another_host_is_found_there_and_knows_its_counter() {
    let folder = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let switch = Switch::start(&folder.path().join("switch"), Some(Box::new(notes.clone()))).unwrap();
    let mut station = Station::connect(switch.path(), "client", CLIENT_MAC, CLIENT_IP).unwrap();

    let mut first = Host::plug(switch.path(), "host-a");
    let guest = LabGuest::start(&config(Load::LOOP, 1), first.port.clone()).unwrap();
    first.run(guest.clone());
    answered(station.set(GUEST_IP, "n", b"0", PATIENCE).unwrap());
    assert_eq!(answered(station.incr(GUEST_IP, "n", 1, PATIENCE.timeout).unwrap()), Answer::Number(1));

    let mut source = guest.source();
    source.suspend().unwrap();
    let image = copy_whole(&mut source);
    guest.stop();
    let mut second = Host::plug(switch.path(), "host-b");
    second.run(LabGuest::restore(image, second.port.clone()).unwrap());
    drop(first);

    // Asked until the announcement has moved the address; `incr` is asked once only, by its nature.
    answered(station.get(GUEST_IP, "n", Patience { attempts: 100, ..SHORT }).unwrap());
    assert_eq!(answered(station.incr(GUEST_IP, "n", 1, PATIENCE.timeout).unwrap()), Answer::Number(2));
    assert_eq!(switch.port_of(GUEST_MAC).unwrap().1, "host-b");
    assert_eq!(*notes.0.lock(), ["host-a", "host-b"]);
}

#[test]
fn without_an_answer_a_station_says_whether_the_request_may_have_been_done() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Switch::start(&folder.path().join("switch"), None).unwrap();
    let mut host = Host::plug(switch.path(), "host-a");
    let guest = LabGuest::start(&config(Load::IDLE, 1), host.port.clone()).unwrap();
    host.run(guest.clone());
    let mut station = Station::connect(switch.path(), "client", CLIENT_MAC, CLIENT_IP).unwrap();
    answered(station.set(GUEST_IP, "n", b"5", PATIENCE).unwrap());

    let nobody = Ipv4Addr::new(10, 0, 0, 99);
    assert_eq!(station.get(nobody, "n", SHORT).unwrap(), Outcome::NotSent);
    assert_eq!(station.ping(nobody, SHORT).unwrap(), None);
    switch.set_cut("host-a", true);
    assert_eq!(station.incr(GUEST_IP, "n", 1, SHORT.timeout).unwrap(), Outcome::Unknown);
    switch.set_cut("host-a", false);
    guest.pause();
    assert_eq!(station.incr(GUEST_IP, "n", 1, SHORT.timeout).unwrap(), Outcome::Unknown);
    guest.unpause();
    // The second was only delayed: its late answer is not taken for the answer to this one.
    assert_eq!(answered(station.get(GUEST_IP, "n", PATIENCE).unwrap()), Answer::Value(b"6".to_vec()));
}

#[test]
fn a_connection_that_does_not_speak_the_protocol_harms_no_other() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let switch = Switch::start(&folder.path().join("switch"), None).unwrap();
    let mut host = Host::plug(switch.path(), "host-a");
    host.run(LabGuest::start(&config(Load::IDLE, 1), host.port.clone()).unwrap());
    for rubbish in [&[0xFF; 100][..], &[0; 4], &[2, 0, 0, 0, 0xC3, 0x28], b"GET / HTTP/1.0\r\n\r\n"] {
        let mut stream = std::os::unix::net::UnixStream::connect(switch.path()).unwrap();
        stream.write_all(rubbish).unwrap();
    }
    let silent = std::os::unix::net::UnixStream::connect(switch.path()).unwrap();
    let mut station = Station::connect(switch.path(), "client", CLIENT_MAC, CLIENT_IP).unwrap();
    assert!(station.ping(GUEST_IP, PATIENCE).unwrap().is_some());
    drop(silent);

    assert!(Uplink::connect(switch.path(), "").is_err());
    assert!(Station::connect(&folder.path().join("nowhere"), "client", Mac([2; 6]), CLIENT_IP).is_err());
    drop(host);
    let path = switch.path().to_owned();
    drop(switch);
    assert!(!path.exists());
}
