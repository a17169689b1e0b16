//! A desk: where strangers of this machine ask one short question each and get one answer. The control socket
//! and the metrics page are desks in an event loop; what is asked and answered is theirs.
//!
//! ```text
//!   accept ─► Asking{bytes so far} ── whole ──► (the loop answers) ──► Telling{bytes left} ─► closed
//!                  └── too long, too slow, or the desk is full ─► closed ◄──┘
//! ```
//!
//! Bounded in every direction: visitors, bytes of a question, time of a visit; where descriptors are scarce, one visitor
//! at a time.

use crate::descriptors::{is_exhausted, is_scarce};
use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use understudy_session::{Span, Time};

/// Visitors at a time, at most; one more sends the longest waiting away.
const VISITORS_MAX: usize = 16;

/// Connections that are taken in one turn of the loop: so few that each is read from before it could be the longest waiting.
const ACCEPTS_MAX: usize = VISITORS_MAX / 2;

/// Bytes of a question, at most: an HTTP request's head with a browser's headers fits in.
const QUESTION_BYTES_MAX: usize = 8 << 10;

/// A visit that takes longer than this is over. Answers are small and readers are local.
const VISIT_MAX: Span = Span::from_ms(10_000);

/// Tokens that a desk uses, from its first on.
pub const DESK_TOKENS: usize = 1 + VISITORS_MAX;

/// A listener whose connections a desk can serve.
pub trait Door: Source {
    /// A connection.
    type Stream: Read + Write + Source + AsFd;
    /// Takes the next connection.
    fn accept(&self) -> io::Result<Self::Stream>;
}

impl Door for TcpListener {
    type Stream = TcpStream;
    fn accept(&self) -> io::Result<TcpStream> {
        Self::accept(self).map(|(stream, _)| stream)
    }
}

impl Door for UnixListener {
    type Stream = UnixStream;
    fn accept(&self) -> io::Result<UnixStream> {
        Self::accept(self).map(|(stream, _)| stream)
    }
}

/// Who asked; an answer to a visitor who left goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VisitorId {
    seat: usize,
    serial: u64,
}

/// One question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Whom to answer.
    pub visitor: VisitorId,
    /// What was asked; cut off, and so not whole, at the limit.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
enum Talk {
    Asking(Vec<u8>),
    Waiting,
    Telling { answer: Vec<u8>, told: usize },
}

#[derive(Debug)]
struct Visitor<S> {
    stream: S,
    serial: u64,
    since: Time,
    talk: Talk,
}

/// A listener and its visitors.
#[derive(Debug)]
pub struct Desk<D: Door> {
    door: D,
    registry: Registry,
    first_token: usize,
    is_whole: fn(&[u8]) -> bool,
    seats: [Option<Visitor<D::Stream>>; VISITORS_MAX],
    serial: u64,
}

impl<D: Door> Desk<D> {
    /// Opens a desk that uses [`DESK_TOKENS`] tokens from `first_token` on. `is_whole` says whether a question
    /// is complete.
    pub fn open(
        mut door: D,
        registry: &Registry,
        first_token: usize,
        is_whole: fn(&[u8]) -> bool,
    ) -> io::Result<Self> {
        let registry = registry.try_clone()?;
        registry.register(&mut door, Token(first_token), Interest::READABLE)?;
        Ok(Self { door, registry, first_token, is_whole, seats: Default::default(), serial: 0 })
    }

    /// Whether an event is for this desk.
    pub fn owns(&self, token: Token) -> bool {
        (self.first_token..self.first_token + DESK_TOKENS).contains(&token.0)
    }

    /// Goes on after an event for one of its tokens. A question that is now whole is returned, to be answered.
    pub fn ready(&mut self, token: Token, now: Time) -> Option<Question> {
        if token.0 == self.first_token {
            self.let_in(now);
            return None;
        }
        let seat = token.0 - self.first_token - 1;
        let visitor = self.seats[seat].as_mut()?;
        match visitor.advance(self.is_whole) {
            Ok(Step::Wait) => None,
            Ok(Step::Asked(bytes)) => {
                Some(Question { visitor: VisitorId { seat, serial: visitor.serial }, bytes })
            }
            Ok(Step::Done) | Err(_) => {
                self.send_away(seat);
                None
            }
        }
    }

    /// Answers a visitor; the visit ends when all of it is written.
    pub fn answer(&mut self, to: VisitorId, answer: Vec<u8>) {
        let Some(visitor) = self.seats[to.seat].as_mut().filter(|visitor| visitor.serial == to.serial) else {
            return;
        };
        visitor.talk = Talk::Telling { answer, told: 0 };
        if !matches!(visitor.advance(self.is_whole), Ok(Step::Wait)) {
            self.send_away(to.seat);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        self.seats.iter().flatten().map(|visitor| visitor.since + VISIT_MAX).min()
    }

    /// Ends visits that took too long.
    pub fn expire(&mut self, now: Time) {
        for seat in 0..VISITORS_MAX {
            if self.seats[seat].as_ref().is_some_and(|visitor| visitor.since + VISIT_MAX <= now) {
                self.send_away(seat);
            }
        }
    }

    fn let_in(&mut self, now: Time) {
        // An error ends this round: the next connection is an event of its own. Who comes faster than seats are
        // freed sends others away, and cannot keep the loop here for ever.
        for _ in 0..ACCEPTS_MAX {
            let mut stream = match self.door.accept() {
                Ok(stream) => stream,
                Err(error) if is_exhausted(&error) && self.send_longest_away() => continue,
                Err(_) => return,
            };
            while is_scarce(&stream) && self.send_longest_away() {}
            let seat = self.free_seat();
            let token = Token(self.first_token + 1 + seat);
            if self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_err() {
                continue;
            }
            self.serial += 1;
            let talk = Talk::Asking(Vec::new());
            self.seats[seat] = Some(Visitor { stream, serial: self.serial, since: now, talk });
        }
        // There may be more, and no new event would say so.
        let _ = self.registry.reregister(&mut self.door, Token(self.first_token), Interest::READABLE);
    }

    fn free_seat(&mut self) -> usize {
        if let Some(seat) = self.seats.iter().position(Option::is_none) {
            return seat;
        }
        let seat = self.longest().expect("every seat is taken");
        self.send_away(seat);
        seat
    }

    /// The seat of who has been here longest.
    fn longest(&self) -> Option<usize> {
        let seated = self.seats.iter().enumerate();
        seated
            .filter_map(|(seat, visitor)| Some((visitor.as_ref()?.serial, seat)))
            .min()
            .map(|(_, seat)| seat)
    }

    /// `false` if nobody is here.
    fn send_longest_away(&mut self) -> bool {
        let longest = self.longest();
        longest.into_iter().for_each(|seat| self.send_away(seat));
        longest.is_some()
    }

    fn send_away(&mut self, seat: usize) {
        if let Some(mut visitor) = self.seats[seat].take() {
            // Closing deregisters as well; an error here changes nothing.
            let _ = self.registry.deregister(&mut visitor.stream);
        }
    }
}

enum Step {
    Wait,
    Asked(Vec<u8>),
    Done,
}

impl<S: Read + Write> Visitor<S> {
    fn advance(&mut self, is_whole: fn(&[u8]) -> bool) -> io::Result<Step> {
        loop {
            let done = match &mut self.talk {
                Talk::Asking(question) => {
                    let mut piece = [0; 1024];
                    let room = (QUESTION_BYTES_MAX - question.len()).min(piece.len());
                    match self.stream.read(&mut piece[..room]) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(count) => {
                            question.extend_from_slice(&piece[..count]);
                            if is_whole(question) || question.len() == QUESTION_BYTES_MAX {
                                let question = std::mem::take(question);
                                self.talk = Talk::Waiting;
                                return Ok(Step::Asked(question));
                            }
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
                Talk::Waiting => return Ok(Step::Wait),
                Talk::Telling { answer, told } if *told == answer.len() => return Ok(Step::Done),
                Talk::Telling { answer, told } => {
                    self.stream.write(&answer[*told..]).map(|count| *told += count)
                }
            };
            match done {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::net::TcpStream as Client;
    use std::thread;
    use std::time::Duration;

    fn line(bytes: &[u8]) -> bool {
        bytes.ends_with(b"\n")
    }

    /// Serves a desk that answers in capital letters until `visits` were answered.
    fn serve(visits: usize) -> (std::net::SocketAddr, thread::JoinHandle<()>) {
        let door = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = door.local_addr().unwrap();
        (address, serve_at(door, visits))
    }

    fn serve_at(door: TcpListener, visits: usize) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            let mut poll = Poll::new().unwrap();
            let mut desk = Desk::open(door, poll.registry(), 5, line).unwrap();
            let (mut events, mut answered) = (Events::with_capacity(8), 0);
            while answered < visits {
                poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
                for event in &events {
                    assert!(desk.owns(event.token()));
                    if let Some(question) = desk.ready(event.token(), Time(0)) {
                        desk.answer(question.visitor, question.bytes.to_ascii_uppercase());
                        answered += 1;
                    }
                }
            }
        })
    }

    #[test]
    fn silent_visitors_do_not_keep_others_from_being_served() {
        let (address, desk) = serve(3);
        let silent: Vec<_> = (0..3 * VISITORS_MAX).map(|_| Client::connect(address).unwrap()).collect();
        for _ in 0..3 {
            let mut client = Client::connect(address).unwrap();
            client.write_all(b"hel").unwrap();
            client.write_all(b"lo\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "HELLO\n");
        }
        drop(silent);
        desk.join().unwrap();
    }

    #[test]
    fn who_asks_at_once_is_answered_however_many_come_together() {
        let door = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = door.local_addr().unwrap();
        // All of them are there, with their questions, before anybody is let in.
        let mut clients: Vec<_> = (0..6 * VISITORS_MAX).map(|_| Client::connect(address).unwrap()).collect();
        clients.iter_mut().for_each(|client| client.write_all(b"hello\n").unwrap());
        let desk = serve_at(door, clients.len());
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "HELLO\n");
        }
        desk.join().unwrap();
    }

    #[test]
    fn a_question_without_end_is_cut_at_the_limit() {
        let (address, desk) = serve(1);
        let mut client = Client::connect(address).unwrap();
        client.write_all(&[b'a'; QUESTION_BYTES_MAX]).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [b'A'; QUESTION_BYTES_MAX]);
        desk.join().unwrap();
    }

    #[test]
    fn a_visit_that_takes_too_long_is_over() {
        let mut poll = Poll::new().unwrap();
        let door = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut client = Client::connect(door.local_addr().unwrap()).unwrap();
        let mut desk = Desk::open(door, poll.registry(), 0, line).unwrap();
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert!(desk.ready(Token(0), Time(7)).is_none());
        assert_eq!(desk.next_timeout(), Some(Time(7) + VISIT_MAX));
        desk.expire(Time(6) + VISIT_MAX);
        assert!(desk.next_timeout().is_some());
        desk.expire(Time(7) + VISIT_MAX);
        assert!(desk.next_timeout().is_none());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}
