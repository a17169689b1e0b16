//! Spare connections to a peer: one on each way that its link does not use. Nothing goes over them but signs of life. Pure.
//!
//! ```text
//!   link up, connected from here ─► each other way: dialled ── agreed ──► answers ◄──► silent ── the end ──► dialled again
//!   link down ─► those that stand, stay: what arrives says that the peer's process is alive
//!   link up   ─► the one on the link's way ends, and those of another process
//! ```
//!
//! So a network that has failed is noticed before it is needed, and one silent network is not taken for a dead host. Not here:
//! sockets (`greet`, `links`), and what follows from a sign of life (the sessions).

use crate::connection::PeerAddress;
use crate::control::status::SpareStatus;
use mio::Token;
use std::collections::VecDeque;
use std::net::SocketAddr;
use understudy_link::Backoff;
use understudy_session::{Span, Time};

/// The most that a peer may connect: as many as it may have addresses of this node.
const ACCEPTED_MAX: usize = 8;

#[derive(Debug)]
struct Spare {
    address: PeerAddress,
    dialed: Option<Token>,
    /// When to dial, unless it is dialled.
    at: Time,
    backoff: Backoff,
    /// When the peer was last heard here, if it ever was.
    heard_at: Option<Time>,
    /// Why it has no connection.
    trouble: Option<String>,
    /// That it does not answer was logged.
    is_told: bool,
}

/// All spare connections to one peer.
#[derive(Debug)]
pub(super) struct Spares {
    ways: Vec<Spare>,
    /// Those that the peer has connected, the oldest first.
    accepted: VecDeque<Token>,
    /// The process of the peer that they belong to.
    instance: Option<u64>,
    /// When the peer was last heard on any of them.
    heard_at: Option<Time>,
}

impl Spares {
    pub(super) fn new(addresses: &[PeerAddress]) -> Self {
        let spare = |address: &PeerAddress| Spare {
            address: *address,
            dialed: None,
            at: Time(0),
            backoff: Backoff::default(),
            heard_at: None,
            trouble: None,
            is_told: false,
        };
        let (ways, accepted) = (addresses.iter().map(spare).collect(), VecDeque::new());
        Self { ways, accepted, instance: None, heard_at: None }
    }

    /// A link to this process of the peer is up. `false`: what stands belongs to another one.
    pub(super) fn are_of(&mut self, instance: u64) -> bool {
        let are_of = self.instance.replace(instance).is_none_or(|former| former == instance);
        if !are_of {
            self.heard_at = None;
        }
        are_of
    }

    /// Those that belong beside a link to this address.
    fn beside(&self, link: SocketAddr) -> impl Iterator<Item = (usize, &Spare)> {
        self.ways.iter().enumerate().filter(move |(_, spare)| spare.address.remote != link)
    }

    /// When the next one is to be dialled, beside a link to this address.
    pub(super) fn dial_at(&self, link: SocketAddr) -> Option<Time> {
        self.beside(link).filter(|(_, spare)| spare.dialed.is_none()).map(|(_, spare)| spare.at).min()
    }

    /// One to dial now, by its number.
    pub(super) fn due(&self, link: SocketAddr, now: Time) -> Option<(usize, PeerAddress)> {
        let due = self.beside(link).find(|(_, spare)| spare.dialed.is_none() && spare.at <= now);
        due.map(|(number, spare)| (number, spare.address))
    }

    pub(super) fn dialed(&mut self, number: usize, token: Token) {
        self.ways[number].dialed = Some(token);
    }

    /// It could not even be dialled.
    pub(super) fn not_dialed(&mut self, number: usize, why: String, now: Time) {
        self.ways[number].failed(why, now);
    }

    /// The peer has connected one. Returns one that has to go for it.
    pub(super) fn accepted(&mut self, token: Token) -> Option<Token> {
        self.accepted.push_back(token);
        if self.accepted.len() > ACCEPTED_MAX { self.accepted.pop_front() } else { None }
    }

    /// Something has arrived. Returns the address at which the peer answers again.
    pub(super) fn heard(&mut self, token: Token, now: Time) -> Option<SocketAddr> {
        self.heard_at = Some(now);
        let spare = self.ways.iter_mut().find(|spare| spare.dialed == Some(token))?;
        spare.heard_at = Some(now);
        spare.trouble = None;
        spare.backoff.succeeded();
        std::mem::take(&mut spare.is_told).then_some(spare.address.remote)
    }

    /// One has ended.
    pub(super) fn ended(&mut self, token: Token, why: &str, now: Time) {
        self.accepted.retain(|it| *it != token);
        if let Some(spare) = self.ways.iter_mut().find(|spare| spare.dialed == Some(token)) {
            spare.failed(why.to_owned(), now);
        }
    }

    /// All connections.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.ways.iter().filter_map(|spare| spare.dialed).chain(self.accepted.iter().copied())
    }

    /// Those that were dialled, and that a link to this address leaves without a purpose; all if there is none.
    pub(super) fn beyond(&self, link: Option<SocketAddr>) -> impl Iterator<Item = Token> {
        let is_beyond = move |spare: &&Spare| link.is_none_or(|link| spare.address.remote == link);
        self.ways.iter().filter(is_beyond).filter_map(|spare| spare.dialed)
    }

    /// Whether the peer was heard on any of them, `silence_max` ago at most.
    pub(super) fn is_heard(&self, silence_max: Span, now: Time) -> bool {
        self.tokens().next().is_some() && self.heard_at.is_some_and(|at| now - at <= silence_max)
    }

    /// When one that answers, beside a link to this address, will be silent for too long.
    pub(super) fn silent_at(&self, link: SocketAddr, silence_max: Span) -> Option<Time> {
        let untold = self.beside(link).filter(|(_, spare)| !spare.is_told);
        untold.filter_map(|(_, spare)| Some(spare.heard_at? + silence_max + Span(1))).min()
    }

    /// Addresses beside the link's that have fallen silent, each told once; and why.
    pub(super) fn newly_silent(
        &mut self,
        link: SocketAddr,
        silence_max: Span,
        now: Time,
    ) -> Vec<(SocketAddr, String)> {
        let mut silent = Vec::new();
        for spare in self.ways.iter_mut().filter(|spare| spare.address.remote != link && !spare.is_told) {
            // One that never answered is told once its first attempt has failed.
            if spare.trouble.is_some() || spare.heard_at.is_some_and(|at| now - at > silence_max) {
                spare.is_told = true;
                silent.push((spare.address.remote, spare.words()));
            }
        }
        silent
    }

    /// For `status`: whether each way beside the link's answers.
    pub(super) fn status(&self, link: SocketAddr, silence_max: Span, now: Time) -> Vec<SpareStatus> {
        let status = |spare: &Spare| {
            let answers = spare.dialed.is_some() && spare.heard_at.is_some_and(|at| now - at <= silence_max);
            let reason = if answers { String::new() } else { spare.words() };
            SpareStatus { address: spare.address.remote, answers, reason }
        };
        self.beside(link).map(|(_, spare)| status(spare)).collect()
    }
}

impl Spare {
    fn failed(&mut self, why: String, now: Time) {
        self.dialed = None;
        self.at = self.backoff.failed(now);
        self.trouble = Some(why);
    }

    fn words(&self) -> String {
        let silent = if self.heard_at.is_some() { "nothing comes any more" } else { "nothing has come yet" };
        self.trouble.clone().unwrap_or_else(|| silent.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const SILENCE_MAX: Span = Span::from_ms(300);

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 7))
    }

    fn spares() -> Spares {
        Spares::new(&[address(1).into(), address(2).into()])
    }

    #[test]
    fn each_way_but_the_links_has_one() {
        let mut spares = spares();
        assert_eq!(spares.due(address(1), Time(0)).map(|(number, _)| number), Some(1));
        spares.dialed(1, Token(5));
        assert_eq!((spares.due(address(1), Time(0)), spares.dial_at(address(1))), (None, None));
        // The link goes over to that way.
        assert_eq!(spares.beyond(Some(address(2))).collect::<Vec<_>>(), [Token(5)]);
        assert_eq!(spares.beyond(Some(address(1))).count(), 0);
        assert_eq!(spares.beyond(None).count(), 1, "the peer has connected the link, and has its own");
        spares.ended(Token(5), "gone", Time(MS));
        assert_eq!(spares.dial_at(address(1)), Some(Time(11 * MS)));
    }

    #[test]
    fn a_way_that_falls_silent_is_told_once_and_told_again_when_it_answers() {
        let mut spares = spares();
        spares.dialed(1, Token(5));
        assert!(!spares.is_heard(SILENCE_MAX, Time(0)), "it was never heard");
        assert_eq!(spares.heard(Token(5), Time(0)), None);
        let late = Time(301 * MS);
        assert!(spares.is_heard(SILENCE_MAX, Time(300 * MS)) && !spares.is_heard(SILENCE_MAX, late));
        assert!(spares.status(address(1), SILENCE_MAX, Time(0))[0].answers);
        assert!(spares.silent_at(address(1), SILENCE_MAX).unwrap() <= late);
        let silent = spares.newly_silent(address(1), SILENCE_MAX, late);
        assert_eq!(silent, [(address(2), "nothing comes any more".to_owned())]);
        assert_eq!(spares.newly_silent(address(1), SILENCE_MAX, late), []);
        assert_eq!(spares.silent_at(address(1), SILENCE_MAX), None);
        assert_eq!(spares.silent_at(address(2), SILENCE_MAX), None, "the link went over to it");
        assert!(!spares.status(address(1), SILENCE_MAX, late)[0].answers);
        assert_eq!(spares.heard(Token(5), late), Some(address(2)));
    }

    #[test]
    fn one_that_has_ended_says_nothing_and_a_peer_cannot_connect_without_end() {
        let mut spares = spares();
        for token in 0..ACCEPTED_MAX {
            assert_eq!(spares.accepted(Token(token)), None);
        }
        assert_eq!(spares.accepted(Token(99)), Some(Token(0)));
        spares.heard(Token(99), Time(0));
        let all: Vec<_> = spares.tokens().collect();
        all.into_iter().for_each(|token| spares.ended(token, "the peer's process ended", Time(MS)));
        assert!(!spares.is_heard(SILENCE_MAX, Time(MS)), "its process may have ended with them");
    }

    #[test]
    fn what_was_heard_of_a_process_says_nothing_of_the_next_one() {
        let mut spares = spares();
        assert!(spares.are_of(1));
        spares.dialed(1, Token(5));
        spares.heard(Token(5), Time(0));
        assert!(spares.are_of(1) && spares.is_heard(SILENCE_MAX, Time(MS)));
        assert!(!spares.are_of(2));
        spares.ended(Token(5), "the process ended", Time(MS));
        spares.dialed(1, Token(6));
        assert!(!spares.is_heard(SILENCE_MAX, Time(MS)));
    }
}
