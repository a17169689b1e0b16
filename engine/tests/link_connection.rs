//! Two ends of a link on real sockets, each in an event loop of its own.

use mio::event::Source;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use understudy::connection::{Connection, ConnectionError, Dialing, Fill, Security};
use understudy_checkpoint::{Epoch, Generation};
use understudy_link::{Event, GuestFrame, GuestId, Identity, Lane, LinkError, RefuseReason, Service, encode};
use understudy_session::{NodeName, Time, ToPrimary};

/// Nothing here takes long; a test that hangs ends.
const HANG_GUARD: Duration = Duration::from_secs(60);

fn identity(name: &str) -> Identity {
    Identity { node: NodeName(name.into()), instance: 1 }
}

fn guest(number: u32) -> GuestId {
    GuestId::new(number).unwrap()
}

/// One end and its poll.
struct End {
    poll: Poll,
    connection: Connection,
}

/// What a test looks at.
#[derive(PartialEq, Debug)]
enum Seen {
    Hello(Identity),
    Up(Identity),
    Batch(GuestId, usize),
    Ack(GuestId, Epoch),
    Bye,
    Ended,
}

impl End {
    fn new(mut connection: Connection) -> Self {
        let poll = Poll::new().unwrap();
        let interest = Interest::READABLE | Interest::WRITABLE;
        connection.register(poll.registry(), Token(0), interest).unwrap();
        Self { poll, connection }
    }

    /// The next thing seen, waiting for it.
    fn next(&mut self) -> Result<Seen, ConnectionError> {
        let began = Instant::now();
        let mut events = Events::with_capacity(4);
        loop {
            assert!(began.elapsed() < HANG_GUARD, "nothing comes");
            self.connection.flush()?;
            if let Some(event) = self.connection.next_event()? {
                return Ok(match event {
                    Event::Hello(hello) => Seen::Hello(hello.from),
                    Event::Up(peer) => Seen::Up(peer),
                    Event::Bye => Seen::Bye,
                    Event::Guest(guest, GuestFrame::PageBatch(batch)) => Seen::Batch(guest, batch.len()),
                    Event::Guest(guest, GuestFrame::ToPrimary(ToPrimary::Ack { epoch, .. })) => {
                        Seen::Ack(guest, epoch)
                    }
                    event => panic!("unexpected {}", event.kind_name()),
                });
            }
            match self.connection.fill()? {
                Fill::Some | Fill::Last => {}
                Fill::Ended => return Ok(Seen::Ended),
                Fill::Drained => self.poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap(),
            }
        }
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn accept(listener: &TcpListener, service: Service) -> End {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < HANG_GUARD, "nobody connects");
        if let Ok((stream, remote)) = listener.accept() {
            let plain = Security::PlainLoopback;
            return End::new(Connection::accepted(stream, remote, service, &plain, Time(0)));
        }
    }
}

/// a's end of a connection to b.
fn dial(remote: SocketAddr) -> Result<End, ConnectionError> {
    let (peer, this) = (NodeName("b".into()), identity("a"));
    let dialing = Dialing { peer, to: remote.into(), service: Service::Node, this };
    let mut connection = Connection::dial(dialing, &Security::PlainLoopback, Time(0))?;
    connection.proceed()?;
    Ok(End::new(connection))
}

/// Both ends of an open link between a and b.
fn link() -> (End, End) {
    let (listener, address) = listener();
    let mut a = dial(address).unwrap();
    let mut b = accept(&listener, Service::Node);
    // The dialing end sends its hello as soon as it is connected.
    a.poll.poll(&mut Events::with_capacity(4), Some(HANG_GUARD)).unwrap();
    a.connection.flush().unwrap();
    assert_eq!(b.next().unwrap(), Seen::Hello(identity("a")));
    b.connection.agree(identity("b")).unwrap();
    assert_eq!(a.next().unwrap(), Seen::Up(identity("b")));
    assert!(a.connection.is_open() && b.connection.is_open());
    (a, b)
}

#[test]
fn an_ack_crosses_while_megabytes_of_pages_wait() {
    let (mut a, mut b) = link();
    let batch = vec![7; 128 << 10];
    while a.connection.has_room(Lane::Offered(guest(1))) {
        a.connection.push(encode(&GuestFrame::PageBatch(&batch).of(guest(1))).unwrap()).unwrap();
    }
    let batches = a.connection.outbox().queued_bytes(Lane::Offered(guest(1))) / batch.len();
    a.connection.flush().unwrap();
    let message = ToPrimary::Ack { generation: Generation(1), epoch: Epoch(9) };
    a.connection.push(encode(&GuestFrame::ToPrimary(message).of(guest(5))).unwrap()).unwrap();
    let (mut seen, mut before_ack) = (0, None);
    while seen < batches || before_ack.is_none() {
        a.connection.flush().unwrap();
        match b.next().unwrap() {
            Seen::Batch(number, bytes) => {
                assert_eq!((number, bytes), (guest(1), batch.len()));
                seen += 1;
            }
            Seen::Ack(number, epoch) => {
                assert_eq!((number, epoch), (guest(5), Epoch(9)));
                before_ack = Some(seen);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(before_ack.unwrap() < batches, "the ack came after all {batches} batches");
}

/// A loop that is told once that a socket is readable reads no more after this; what comes later, or the peer's end, it is told anew.
#[test]
fn the_read_that_brings_all_there_was_says_so() {
    let (mut a, mut b) = link();
    let message = ToPrimary::Ack { generation: Generation(1), epoch: Epoch(9) };
    let ack = GuestFrame::ToPrimary(message).of(guest(5));
    let began = Instant::now();
    for _ in 0..3 {
        a.connection.push(encode(&ack).unwrap()).unwrap();
        a.connection.flush().unwrap();
        let filled = loop {
            assert!(began.elapsed() < HANG_GUARD, "nothing comes");
            match b.connection.fill().unwrap() {
                Fill::Drained => std::thread::yield_now(),
                filled => break filled,
            }
        };
        assert_eq!(filled, Fill::Last);
        assert_eq!(b.next().unwrap(), Seen::Ack(guest(5), Epoch(9)));
        assert_eq!(b.connection.fill().unwrap(), Fill::Drained);
    }
}

#[test]
fn a_goodbye_arrives_before_the_end() {
    let (mut a, mut b) = link();
    a.connection.say_goodbye().unwrap();
    assert!(a.connection.is_finished());
    drop(a);
    assert_eq!(b.next().unwrap(), Seen::Bye);
    assert_eq!(b.next().unwrap(), Seen::Ended);
}

#[test]
fn a_refusal_says_why() {
    let (listener, address) = listener();
    let mut a = dial(address).unwrap();
    let mut b = accept(&listener, Service::Witness);
    a.poll.poll(&mut Events::with_capacity(4), Some(HANG_GUARD)).unwrap();
    a.connection.flush().unwrap();
    // A node's hello to a witness is refused without asking anybody.
    let began = Instant::now();
    while !b.connection.is_finished() {
        assert!(began.elapsed() < HANG_GUARD);
        assert!(b.connection.next_event().unwrap().is_none());
        b.connection.fill().unwrap();
    }
    let error = a.next().unwrap_err();
    let reason = RefuseReason::WrongService;
    assert!(
        matches!(&error, ConnectionError::Protocol(LinkError::Refused { reason: r, .. }) if *r == reason)
    );
    assert!(error.to_string().contains("not a node"), "{error}");
}

#[test]
fn an_end_that_says_nothing_is_given_up() {
    let (listener, address) = listener();
    let mut silent = TcpStream::connect(address).unwrap();
    let b = accept(&listener, Service::Node);
    let deadline = b.connection.deadline().unwrap();
    assert!(b.connection.check_timeout(Time(deadline.0 - 1)).is_ok());
    assert!(b.connection.check_timeout(deadline).is_err());
    drop(b);
    silent.set_read_timeout(Some(HANG_GUARD)).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_connection_that_nobody_takes_is_an_error_not_a_wait() {
    let (listener, address) = listener();
    drop(listener);
    let error = dial(address).and_then(|mut end| end.next()).unwrap_err();
    assert!(matches!(error, ConnectionError::Io(_)), "{error}");
}

#[test]
fn bytes_of_a_stranger_end_the_connection() {
    let (listener, address) = listener();
    let mut stranger = TcpStream::connect(address).unwrap();
    stranger.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n").unwrap();
    let error = accept(&listener, Service::Node).next().unwrap_err();
    assert!(matches!(error, ConnectionError::Protocol(LinkError::NotALink)), "{error}");
}
