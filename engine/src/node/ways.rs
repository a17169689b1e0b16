//! The ways to a peer: where it listens, and when each address is dialled. Pure.
//!
//! ```text
//!   way 1   waits ─ at ──────────────► dialled ──┬─ connected first ──► the only one; the others are given up
//!   way 2   waits ─ at + HEAD_START ─► dialled ──┴─ failed ───────────► waits, longer each time
//! ```
//!
//! A way that delivers nothing is thus passed by within some milliseconds, and the first one is preferred where all are well.
//! Not here: sockets (`greet`), and what else is known of a peer (`peer`).

use crate::connection::{ConnectionError, PeerAddress};
use mio::Token;
use std::io;
use understudy_link::Backoff;
use understudy_session::{Span, Time};

/// By how much a way goes before the next one: longer than a round trip between hosts that protect each other's guests,
/// and shorter than their graces.
const HEAD_START: Span = Span::from_ms(20);

/// What became of the newest attempt.
#[derive(Debug)]
struct Failure {
    why: String,
    /// The kernel at the other end said that nobody listens there.
    is_refusal: bool,
}

#[derive(Debug)]
struct Way {
    address: PeerAddress,
    dialed: Option<Token>,
    /// When to dial, unless it is dialled.
    at: Time,
    backoff: Backoff,
    /// Since the last link.
    failure: Option<Failure>,
}

/// All ways to one peer; none for a peer that only connects to us.
#[derive(Debug)]
pub(super) struct Ways {
    ways: Vec<Way>,
    /// The connection that was there first, which has its hello under way.
    reached: Option<Token>,
}

impl Ways {
    pub(super) fn new(addresses: Vec<PeerAddress>) -> Self {
        let way =
            |address| Way { address, dialed: None, at: Time(0), backoff: Backoff::default(), failure: None };
        let mut ways = Self { ways: addresses.into_iter().map(way).collect(), reached: None };
        ways.begin(|_| Time(0));
        ways
    }

    /// Has all ways dialled from the given times on, one after the other.
    fn begin(&mut self, mut at: impl FnMut(&mut Way) -> Time) {
        for (number, way) in self.ways.iter_mut().enumerate() {
            way.at = at(way) + Span(number as u64 * HEAD_START.0);
        }
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = PeerAddress> {
        self.ways.iter().map(|way| way.address)
    }

    /// When the next way is to be dialled; never while a connection says hello.
    pub(super) fn dial_at(&self) -> Option<Time> {
        let waiting = self.ways.iter().filter(|way| way.dialed.is_none());
        waiting.map(|way| way.at).min().filter(|_| self.reached.is_none())
    }

    /// A way to dial now, by its number.
    pub(super) fn due(&self, now: Time) -> Option<(usize, PeerAddress)> {
        let is_due = |(_, way): &(usize, &Way)| way.dialed.is_none() && way.at <= now;
        let due = self.ways.iter().enumerate().find(is_due).filter(|_| self.reached.is_none());
        due.map(|(number, way)| (number, way.address))
    }

    pub(super) fn dialed(&mut self, number: usize, token: Token) {
        self.ways[number].dialed = Some(token);
    }

    /// Connections that are being made.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.ways.iter().filter_map(|way| way.dialed)
    }

    /// Connections of which the first that is there is to be the only one.
    pub(super) fn racing(&self) -> impl Iterator<Item = Token> {
        self.tokens().filter(|_| self.reached.is_none())
    }

    /// Whether a hello may be under way.
    pub(super) fn has_reached(&self) -> bool {
        self.reached.is_some()
    }

    /// A connection is there, and says hello; the others are to be given up.
    pub(super) fn reached(&mut self, token: Token) {
        self.reached = Some(token);
    }

    /// A connection was given up; its way may be dialled again at once.
    pub(super) fn given_up(&mut self, token: Token, now: Time) {
        if let Some(way) = self.take(token) {
            way.at = now;
        }
    }

    /// An attempt failed; `is_lasting` if it will, until a person does something.
    pub(super) fn failed(&mut self, token: Token, error: &ConnectionError, is_lasting: bool, now: Time) {
        if let Some(way) = self.take(token) {
            way.failed(error, is_lasting, now);
        }
    }

    /// The same before there was a connection.
    pub(super) fn not_dialed(&mut self, number: usize, error: &ConnectionError, now: Time) {
        self.ways[number].failed(error, false, now);
    }

    /// Who answered is not the peer.
    pub(super) fn misdirected(&mut self, token: Token, why: String, now: Time) {
        if let Some(way) = self.take(token) {
            way.at = now + Backoff::REFUSED;
            way.failure = Some(Failure { why, is_refusal: false });
        }
    }

    fn take(&mut self, token: Token) -> Option<&mut Way> {
        self.reached.take_if(|reached| *reached == token);
        let way = self.ways.iter_mut().find(|way| way.dialed == Some(token))?;
        way.dialed = None;
        Some(way)
    }

    /// There is a link.
    pub(super) fn opened(&mut self) {
        self.reached = None;
        for way in &mut self.ways {
            way.backoff.succeeded();
            (way.dialed, way.failure) = (None, None);
        }
    }

    /// The link has ended.
    pub(super) fn lost(&mut self, now: Time) {
        self.begin(|way| way.backoff.failed(now));
    }

    /// Why there is no link: what every way says, as far as it was tried.
    pub(super) fn trouble(&self) -> Option<String> {
        let told = self.ways.iter().filter_map(|way| Some((way.address.remote, &*way.failure.as_ref()?.why)));
        let told: Vec<_> = told.collect();
        match &*told {
            [] => None,
            [(_, why)] if self.ways.len() == 1 => Some((*why).to_owned()),
            all => {
                let each: Vec<_> = all.iter().map(|(remote, why)| format!("{remote}: {why}")).collect();
                Some(each.join("; "))
            }
        }
    }

    /// Whether, since the last link, the peer's kernel has said on every way that nobody listens there.
    pub(super) fn all_refused(&self) -> bool {
        let is_refused = |way: &Way| way.failure.as_ref().is_some_and(|failure| failure.is_refusal);
        !self.ways.is_empty() && self.ways.iter().all(is_refused)
    }
}

impl Way {
    fn failed(&mut self, error: &ConnectionError, is_lasting: bool, now: Time) {
        self.at = if is_lasting { now + Backoff::REFUSED } else { self.backoff.failed(now) };
        let is_refusal =
            matches!(error, ConnectionError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused);
        self.failure = Some(Failure { why: error.to_string(), is_refusal });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    const MS: u64 = 1_000_000;

    fn ways(count: u16) -> Ways {
        let address = |number| SocketAddr::from(([127, 0, 0, 1], 1 + number)).into();
        Ways::new((0..count).map(address).collect())
    }

    /// Dials what is due, each way under its number.
    fn dial(ways: &mut Ways, now: Time) -> Vec<usize> {
        std::iter::from_fn(|| {
            let (number, _) = ways.due(now)?;
            ways.dialed(number, Token(number));
            Some(number)
        })
        .collect()
    }

    fn refused() -> ConnectionError {
        io::Error::from(io::ErrorKind::ConnectionRefused).into()
    }

    #[test]
    fn the_first_way_goes_before_and_a_silent_one_is_passed_by() {
        let mut ways = ways(2);
        assert_eq!(dial(&mut ways, Time(0)), [0]);
        assert_eq!(ways.dial_at(), Some(Time(0) + HEAD_START));
        assert_eq!(dial(&mut ways, Time(0) + HEAD_START), [1]);
        assert_eq!(ways.dial_at(), None);
        // The first says nothing at all.
        ways.reached(Token(1));
        assert_eq!(ways.racing().count(), 0);
        ways.given_up(Token(0), Time(30 * MS));
        assert_eq!((ways.dial_at(), ways.due(Time(30 * MS))), (None, None), "a hello is under way");
        ways.failed(Token(1), &refused(), true, Time(40 * MS));
        assert_eq!(
            dial(&mut ways, Time(40 * MS)),
            [0],
            "who answered there is no peer: the other way is tried"
        );
    }

    #[test]
    fn a_way_that_fails_waits_for_itself_alone() {
        let mut ways = ways(2);
        assert_eq!(dial(&mut ways, Time(0) + HEAD_START), [0, 1]);
        ways.failed(Token(1), &refused(), false, Time(20 * MS));
        assert_eq!(ways.dial_at(), Some(Time(30 * MS)), "the first is still silent");
        assert!(ways.trouble().unwrap().starts_with("127.0.0.1:2: "), "{:?}", ways.trouble());
    }

    #[test]
    fn every_way_has_to_refuse_after_the_last_link() {
        let mut ways = ways(2);
        ways.opened();
        ways.lost(Time(0));
        assert_eq!(dial(&mut ways, Time(30 * MS)), [0, 1]);
        ways.failed(Token(0), &refused(), false, Time(30 * MS));
        assert!(!ways.all_refused());
        ways.failed(Token(1), &io::Error::from(io::ErrorKind::TimedOut).into(), false, Time(30 * MS));
        assert!(!ways.all_refused(), "silence is no answer");
        dial(&mut ways, Time(60 * MS));
        ways.failed(Token(1), &refused(), false, Time(60 * MS));
        assert!(ways.all_refused());
        ways.opened();
        ways.lost(Time(70 * MS));
        assert!(!ways.all_refused(), "what was said before the link counts no more");
    }
}
