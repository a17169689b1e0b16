//! A client of a guest: what it asks, and the record of what it saw. No thread, no socket: frames go in and out.
//!
//! ```text
//!   ask ──► open: [ request, request, … ] ──answer──► Answered          about `WINDOW` open requests
//!                        └── GIVE_UP_AFTER ──► Unknown ──late answer──► Answered
//! ```
//!
//! A client never asks the same thing again: what was not answered stays unknown, unless its answer comes late.

use super::chance::Chance;
use super::history::{Action, ClientId, Key, Moment, Operation, Outcome, Surplus};
use super::network::{Address, CLIENT_PORT, client_address};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;
use understudy_lab::memcached::{self, Reply, Request};
use understudy_lab::wire::{Body, Flow, Frame, Udp};

/// Requests that a drill's client keeps open. Output commit makes every answer wait for a checkpoint, so one at
/// a time would leave the guest idle.
pub const WINDOW: usize = 32;
/// When a client stops waiting and asks for something else.
const GIVE_UP_AFTER: Duration = Duration::from_millis(100);
/// Values of registers are up to this long, so that a value torn between two epochs would show.
const VALUE_BYTES_MAX: u64 = 200;

/// What a client of a guest may touch.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// First client of the guest; it and its neighbours own a register and a counter each.
    pub first: ClientId,
    /// How many clients the guest has.
    pub clients: u16,
}

impl Keys {
    /// The counter that all clients of the guest raise.
    pub fn shared(self) -> Key {
        Key::Counter(0)
    }

    /// The counter that only this client raises.
    pub fn own_counter(self, client: ClientId) -> Key {
        Key::Counter(1 + client.0 - self.first.0)
    }

    /// The register that only this client sets.
    pub fn own_register(self, client: ClientId) -> Key {
        Key::Register(client.0 - self.first.0)
    }

    /// All keys.
    pub fn all(self) -> impl Iterator<Item = Key> {
        (0..=self.clients).map(Key::Counter).chain((0..self.clients).map(Key::Register))
    }
}

/// A client.
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    own: Address,
    guest: Address,
    keys: Keys,
    chance: Chance,
    next_request: u16,
    next_set: u64,
    operations: Vec<Operation>,
    surplus: Vec<Surplus>,
    /// Open operations, oldest first.
    open: VecDeque<usize>,
    /// The newest operation of each request number, for as long as its answer may come.
    by_request: HashMap<u16, usize>,
    /// The open request that sets this client's register. There is one at a time, for datagrams may overtake each other,
    /// and whichever is taken in last counts.
    open_set: Option<usize>,
    /// What answered each request number last, by its hash, in whatever round.
    answered: HashMap<u16, u64>,
    /// Requests of earlier rounds whose answer was not waited for: it may still come, once.
    owed: HashSet<u16>,
    scratch: Vec<u8>,
}

impl Client {
    /// A client of the guest at `guest`.
    pub fn new(id: ClientId, guest: Address, keys: Keys, seed: u64) -> Self {
        Self {
            id,
            own: client_address(id),
            guest,
            keys,
            chance: Chance::new(seed ^ u64::from(id.0)),
            next_request: 0,
            next_set: 0,
            operations: Vec::new(),
            surplus: Vec::new(),
            open: VecDeque::with_capacity(WINDOW),
            by_request: HashMap::new(),
            open_set: None,
            answered: HashMap::new(),
            owed: HashSet::new(),
            scratch: Vec::new(),
        }
    }

    /// Its number.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Keys of its guest.
    pub fn keys(&self) -> Keys {
        self.keys
    }

    /// Requests it waits for.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Asks for something chosen by chance; the request's frame is put into `frame`.
    pub fn ask_anything(&mut self, now: Moment, frame: &mut Vec<u8>) {
        let other = ClientId(self.keys.first.0 + self.chance.below(self.keys.clients.into()) as u16);
        let (key, action) = match self.chance.below(8) {
            0 | 1 => (self.keys.shared(), Action::Incr),
            4 | 5 if self.open_set.is_none() => {
                self.next_set += 1;
                (self.keys.own_register(self.id), Action::Set(self.next_set))
            }
            2..=5 => (self.keys.own_counter(self.id), Action::Incr),
            6 => (self.keys.own_register(other), Action::Get),
            _ => (self.keys.shared(), Action::Get),
        };
        self.ask(key, action, now, frame);
    }

    /// Asks for just this.
    pub fn ask(&mut self, key: Key, action: Action, now: Moment, frame: &mut Vec<u8>) {
        let request = self.next_request;
        self.next_request = request.wrapping_add(1);
        self.write_request(request, key, action, frame);
        let index = self.operations.len();
        let outcome = Outcome::Unknown;
        self.operations.push(Operation { client: self.id, request, key, action, invoked: now, outcome });
        self.open.push_back(index);
        if matches!(action, Action::Set(_)) {
            self.open_set = Some(index);
        }
        self.by_request.insert(request, index);
        self.answered.remove(&request);
        self.owed.remove(&request);
    }

    fn write_request(&mut self, request: u16, key: Key, action: Action, frame: &mut Vec<u8>) {
        let value = match (key, action) {
            (Key::Register(_), Action::Set(number)) => value_of(number),
            (Key::Counter(_), Action::Set(number)) => number.to_string().into_bytes(),
            (_, Action::Incr | Action::Get) => Vec::new(),
        };
        let name = key.to_string();
        let key = name.as_bytes();
        memcached::write_header(request, &mut self.scratch);
        let request = match action {
            Action::Incr => Request::Incr { key, by: 1, noreply: false },
            Action::Set(_) => Request::Set { key, flags: 0, value: &value, noreply: false },
            Action::Get => Request::Get { key },
        };
        request.write(&mut self.scratch);
        let flow = Flow { src: self.own.ip, dst: self.guest.ip };
        let udp = Udp { src_port: CLIENT_PORT, dst_port: memcached::PORT, payload: &self.scratch };
        Frame { dst: self.guest.mac, src: self.own.mac, body: Body::Udp(flow, udp) }.write(frame);
    }

    /// Takes a frame in. What is no answer to this client is ignored.
    pub fn hear(&mut self, frame: &[u8], now: Moment) {
        let Some(Frame { dst, body: Body::Udp(flow, udp), .. }) = Frame::parse(frame) else { return };
        let is_mine = dst == self.own.mac && flow.dst == self.own.ip && udp.dst_port == CLIENT_PORT;
        if !is_mine || flow.src != self.guest.ip || udp.src_port != memcached::PORT {
            return;
        }
        let Some(Ok((request, text))) = memcached::split(udp.payload) else { return };
        let answer = hash_of(udp.payload);
        let before = self.answered.insert(request, answer);
        let Some(index) = self.by_request.remove(&request) else {
            if self.owed.remove(&request) {
                return;
            }
            let is_repeated = before == Some(answer);
            self.surplus.push(Surplus { client: self.id, request, at: now, is_repeated });
            return;
        };
        let operation = &mut self.operations[index];
        operation.outcome = match Reply::parse(text).and_then(|reply| understand(operation, reply)) {
            Some(value) => Outcome::Answered { at: now, value },
            None => Outcome::Nonsense { at: now },
        };
        self.open.retain(|open| *open != index);
        self.open_set = self.open_set.filter(|open| *open != index);
    }

    /// Stops waiting for what was asked too long ago.
    pub fn give_up(&mut self, now: Moment) {
        while let Some(oldest) = self.open.front()
            && now.since(self.operations[*oldest].invoked) >= GIVE_UP_AFTER
        {
            self.open_set = self.open_set.filter(|open| open != oldest);
            self.open.pop_front();
        }
    }

    /// Requests made in this round so far.
    pub fn made(&self) -> usize {
        self.operations.len()
    }

    /// Whether a request was answered of those made after the first `made`.
    pub fn has_answer_since(&self, made: usize) -> bool {
        self.operations[made..].iter().any(|operation| operation.outcome != Outcome::Unknown)
    }

    /// The newest operation: after an [`ask`](Self::ask), what became of it.
    #[cfg(test)]
    fn newest(&self) -> Option<&Operation> {
        self.operations.last()
    }

    /// Hands the record of the round over and begins a new one. A further answer to an earlier request is surplus from here
    /// on; the first one is none, however late it comes.
    pub fn end_round(&mut self) -> (Vec<Operation>, Vec<Surplus>) {
        self.open.clear();
        self.open_set = None;
        self.owed.extend(self.by_request.drain().map(|(request, _)| request));
        (std::mem::take(&mut self.operations), std::mem::take(&mut self.surplus))
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The value that an answer to `operation` says; `None` if it is no sane answer to it.
fn understand(operation: &Operation, reply: Reply<'_>) -> Option<u64> {
    match (operation.action, reply) {
        (Action::Incr, Reply::Number(value)) => Some(value),
        (Action::Set(value), Reply::Stored) => Some(value),
        (Action::Get, Reply::Value { key, value, .. }) if key == operation.key.to_string().as_bytes() => {
            match operation.key {
                Key::Counter(_) => memcached::number(value),
                Key::Register(_) => number_of(value),
            }
        }
        _ => None,
    }
}

/// What a register holds when it is set to `number`: the number, and a tail whose length depends on it.
/// What a register holds that was set to this number.
pub(super) fn value_of(number: u64) -> Vec<u8> {
    let digits = number.to_string();
    let tail_bytes = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % VALUE_BYTES_MAX;
    let tail = (0..tail_bytes).map(|at| b'a' + ((number + at) % 26) as u8);
    digits.bytes().chain([b' ']).chain(tail).collect()
}

fn number_of(value: &[u8]) -> Option<u64> {
    let end = value.iter().position(|byte| *byte == b' ')?;
    memcached::number(&value[..end]).filter(|number| value_of(*number) == value)
}

#[cfg(test)]
mod tests {
    use super::super::network::guest_address;
    use super::*;

    const KEYS: Keys = Keys { first: ClientId(4), clients: 2 };

    fn client() -> Client {
        Client::new(ClientId(5), guest_address(0), KEYS, 1)
    }

    /// The guest's answer to the request in `frame`.
    fn answer(frame: &[u8], reply: Reply<'_>) -> Vec<u8> {
        let Some(Frame { dst, src, body: Body::Udp(flow, udp) }) = Frame::parse(frame) else {
            panic!("a request is a datagram")
        };
        let mut payload = Vec::new();
        memcached::write_header(memcached::split(udp.payload).unwrap().unwrap().0, &mut payload);
        reply.write(&mut payload);
        let udp = Udp { src_port: udp.dst_port, dst_port: udp.src_port, payload: &payload };
        let mut out = Vec::new();
        Frame { dst: src, src: dst, body: Body::Udp(flow.reversed(), udp) }.write(&mut out);
        out
    }

    #[test]
    fn an_answer_after_giving_up_still_counts() {
        let (mut client, mut frame) = (client(), Vec::new());
        client.ask(KEYS.shared(), Action::Incr, Moment(0), &mut frame);
        client.give_up(Moment(0) + GIVE_UP_AFTER);
        assert_eq!(client.open(), 0);
        assert_eq!(client.newest().unwrap().outcome, Outcome::Unknown);
        client.hear(&answer(&frame, Reply::Number(1)), Moment(7));
        assert_eq!(client.newest().unwrap().answer(), Some((Moment(7), 1)));
    }

    #[test]
    fn an_answer_to_an_earlier_attempt_is_an_answer() {
        let (mut client, mut frame) = (client(), Vec::new());
        client.ask(KEYS.shared(), Action::Set(0), Moment(0), &mut frame);
        let first = client.made();
        client.ask(KEYS.shared(), Action::Set(0), Moment(0), &mut frame);
        let attempt = frame.clone();
        client.give_up(Moment(0) + GIVE_UP_AFTER);
        client.ask(KEYS.shared(), Action::Set(0), Moment(0) + GIVE_UP_AFTER, &mut frame);
        assert!(!client.has_answer_since(first));
        client.hear(&answer(&attempt, Reply::Stored), Moment(7) + GIVE_UP_AFTER);
        assert!(client.has_answer_since(first) && !client.has_answer_since(first + 1));
    }

    #[test]
    fn the_first_answer_to_an_earlier_rounds_request_may_come_and_no_second_one() {
        let (mut client, mut frame) = (client(), Vec::new());
        client.ask(KEYS.shared(), Action::Incr, Moment(0), &mut frame);
        let late = answer(&frame, Reply::Number(1));
        client.ask(KEYS.shared(), Action::Incr, Moment(0), &mut frame);
        let in_time = answer(&frame, Reply::Number(2));
        client.hear(&in_time, Moment(1));
        assert_eq!(client.end_round().1, []);
        client.hear(&late, Moment(7));
        client.ask(KEYS.shared(), Action::Incr, Moment(8), &mut frame);
        assert_eq!(client.end_round().1, []);
        client.hear(&late, Moment(9));
        client.hear(&in_time, Moment(9));
        let twice = client.end_round().1;
        let twice: Vec<(u16, bool)> = twice.iter().map(|it| (it.request, it.is_repeated)).collect();
        assert_eq!(twice, [(0, true), (1, true)]);
    }

    #[test]
    fn a_second_answer_is_kept_as_surplus() {
        let (mut client, mut frame) = (client(), Vec::new());
        client.ask(KEYS.shared(), Action::Incr, Moment(0), &mut frame);
        client.hear(&answer(&frame, Reply::Number(1)), Moment(7));
        client.hear(&answer(&frame, Reply::Number(2)), Moment(8));
        assert_eq!(client.newest().unwrap().answer(), Some((Moment(7), 1)));
        let (_, surplus) = client.end_round();
        let other = Surplus { client: ClientId(5), request: 0, at: Moment(8), is_repeated: false };
        assert_eq!(surplus, [other]);
    }

    #[test]
    fn a_second_answer_is_told_from_the_same_one_again() {
        let (mut client, mut frame) = (client(), Vec::new());
        client.ask(KEYS.shared(), Action::Incr, Moment(0), &mut frame);
        client.hear(&answer(&frame, Reply::Number(1)), Moment(7));
        client.hear(&answer(&frame, Reply::Number(1)), Moment(8));
        client.hear(&answer(&frame, Reply::Number(2)), Moment(9));
        let (_, surplus) = client.end_round();
        assert_eq!(surplus.iter().map(|it| it.is_repeated).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_the_service_would_never_say_is_nonsense() {
        let register = KEYS.own_register(ClientId(5));
        let torn = [&value_of(41)[..2], &value_of(40)[2..]].concat();
        let key = register.to_string();
        for reply in [
            Reply::Miss,
            Reply::ServerError("x"),
            Reply::Value { key: key.as_bytes(), flags: 0, value: &torn },
            Reply::Value { key: b"register9", flags: 0, value: &value_of(41) },
        ] {
            let (mut client, mut frame) = (client(), Vec::new());
            client.ask(register, Action::Get, Moment(0), &mut frame);
            client.hear(&answer(&frame, reply), Moment(7));
            assert_eq!(client.newest().unwrap().outcome, Outcome::Nonsense { at: Moment(7) }, "{reply:?}");
        }
        let (mut client, mut frame) = (client(), Vec::new());
        client.ask(register, Action::Get, Moment(0), &mut frame);
        let reply = Reply::Value { key: key.as_bytes(), flags: 0, value: &value_of(41) };
        client.hear(&answer(&frame, reply), Moment(7));
        assert_eq!(client.newest().unwrap().answer(), Some((Moment(7), 41)));
    }

    #[test]
    fn the_switch_recognises_guests_and_the_requests_they_answer() {
        use super::super::network::{answered_request, sending_guest};
        let (mut client, mut frame) = (client(), Vec::new());
        client.ask(KEYS.shared(), Action::Incr, Moment(0), &mut frame);
        assert_eq!((sending_guest(&frame), answered_request(&frame)), (None, None));
        let reply = answer(&frame, Reply::Number(1));
        assert_eq!((sending_guest(&reply), answered_request(&reply)), (Some(0), Some((ClientId(5), 0))));
    }
}
