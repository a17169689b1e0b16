//! The witness as a real process: killed at any moment, attacked by strangers, started twice.

use mio::event::Source;
use mio::{Events, Interest, Poll, Token};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use understudy::connection::ConnectionError;
use understudy::connection::Security;
use understudy::witness::{News, WitnessLink};
use understudy_checkpoint::Generation;
use understudy_link::{
    Decoder, Frame, Hello, Identity, LinkFrame, RefuseReason, Service, WitnessFrame, encode,
};
use understudy_session::{
    Copy, NodeName, Record, RequestId, Time, WitnessOutcome, WitnessReply, WitnessRequest,
};

/// Nothing here takes long; a test that hangs ends.
const HANG_GUARD: Duration = Duration::from_secs(60);

struct Witness {
    process: Child,
    address: SocketAddr,
}

impl Witness {
    fn command(state: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        command.args(["--log", "error", "witness", "--listen", "127.0.0.1:0", "--state"]).arg(state);
        command
    }

    fn start(state: &Path) -> Self {
        let mut process = Self::command(state).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().parse().expect("the first line says where");
        Self { process, address }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to end in order.
    fn end(mut self) -> ExitStatus {
        let pid = nix::unistd::Pid::from_raw(self.process.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A node that asks one thing at a time and waits.
struct Node {
    stream: TcpStream,
    decoder: Decoder,
    name: NodeName,
    sequence: u32,
}

impl Node {
    fn connect(address: SocketAddr, name: &str) -> std::io::Result<Self> {
        let mut node = Self::greet(address, name, 1)?;
        node.wait(|frame| matches!(frame, Frame::Link(LinkFrame::HelloAnswer(_))).then_some(()))?;
        Ok(node)
    }

    /// Says hello as the process `instance` of a node; the answer is still to come.
    fn greet(address: SocketAddr, name: &str, instance: u64) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(HANG_GUARD))?;
        let name = NodeName(name.into());
        let mut node = Self { stream, decoder: Decoder::new(), name, sequence: 0 };
        let from = Identity { node: node.name.clone(), instance };
        node.send(&LinkFrame::Hello(Hello { versions: (1, 2), service: Service::Witness, from }).into())?;
        Ok(node)
    }

    fn send(&mut self, frame: &Frame<'_>) -> std::io::Result<()> {
        self.sequence += 1;
        self.stream.write_all(&encode(frame).unwrap().seal(self.sequence - 1))
    }

    fn wait<T>(&mut self, pick: impl Fn(&Frame<'_>) -> Option<T>) -> std::io::Result<T> {
        loop {
            while let Some(frame) = self.decoder.next_frame().expect("a witness speaks the protocol") {
                if let Some(found) = pick(&frame) {
                    return Ok(found);
                }
            }
            let count = self.stream.read(self.decoder.space().unwrap())?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.decoder.filled(count);
        }
    }

    fn ask(&mut self, guest: &str, request: WitnessRequest) -> std::io::Result<WitnessReply> {
        self.send(&WitnessFrame::Request { guest, request }.into())?;
        self.wait(|frame| match frame {
            Frame::Witness(WitnessFrame::Reply { reply, .. }) => Some(reply.clone()),
            _ => None,
        })
    }

    fn read(&mut self, guest: &str) -> std::io::Result<Option<Record>> {
        Ok(self.ask(guest, WitnessRequest::Read { id: RequestId(1) })?.record)
    }

    /// Marks the copy stale once more: the record's revision grows by one.
    fn advance(&mut self, guest: &str, from: u64) -> std::io::Result<WitnessOutcome> {
        let new = Record {
            revision: from + 1,
            generation: Generation(1),
            owner: self.name.clone(),
            copy: Copy::Stale,
        };
        Ok(self.ask(guest, WitnessRequest::Swap { id: RequestId(2), expect: from, new })?.outcome)
    }
}

#[test]
fn what_a_witness_has_confirmed_survives_its_death_at_any_moment() {
    let state = tempfile::tempdir().unwrap();
    let mut confirmed = 0;
    for round in 0..40u64 {
        let witness = Witness::start(state.path());
        let mut node = Node::connect(witness.address, "a").unwrap();
        let held = node.read("g1").unwrap().map_or(0, |record| record.revision);
        assert!(
            held == confirmed || held == confirmed + 1,
            "round {round}: {confirmed} were confirmed, one more was asked for, {held} are held"
        );
        confirmed = held;
        // Killed somewhere in the change after this one, however slow the machine is.
        let (tell, told) = std::sync::mpsc::channel();
        let killer = thread::spawn(move || {
            for _ in 0..round % 7 {
                told.recv().unwrap();
            }
            thread::sleep(Duration::from_micros(round * 777 % 3_000));
            witness.kill();
        });
        while let Ok(outcome) = node.advance("g1", confirmed) {
            assert_eq!(outcome, WitnessOutcome::Swapped);
            confirmed += 1;
            // Nobody listens any more once it was enough.
            let _ = tell.send(());
        }
        killer.join().unwrap();
    }
    assert!(confirmed >= 100, "only {confirmed} changes were confirmed in 40 lives");
}

#[test]
fn strangers_and_slow_readers_do_not_keep_a_node_from_its_answers() {
    let state = tempfile::tempdir().unwrap();
    let witness = Witness::start(state.path());
    let mut node = Node::connect(witness.address, "a").unwrap();
    assert_eq!(node.advance("g1", 0).unwrap(), WitnessOutcome::Swapped);

    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(witness.address).unwrap()).collect();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 5_000], b"uS\x01\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0"]
    {
        let mut stranger = TcpStream::connect(witness.address).unwrap();
        stranger.write_all(garbage).unwrap();
        assert_eq!(node.read("g1").unwrap().unwrap().revision, 1);
    }
    // A node that asks for ever and never reads: its questions stop being taken, and nobody else notices.
    let flooder = Node::connect(witness.address, "flooder").unwrap();
    flooder.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let flood = thread::spawn(move || flood(flooder));
    for _ in 0..500 {
        assert_eq!(node.read("g1").unwrap().unwrap().revision, 1);
    }
    assert!(flood.join().unwrap(), "a witness that takes every question must keep every answer");
    let memory_bytes = resident_bytes(witness.process.id());
    assert!(memory_bytes < 64 << 20, "the witness holds {memory_bytes} bytes");
    drop(silent);
    assert!(witness.end().success());
}

/// Whether the witness stopped taking questions.
fn flood(mut node: Node) -> bool {
    let request = || WitnessRequest::Read { id: RequestId(1) };
    (0..5_000_000)
        .any(|_| node.send(&WitnessFrame::Request { guest: "g1", request: request() }.into()).is_err())
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_second_witness_and_a_damaged_record_are_refused_with_words() {
    let state = tempfile::tempdir().unwrap();
    let witness = Witness::start(state.path());
    let mut node = Node::connect(witness.address, "a").unwrap();
    node.advance("g1", 0).unwrap();
    let second = Witness::command(state.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another witness"));
    assert!(witness.end().success());

    let path = state.path().join("g1.record");
    let content = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, content.replace("revision 1", "revision 0")).unwrap();
    let refused = Witness::command(state.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("g1.record is damaged"));
}

/// Keeps a node's link to the witness for this long, as a node's event loop does.
fn keep(
    link: &mut WitnessLink,
    poll: &mut Poll,
    began: Instant,
    until: Duration,
) -> Result<(), ConnectionError> {
    let mut events = Events::with_capacity(4);
    while began.elapsed() < until {
        poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        let now = Time(began.elapsed().as_nanos() as u64);
        while let Some(news) = link.next_news(now)? {
            assert_eq!(news, News::Up);
        }
        link.tick(now)?;
    }
    Ok(())
}

#[test]
fn a_witness_that_hangs_is_noticed_and_an_idle_one_is_kept() {
    let state = tempfile::tempdir().unwrap();
    let witness = Witness::start(state.path());
    let (began, mut poll) = (Instant::now(), Poll::new().unwrap());
    let from = Identity { node: NodeName("a".into()), instance: 1 };
    let mut link = WitnessLink::dial(witness.address, from, &Security::PlainLoopback, Time(0)).unwrap();
    link.register(poll.registry(), Token(0), Interest::READABLE | Interest::WRITABLE).unwrap();
    keep(&mut link, &mut poll, began, Duration::from_secs(5)).unwrap();
    assert!(link.is_up());
    let pid = nix::unistd::Pid::from_raw(witness.process.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let error = keep(&mut link, &mut poll, began, HANG_GUARD).unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
}

#[test]
fn made_up_names_take_no_place_of_a_node_that_the_records_name() {
    let state = tempfile::tempdir().unwrap();
    let witness = Witness::start(state.path());
    let mut a = Node::connect(witness.address, "a").unwrap();
    assert_eq!(a.advance("g1", 0).unwrap(), WitnessOutcome::Swapped);
    // More than fit, each with a hello; the first of them have to go, and a stays.
    let mut made_up: Vec<Node> =
        (0..200).map(|number| Node::connect(witness.address, &format!("x{number}")).unwrap()).collect();
    assert_eq!(a.advance("g1", 1).unwrap(), WitnessOutcome::Swapped);
    // It is restarted meanwhile, and comes back.
    drop(a);
    let mut more = Node::connect(witness.address, "y").unwrap();
    let mut a = Node::connect(witness.address, "a").unwrap();
    assert_eq!(a.advance("g1", 2).unwrap(), WitnessOutcome::Swapped);
    assert!(more.read("g1").is_ok(), "the oldest goes first");
    assert!(made_up[0].read("g1").is_err() && made_up[199].read("g1").is_ok());
    // Names that have guests of their own are known, and since later than a.
    for node in made_up.iter_mut().skip(20).chain([&mut more]) {
        let _ = node.advance(&format!("guest-of-{}", node.name), 0);
    }
    drop(a);
    let _more: Vec<Node> =
        (0..5).map(|number| Node::connect(witness.address, &format!("z{number}")).unwrap()).collect();
    let mut a = Node::connect(witness.address, "a").unwrap();
    assert_eq!(a.advance("g1", 3).unwrap(), WitnessOutcome::Swapped);
}

#[test]
fn a_node_that_connects_again_replaces_its_former_connection() {
    let state = tempfile::tempdir().unwrap();
    let witness = Witness::start(state.path());
    let mut former = Node::connect(witness.address, "a").unwrap();
    let mut again = Node::connect(witness.address, "a").unwrap();
    assert_eq!(again.advance("g1", 0).unwrap(), WitnessOutcome::Swapped);
    assert!(former.read("g1").is_err(), "the former connection is closed");
}

#[test]
fn a_second_process_of_a_node_is_refused_while_the_first_answers_and_taken_once_it_does_not() {
    let state = tempfile::tempdir().unwrap();
    let witness = Witness::start(state.path());
    let mut first = Node::connect(witness.address, "a").unwrap();
    let mut second = Node::greet(witness.address, "a", 2).unwrap();
    // As nodes do that have nothing to ask.
    let refused = std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            second.wait(|frame| match frame {
                Frame::Link(LinkFrame::Refuse { reason, detail }) => Some((*reason, detail.clone())),
                _ => None,
            })
        });
        while !second.is_finished() {
            first.send(&LinkFrame::Ping.into()).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        second.join().unwrap().unwrap()
    });
    assert_eq!(refused.0, RefuseReason::NameInUse);
    assert!(refused.1.contains("a name of its own"), "{}", refused.1);
    assert!(first.read("g").unwrap().is_none(), "the first is served as before");
    // It hangs: a process that says nothing makes way.
    let mut third = Node::greet(witness.address, "a", 3).unwrap();
    third.wait(|frame| matches!(frame, Frame::Link(LinkFrame::HelloAnswer(_))).then_some(())).unwrap();
    assert!(third.read("g").unwrap().is_none());
    assert!(first.read("g").is_err(), "its connection has ended");
}
