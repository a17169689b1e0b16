//! The xenstore client against a thread that plays xenstored over a real socket.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use understudy_xen::DomId;
use understudy_xen::xenstore::{NodeAccess, Permission, StoreError, WatchEvent, Xenstore};

const DIRECTORY: u32 = 1;
const READ: u32 = 2;
const WATCH: u32 = 4;
const UNWATCH: u32 = 5;
const TRANSACTION_START: u32 = 6;
const TRANSACTION_END: u32 = 7;
const WRITE: u32 = 11;
const WATCH_EVENT: u32 = 15;
const ERROR: u32 = 16;

/// A request as xenstored sees it.
struct Request {
    kind: u32,
    number: u32,
    transaction: u32,
    payload: Vec<u8>,
}

impl Request {
    fn reply(&self, payload: &[u8]) -> Vec<u8> {
        message(self.kind, self.number, payload)
    }

    fn refuse(&self, name: &str) -> Vec<u8> {
        message(ERROR, self.number, format!("{name}\0").as_bytes())
    }
}

fn message(kind: u32, number: u32, payload: &[u8]) -> Vec<u8> {
    let header = [kind, number, 0, payload.len() as u32];
    header.iter().flat_map(|word| word.to_ne_bytes()).chain(payload.iter().copied()).collect()
}

fn event(path: &str, token: &str) -> Vec<u8> {
    message(WATCH_EVENT, 0, format!("{path}\0{token}\0").as_bytes())
}

fn next_request(socket: &mut UnixStream) -> Option<Request> {
    let mut header = [0; 16];
    match socket.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
        Err(error) => panic!("{error}"),
    }
    let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
    let mut payload = vec![0; word(12) as usize];
    socket.read_exact(&mut payload).unwrap();
    Some(Request { kind: word(0), number: word(4), transaction: word(8), payload })
}

/// A xenstored that sends what `answer` says to each request, until it says nothing: then it hangs up.
struct Daemon {
    store: Xenstore,
    thread: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Daemon {
    fn answering(mut answer: impl FnMut(Request) -> Option<Vec<u8>> + Send + 'static) -> Self {
        Self::serving(move |mut socket| {
            while let Some(bytes) = next_request(&mut socket).and_then(&mut answer) {
                // In crumbs, as a socket may deliver them.
                if bytes.chunks(7).any(|crumb| socket.write_all(crumb).is_err()) {
                    // The client hung up on what it was told.
                    return;
                }
            }
        })
    }

    fn serving(serve: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || serve(listener.accept().unwrap().0));
        Self { store: Xenstore::connect(&path).unwrap(), thread, _folder: folder }
    }

    /// Hangs up and waits for the daemon, whose own assertions count, too.
    fn end(self) {
        drop(self.store);
        self.thread.join().unwrap();
    }
}

#[test]
fn each_request_says_what_it_means() {
    let mut requests: Vec<(u32, &[u8], &[u8])> = vec![
        (READ, b"/local/domain/0/name\0", b"Domain-0"),
        (READ, b"empty\0", b""),
        (WRITE, b"/a/b\0a value, \xc3\xa4", b"OK\0"),
        (12, b"/a/c\0", b"OK\0"),
        (13, b"/a\0", b"OK\0"),
        (DIRECTORY, b"/a\0", b"vbd\0vif\0"),
        (DIRECTORY, b"/a/vbd\0", b""),
        (14, b"/a\0n0\0r5\0w6\0b7\0", b"OK\0"),
        (18, b"5\0", b"OK\0"),
        (WATCH, b"@releaseDomain\0gone\0", b"OK\0"),
        (UNWATCH, b"@releaseDomain\0gone\0", b"OK\0"),
    ];
    requests.reverse();
    let mut daemon = Daemon::answering(move |request| {
        let (kind, payload, reply) = requests.pop().expect("no further request");
        assert_eq!((request.kind, request.transaction), (kind, 0));
        assert_eq!(request.payload, payload);
        Some(request.reply(reply))
    });
    let store = &mut daemon.store;
    assert_eq!(store.read("/local/domain/0/name").unwrap().as_deref(), Some("Domain-0"));
    assert_eq!(store.read("empty").unwrap().as_deref(), Some(""));
    store.write("/a/b", "a value, ä").unwrap();
    store.mkdir("/a/c").unwrap();
    store.rm("/a").unwrap();
    assert_eq!(store.directory("/a").unwrap(), ["vbd", "vif"]);
    assert!(store.directory("/a/vbd").unwrap().is_empty());
    let permissions =
        [(0, NodeAccess::None), (5, NodeAccess::Read), (6, NodeAccess::Write), (7, NodeAccess::Both)];
    let permissions = permissions.map(|(domain, access)| Permission { domain: DomId(domain), access });
    store.set_permissions("/a", &permissions).unwrap();
    store.resume(DomId(5)).unwrap();
    store.watch("@releaseDomain", "gone").unwrap();
    store.unwatch("@releaseDomain", "gone").unwrap();
    daemon.end();
}

#[test]
fn a_refusal_has_its_name_and_what_is_missing_is_none() {
    let mut names = ["ENOENT", "ENOENT", "ENOENT", "EACCES", "ENOENT", "EQUOTA"].into_iter();
    let mut daemon = Daemon::answering(move |request| Some(request.refuse(names.next().unwrap())));
    let store = &mut daemon.store;
    assert_eq!(store.read("/a").unwrap(), None);
    assert!(store.directory("/a").unwrap().is_empty());
    store.rm("/a").unwrap();
    let error = store.read("/a").unwrap_err();
    assert_eq!(error.to_string(), "Xenstore refused to read /a: EACCES. Run this as root in dom0");
    let error = store.write("/a", "").unwrap_err();
    assert_eq!(error.to_string(), "Xenstore refused to write /a: ENOENT");
    let error = store.mkdir("/a").unwrap_err();
    assert!(error.to_string().contains("quota"), "{error}");
    daemon.end();
}

#[test]
fn what_xenstore_does_not_take_is_never_sent() {
    let mut daemon = Daemon::answering(|request| {
        assert_eq!(request.payload.len(), 4096);
        Some(request.reply(b"OK\0"))
    });
    let store = &mut daemon.store;
    assert!(matches!(store.read(""), Err(StoreError::BadName(_))));
    assert!(matches!(store.write("/a\0/b", "c"), Err(StoreError::BadName(_))));
    assert!(matches!(store.watch("/a", ""), Err(StoreError::BadName(_))));
    let value = "v".repeat(4096 - 3);
    assert!(matches!(store.write("/ab", &value), Err(StoreError::TooLong { bytes: 4097 })));
    store.write("/a", &value).unwrap();
    daemon.end();
}

#[test]
fn events_between_request_and_reply_are_kept_in_order() {
    let mut daemon = Daemon::answering(|request| {
        let mut bytes = event("/a", "one");
        bytes.extend(event("/a/b", "one"));
        // The same again says nothing new.
        bytes.extend(event("/a", "one"));
        bytes.extend(request.reply(b"OK\0"));
        bytes.extend(event("/c", "two"));
        Some(bytes)
    });
    let store = &mut daemon.store;
    store.watch("/a", "one").unwrap();
    let expected = |path: &str, token: &str| WatchEvent { path: path.into(), token: token.into() };
    assert_eq!(store.next_event(None).unwrap(), Some(expected("/a", "one")));
    assert_eq!(store.next_event(None).unwrap(), Some(expected("/a/b", "one")));
    assert_eq!(store.next_event(None).unwrap(), Some(expected("/c", "two")));
    assert_eq!(store.next_event(Some(Duration::ZERO)).unwrap(), None);
    let before = Instant::now();
    assert_eq!(store.next_event(Some(Duration::from_millis(30))).unwrap(), None);
    assert!(before.elapsed() >= Duration::from_millis(30));
    // Once a watch is ended none of its events comes, those of others do.
    store.write("/a", "").unwrap();
    store.unwatch("/a", "one").unwrap();
    assert_eq!(store.next_event(None).unwrap(), Some(expected("/c", "two")));
    daemon.end();
}

#[test]
fn an_event_is_waited_for() {
    let mut daemon = Daemon::serving(|mut socket| {
        std::thread::sleep(Duration::from_millis(30));
        socket.write_all(&event("@releaseDomain", "gone")).unwrap();
        assert!(next_request(&mut socket).is_none());
    });
    let seen = daemon.store.next_event(Some(Duration::from_secs(20))).unwrap().unwrap();
    assert_eq!((seen.path.as_str(), seen.token.as_str()), ("@releaseDomain", "gone"));
    daemon.end();
}

#[test]
fn more_events_than_can_wait_are_told_once() {
    let mut daemon = Daemon::answering(|request| {
        let mut bytes: Vec<u8> = (0..1025).flat_map(|number| event(&format!("/{number}"), "t")).collect();
        bytes.extend(request.reply(b""));
        Some(bytes)
    });
    daemon.store.read("/a").unwrap();
    assert!(matches!(daemon.store.next_event(None), Err(StoreError::EventsLost(1024))));
    for number in 0..1024 {
        assert_eq!(daemon.store.next_event(None).unwrap().unwrap().path, format!("/{number}"));
    }
    assert_eq!(daemon.store.next_event(Some(Duration::ZERO)).unwrap(), None);
    daemon.end();
}

/// Transactions that meet a conflict so many times, and what each ended with.
fn transactions(conflicts: usize) -> Daemon {
    let (mut begun, mut ended) = (0, 0);
    Daemon::answering(move |request| match request.kind {
        TRANSACTION_START => {
            assert_eq!((request.payload.as_slice(), request.transaction), (&b"\0"[..], 0));
            begun += 1;
            Some(request.reply(format!("{}\0", 100 + begun).as_bytes()))
        }
        TRANSACTION_END => {
            assert_eq!(request.transaction, 100 + begun);
            assert!(matches!(request.payload.as_slice(), b"T\0" | b"F\0"));
            ended += 1;
            let conflict = request.payload == b"T\0" && ended <= conflicts;
            Some(if conflict { request.refuse("EAGAIN") } else { request.reply(b"OK\0") })
        }
        READ => {
            assert_eq!(request.transaction, 100 + begun);
            Some(request.reply(begun.to_string().as_bytes()))
        }
        _ => {
            assert_eq!(request.transaction, 100 + begun);
            Some(request.refuse("EACCES"))
        }
    })
}

#[test]
fn a_transaction_is_done_again_until_nobody_interferes() {
    let mut daemon = transactions(3);
    let mut rounds = 0;
    let value = daemon.store.transaction(|inside| {
        rounds += 1;
        inside.read("/a")
    });
    assert_eq!((value.unwrap().as_deref(), rounds), (Some("4"), 4));
    daemon.end();

    let mut daemon = transactions(usize::MAX);
    let endless = daemon.store.transaction(|inside| inside.read("/a"));
    assert!(matches!(endless, Err(StoreError::Conflict(100))));
    daemon.end();
}

#[test]
fn a_transaction_that_fails_inside_is_undone_and_tells_why() {
    let mut daemon = transactions(0);
    let error = daemon.store.transaction(|inside| inside.write("/a", "b")).unwrap_err();
    assert!(matches!(&error, StoreError::Refused { name, .. } if name == "EACCES"), "{error}");
    // And the connection goes on.
    assert!(daemon.store.transaction(|inside| inside.read("/a")).is_ok());
    daemon.end();
}

#[test]
fn a_connection_that_ends_is_told_and_stays_ended() {
    let whole = message(READ, 1, b"value");
    for cut in [0, 1, 15, 16, 20] {
        let part = whole[..cut].to_vec();
        let mut daemon = Daemon::serving(move |mut socket| {
            next_request(&mut socket).unwrap();
            socket.write_all(&part).unwrap();
        });
        assert!(matches!(daemon.store.read("/a"), Err(StoreError::Closed)), "cut at {cut}");
        assert!(matches!(daemon.store.read("/a"), Err(StoreError::Closed)));
        assert!(matches!(daemon.store.next_event(None), Err(StoreError::Closed)));
        daemon.end();
    }
    let mut daemon = Daemon::serving(drop);
    assert!(matches!(daemon.store.next_event(None), Err(StoreError::Closed)));
    daemon.end();
}

#[test]
fn answers_out_of_turn_break_the_connection() {
    type Answer = fn(&Request) -> Vec<u8>;
    let answers: [Answer; 5] = [
        |request| message(request.kind, request.number + 1, b"value"),
        |request| message(request.kind, 0, b"value"),
        |request| message(ERROR, request.number + 1, b"ENOENT\0"),
        |request| message(WRITE, request.number, b"OK\0"),
        |request| message(999, request.number, b""),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let mut daemon = Daemon::answering(move |request| Some(answer(&request)));
        let error = daemon.store.read("/a").unwrap_err();
        assert!(matches!(error, StoreError::Protocol(_)), "{number}: {error}");
        assert!(matches!(daemon.store.read("/a"), Err(StoreError::Closed)));
        daemon.end();
    }
}

#[test]
fn hostile_lengths_and_events_are_refused() {
    for length in [4097u32, u32::MAX] {
        let mut daemon = Daemon::answering(move |request| {
            let mut bytes = request.reply(b"");
            bytes[12..16].copy_from_slice(&length.to_ne_bytes());
            Some(bytes)
        });
        let error = daemon.store.read("/a").unwrap_err();
        assert!(error.to_string().contains(&format!("a message of {length} bytes")), "{error}");
        daemon.end();
    }
    let mut daemon = Daemon::serving(|mut socket| {
        socket.write_all(&message(WATCH_EVENT, 0, b"no end")).unwrap();
        assert!(next_request(&mut socket).is_none());
    });
    assert!(matches!(daemon.store.next_event(None), Err(StoreError::Protocol(_))));
    daemon.end();
    let mut daemon = Daemon::serving(|mut socket| {
        socket.write_all(&message(READ, 1, b"unasked")).unwrap();
        assert!(next_request(&mut socket).is_none());
    });
    assert!(matches!(daemon.store.next_event(None), Err(StoreError::Protocol(_))));
    daemon.end();
}

#[test]
fn an_absent_xenstore_is_told_with_where_it_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let error = Xenstore::connect(&path).unwrap_err();
    let text = StoreError::Unreachable(vec![(path.clone(), error)]).to_string();
    assert!(text.starts_with(&format!("No xenstore here: {}: No such file", path.display())), "{text}");
}
