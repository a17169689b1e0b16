//! A server of one request for each connection, for clients of this machine: a short request, one response. The control
//! socket and the metrics page are such servers in an event loop; what is asked and answered is theirs.
//!
//! ```text
//!   accept ─► Asking{bytes so far} ── whole ──► (the loop answers) ──► Telling{bytes left} ─► closed
//!                  └── too long, too slow, or the server is full ─► closed ◄──┘
//! ```
//!
//! Bounded in every direction: clients, bytes of a request, time of an exchange; where descriptors are scarce, one client
//! at a time.

use crate::descriptors::{is_exhausted, is_scarce};
use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use understudy_session::{Span, Time};

/// Clients at a time, at most; one more sends the longest waiting away.
pub const CLIENTS_MAX: usize = 16;

/// Connections that are taken in one turn of the loop: so few that each is read from before it could be the longest waiting.
const ACCEPTS_MAX: usize = CLIENTS_MAX / 2;

/// Bytes of a request, at most: an HTTP request's head with a browser's headers fits in.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// An exchange that takes longer than this is over. Responses are small and readers are local.
const EXCHANGE_MAX: Span = Span::from_ms(10_000);

/// Tokens that a server uses, from its first on.
pub const SERVER_TOKENS: usize = 1 + CLIENTS_MAX;

/// A listener whose connections a server can serve.
pub trait Listener: Source {
    /// A connection.
    type Stream: Read + Write + Source + AsFd;
    /// Takes the next connection.
    fn accept(&self) -> io::Result<Self::Stream>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    fn accept(&self) -> io::Result<TcpStream> {
        Self::accept(self).map(|(stream, _)| stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    fn accept(&self) -> io::Result<UnixStream> {
        Self::accept(self).map(|(stream, _)| stream)
    }
}

/// Who asked; an answer to a client who left goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientId {
    seat: usize,
    serial: u64,
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub client: ClientId,
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
struct Client<S> {
    stream: S,
    serial: u64,
    since: Time,
    talk: Talk,
}

/// A listener and its clients.
#[derive(Debug)]
pub struct RequestServer<D: Listener> {
    listener: D,
    registry: Registry,
    first_token: usize,
    is_whole: fn(&[u8]) -> bool,
    seats: [Option<Client<D::Stream>>; CLIENTS_MAX],
    serial: u64,
}

impl<D: Listener> RequestServer<D> {
    /// Opens a server that uses [`SERVER_TOKENS`] tokens from `first_token` on. `is_whole` says whether a request
    /// is complete.
    pub fn open(
        mut listener: D,
        registry: &Registry,
        first_token: usize,
        is_whole: fn(&[u8]) -> bool,
    ) -> io::Result<Self> {
        let registry = registry.try_clone()?;
        registry.register(&mut listener, Token(first_token), Interest::READABLE)?;
        Ok(Self { listener, registry, first_token, is_whole, seats: Default::default(), serial: 0 })
    }

    /// Whether an event is for this server.
    pub fn owns(&self, token: Token) -> bool {
        (self.first_token..self.first_token + SERVER_TOKENS).contains(&token.0)
    }

    /// Goes on after an event for one of its tokens. A request that is now whole is returned, to be answered.
    pub fn ready(&mut self, token: Token, now: Time) -> Option<Request> {
        if token.0 == self.first_token {
            self.let_in(now);
            return None;
        }
        let seat = token.0 - self.first_token - 1;
        let client = self.seats[seat].as_mut()?;
        match client.advance(self.is_whole) {
            Ok(Step::Wait) => None,
            Ok(Step::Asked(bytes)) => {
                Some(Request { client: ClientId { seat, serial: client.serial }, bytes })
            }
            Ok(Step::Done) | Err(_) => {
                self.send_away(seat);
                None
            }
        }
    }

    /// Answers a client; the exchange ends when all of it is written.
    pub fn answer(&mut self, to: ClientId, answer: Vec<u8>) {
        let Some(client) = self.seats[to.seat].as_mut().filter(|client| client.serial == to.serial) else {
            return;
        };
        client.talk = Talk::Telling { answer, told: 0 };
        if !matches!(client.advance(self.is_whole), Ok(Step::Wait)) {
            self.send_away(to.seat);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        self.seats.iter().flatten().map(|client| client.since + EXCHANGE_MAX).min()
    }

    /// Ends exchanges that took too long.
    pub fn expire(&mut self, now: Time) {
        for seat in 0..CLIENTS_MAX {
            if self.seats[seat].as_ref().is_some_and(|client| client.since + EXCHANGE_MAX <= now) {
                self.send_away(seat);
            }
        }
    }

    fn let_in(&mut self, now: Time) {
        // An error ends this round: the next connection is an event of its own. Who comes faster than seats are
        // freed sends others away, and cannot keep the loop here for ever.
        for _ in 0..ACCEPTS_MAX {
            let mut stream = match self.listener.accept() {
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
            self.seats[seat] = Some(Client { stream, serial: self.serial, since: now, talk });
        }
        // There may be more, and no new event would say so.
        let _ = self.registry.reregister(&mut self.listener, Token(self.first_token), Interest::READABLE);
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
        seated.filter_map(|(seat, client)| Some((client.as_ref()?.serial, seat))).min().map(|(_, seat)| seat)
    }

    /// `false` if nobody is here.
    fn send_longest_away(&mut self) -> bool {
        let longest = self.longest();
        longest.into_iter().for_each(|seat| self.send_away(seat));
        longest.is_some()
    }

    fn send_away(&mut self, seat: usize) {
        if let Some(mut client) = self.seats[seat].take() {
            // Closing deregisters as well; an error here changes nothing.
            let _ = self.registry.deregister(&mut client.stream);
        }
    }
}

enum Step {
    Wait,
    Asked(Vec<u8>),
    Done,
}

impl<S: Read + Write> Client<S> {
    fn advance(&mut self, is_whole: fn(&[u8]) -> bool) -> io::Result<Step> {
        loop {
            let done = match &mut self.talk {
                Talk::Asking(request) => {
                    let mut piece = [0; 1024];
                    let room = (REQUEST_BYTES_MAX - request.len()).min(piece.len());
                    match self.stream.read(&mut piece[..room]) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(count) => {
                            request.extend_from_slice(&piece[..count]);
                            if is_whole(request) || request.len() == REQUEST_BYTES_MAX {
                                let request = std::mem::take(request);
                                self.talk = Talk::Waiting;
                                return Ok(Step::Asked(request));
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

    /// Serves a server that answers in capital letters until `exchanges` were answered.
    fn serve(exchanges: usize) -> (std::net::SocketAddr, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        (address, serve_at(listener, exchanges))
    }

    fn serve_at(listener: TcpListener, exchanges: usize) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            let mut poll = Poll::new().unwrap();
            let mut server = RequestServer::open(listener, poll.registry(), 5, line).unwrap();
            let (mut events, mut answered) = (Events::with_capacity(8), 0);
            while answered < exchanges {
                poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
                for event in &events {
                    assert!(server.owns(event.token()));
                    if let Some(request) = server.ready(event.token(), Time(0)) {
                        server.answer(request.client, request.bytes.to_ascii_uppercase());
                        answered += 1;
                    }
                }
            }
        })
    }

    #[test]
    fn silent_visitors_do_not_keep_others_from_being_served() {
        let (address, server) = serve(3);
        let silent: Vec<_> = (0..3 * CLIENTS_MAX).map(|_| Client::connect(address).unwrap()).collect();
        for _ in 0..3 {
            let mut client = Client::connect(address).unwrap();
            client.write_all(b"hel").unwrap();
            client.write_all(b"lo\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "HELLO\n");
        }
        drop(silent);
        server.join().unwrap();
    }

    #[test]
    fn who_asks_at_once_is_answered_however_many_come_together() {
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        // All of them are there, with their requests, before anybody is let in.
        let mut clients: Vec<_> = (0..6 * CLIENTS_MAX).map(|_| Client::connect(address).unwrap()).collect();
        clients.iter_mut().for_each(|client| client.write_all(b"hello\n").unwrap());
        let server = serve_at(listener, clients.len());
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "HELLO\n");
        }
        server.join().unwrap();
    }

    #[test]
    fn a_question_without_end_is_cut_at_the_limit() {
        let (address, server) = serve(1);
        let mut client = Client::connect(address).unwrap();
        client.write_all(&[b'a'; REQUEST_BYTES_MAX]).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [b'A'; REQUEST_BYTES_MAX]);
        server.join().unwrap();
    }

    #[test]
    fn a_visit_that_takes_too_long_is_over() {
        let mut poll = Poll::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = RequestServer::open(listener, poll.registry(), 0, line).unwrap();
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert!(server.ready(Token(0), Time(7)).is_none());
        assert_eq!(server.next_timeout(), Some(Time(7) + EXCHANGE_MAX));
        server.expire(Time(6) + EXCHANGE_MAX);
        assert!(server.next_timeout().is_some());
        server.expire(Time(7) + EXCHANGE_MAX);
        assert!(server.next_timeout().is_none());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}
