//! The client of etcd as the witness. Threads send the requests, because they have to wait for answers, and the loop
//! never waits.
//!
//! ```text
//!   loop: ask ──► questions, bounded ──► etcd-0 … etcd-3: one question each at a time ──► the cluster
//!         read ◄─ answers, bounded ◄──────────┘ wakes the loop
//! ```
//!
//! There is no connection whose end would be seen: etcd counts as up while it answers, and is asked for a sign of life
//! every half second. A request without an answer is dropped, and the session repeats it.
//!
//! Not here: the messages to etcd, and which answers to trust ([`crate::etcd`]).

use super::{WitnessClient, WitnessEvent};
use crate::etcd::{EtcdError, Records};
use crate::guest::{LoopWaker, panic_words};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use mio::Token;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use understudy_session::lease::{LeaseReply, LeaseRequest};
use understudy_session::{NodeName, Span, Time, WitnessReply, WitnessRequest};

/// How many requests are under way at once. A takeover of many guests needs as many requests.
const THREADS: usize = 4;

/// The most requests that wait. Further ones are dropped; sessions repeat them.
const QUESTIONS_MAX: usize = 1_024;

/// How often to ask for a sign of life.
const PING_EVERY: Span = Span::from_ms(500);

/// etcd counts as unreachable when it has answered nothing for this long.
const SILENCE_MAX: Span = Span::from_ms(2_000);

/// A request that has waited this long for a thread has been repeated, or is not wanted any more.
const WAITING_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Question {
    asked: Instant,
    what: Ask,
}

#[derive(Clone, Debug)]
enum Ask {
    Ping,
    About { guest: String, request: WitnessRequest },
    Lease { host: NodeName, request: LeaseRequest },
}

#[derive(Debug)]
enum Answer {
    /// etcd is there.
    Pong,
    Reply {
        guest: String,
        request: WitnessRequest,
        reply: WitnessReply,
    },
    LeaseReply {
        host: NodeName,
        request: LeaseRequest,
        reply: LeaseReply,
    },
    Failed {
        what: Ask,
        why: Failure,
    },
}

#[derive(Debug)]
enum Failure {
    /// No thread was free in time.
    Late,
    /// The request panicked.
    Panicked,
    Etcd(EtcdError),
}

/// Whether etcd answers.
#[derive(Debug)]
enum State {
    Down,
    Up {
        heard_at: Time,
    },
    /// Whether it went back in time: none of its answers counts any more.
    Distrusted,
}

/// The client.
#[derive(Debug)]
pub(in crate::node) struct EtcdWitness {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
    state: State,
    /// Unanswered requests by guest, so that a repeated request is not sent twice.
    open: BTreeMap<String, Vec<WitnessRequest>>,
    /// The same, of leases.
    open_leases: Vec<(NodeName, LeaseRequest)>,
    ping_at: Time,
    ping_open: bool,
    /// The last failure, if nothing has succeeded since.
    trouble: Option<String>,
    events: Vec<WitnessEvent>,
}

impl EtcdWitness {
    /// Starts the threads, which end with the client. The first iteration of the loop asks for the first sign of life.
    pub(in crate::node) fn new(records: Records, waker: &LoopWaker) -> io::Result<Self> {
        let (records, (questions, to_ask)) = (Arc::new(records), bounded(QUESTIONS_MAX));
        let (to_tell, answers) = bounded(QUESTIONS_MAX);
        for number in 0..THREADS {
            let (records, to_ask, to_tell, waker) =
                (records.clone(), to_ask.clone(), to_tell.clone(), waker.clone());
            std::thread::Builder::new()
                .name(format!("etcd-{number}"))
                .spawn(move || serve(&records, &to_ask, &to_tell, &waker))?;
        }
        let (state, open, events) = (State::Down, BTreeMap::new(), Vec::new());
        let (ping_at, ping_open, trouble) = (Time(0), false, Some("it has not answered yet".into()));
        let open_leases = Vec::new();
        Ok(Self { questions, answers, state, open, open_leases, ping_at, ping_open, trouble, events })
    }

    /// Hands a request to a thread; `false` if too many wait.
    fn put(&self, what: Ask) -> bool {
        match self.questions.try_send(Question { asked: Instant::now(), what }) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!(
                    "The threads that ask etcd are gone; nothing changes hands on this node any more"
                );
                false
            }
        }
    }

    fn heard(&mut self, now: Time) {
        match &mut self.state {
            State::Down => {
                tracing::info!("etcd answers");
                self.state = State::Up { heard_at: now };
                self.events.push(WitnessEvent::Up);
            }
            State::Up { heard_at } => *heard_at = now,
            State::Distrusted => {}
        }
    }

    fn failed(&mut self, why: &EtcdError) {
        let went_back = matches!(why, EtcdError::WentBack(_));
        let why = why.to_string();
        if self.trouble.as_ref() != Some(&why) {
            tracing::warn!(why, "etcd did not do what it was asked");
        }
        self.trouble = Some(why);
        if went_back && !matches!(self.state, State::Distrusted) {
            self.falls_to(State::Distrusted);
        }
    }

    fn falls_to(&mut self, state: State) {
        if let State::Up { .. } = std::mem::replace(&mut self.state, state) {
            tracing::warn!(why = self.trouble(), "etcd is gone; nothing changes hands until it is back");
            self.events.push(WitnessEvent::Down);
        }
        self.open.clear();
        self.open_leases.clear();
    }

    fn close(&mut self, guest: &str, request: &WitnessRequest) {
        if let Some(open) = self.open.get_mut(guest) {
            open.retain(|it| it != request);
            if open.is_empty() {
                self.open.remove(guest);
            }
        }
    }

    fn take(&mut self, answer: Answer, now: Time) {
        match answer {
            Answer::Pong => {
                self.ping_open = false;
                self.heard(now);
                // A failed change counts as trouble until a change succeeds.
                if self.open.is_empty() && self.is_up() {
                    self.trouble = None;
                }
            }
            Answer::Reply { guest, request, reply } => {
                self.heard(now);
                self.close(&guest, &request);
                if self.is_up() {
                    self.trouble = None;
                    self.events.push(WitnessEvent::Reply { guest, reply });
                }
            }
            Answer::LeaseReply { host, request, reply } => {
                self.heard(now);
                self.open_leases.retain(|open| *open != (host.clone(), request));
                if self.is_up() {
                    self.events.push(WitnessEvent::LeaseReply { host, reply });
                }
            }
            Answer::Failed { what, why } => {
                match what {
                    Ask::Lease { host, request } => {
                        self.open_leases.retain(|open| *open != (host.clone(), request));
                    }
                    Ask::Ping => self.ping_open = false,
                    Ask::About { guest, request } => self.close(&guest, &request),
                }
                if let Failure::Etcd(why) = why {
                    self.failed(&why);
                }
            }
        }
    }
}

/// One thread: sends requests until the client ends.
fn serve(records: &Records, questions: &Receiver<Question>, answers: &Sender<Answer>, waker: &LoopWaker) {
    for Question { asked, what } in questions {
        let answer = if asked.elapsed() > WAITING_MAX {
            Answer::Failed { what, why: Failure::Late }
        } else {
            answered(what, |what| ask(records, what))
        };
        if answers.send(answer).is_err() {
            return;
        }
        waker.wake();
    }
}

/// A panic is a failure of one request. Without an answer it would count as under way for ever.
fn answered(what: Ask, ask: impl FnOnce(Ask) -> Answer) -> Answer {
    let failed = what.clone();
    catch_unwind(AssertUnwindSafe(|| ask(what))).unwrap_or_else(|panic| {
        tracing::error!(message = panic_words(&*panic), "A request to etcd panicked; it is repeated");
        Answer::Failed { what: failed, why: Failure::Panicked }
    })
}

fn ask(records: &Records, what: Ask) -> Answer {
    match what {
        Ask::Ping => match records.ping() {
            Ok(()) => Answer::Pong,
            Err(why) => Answer::Failed { what: Ask::Ping, why: Failure::Etcd(why) },
        },
        Ask::Lease { host, request } => match records.lease_answer(&host, &request) {
            Ok(reply) => Answer::LeaseReply { host, request, reply },
            Err(why) => Answer::Failed { what: Ask::Lease { host, request }, why: Failure::Etcd(why) },
        },
        Ask::About { guest, request } => match records.answer(&guest, &request) {
            Ok(reply) => Answer::Reply { guest, request, reply },
            Err(why) => Answer::Failed { what: Ask::About { guest, request }, why: Failure::Etcd(why) },
        },
    }
}

impl WitnessClient for EtcdWitness {
    fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    fn ask(&mut self, guest: &str, request: WitnessRequest, _: Time) {
        let is_open = self.open.get(guest).is_some_and(|open| open.contains(&request));
        if self.is_up()
            && !is_open
            && self.put(Ask::About { guest: guest.to_owned(), request: request.clone() })
        {
            self.open.entry(guest.to_owned()).or_default().push(request);
        }
    }

    fn keeps_leases(&self) -> bool {
        self.is_up()
    }

    fn ask_lease(&mut self, host: &NodeName, request: LeaseRequest, _: Time) {
        let asked = (host.clone(), request);
        if self.is_up()
            && !self.open_leases.contains(&asked)
            && self.put(Ask::Lease { host: host.clone(), request })
        {
            self.open_leases.push(asked);
        }
    }

    fn ready(&mut self, _: Token) {}

    fn read(&mut self, now: Time) {
        while let Ok(answer) = self.answers.try_recv() {
            self.take(answer, now);
        }
    }

    fn run_timers(&mut self, now: Time) {
        if let State::Up { heard_at } = self.state
            && now >= heard_at + SILENCE_MAX
        {
            self.trouble.get_or_insert_with(|| "no member of etcd answers".into());
            self.falls_to(State::Down);
        }
        if !self.ping_open && self.ping_at <= now && !matches!(self.state, State::Distrusted) {
            self.ping_at = now + PING_EVERY;
            self.ping_open = self.put(Ask::Ping);
        }
    }

    fn next_timeout(&self) -> Option<Time> {
        let ping = (!self.ping_open).then_some(self.ping_at);
        match self.state {
            State::Up { heard_at } => {
                let silent = heard_at + SILENCE_MAX;
                Some(ping.map_or(silent, |ping| ping.min(silent)))
            }
            State::Down => ping,
            State::Distrusted => None,
        }
    }

    fn take_events(&mut self) -> Vec<WitnessEvent> {
        std::mem::take(&mut self.events)
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_panics_is_answered() {
        let answer = answered(Ask::Ping, |_| panic!("as the test says"));
        assert!(matches!(answer, Answer::Failed { what: Ask::Ping, why: Failure::Panicked }), "{answer:?}");
    }
}
