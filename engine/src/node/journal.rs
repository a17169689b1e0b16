//! What changes on this node, in order: states of guests, links, the witness, maintenance. The last of them are kept for whoever
//! asks; who asks too late is told how many are gone, and nobody is waited for.
//!
//! ```text
//!   each turn ─► differs from the turn before? ─► ring of 1,024 ─► answers to those who wait for the next one
//! ```
//!
//! What comes and goes within one turn of the loop is not seen. Not here: the log, which says more.

use super::Node;
use super::glance::Glance;
use super::guests::Guests;
use super::inbound::GuestName;
use crate::control::events::{ANSWERED_MAX, Event, Events, Subject, WAIT_MS_MAX};
use crate::control::{self, GuestRole, GuestState, Response};
use crate::request_server::{CLIENTS_MAX, ClientId};
use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};
use understudy_session::{NodeName, Span, Time};

/// Events that are kept.
const KEPT_MAX: usize = 1024;

/// How a guest stood when it was looked at last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    role: GuestRole,
    state: GuestState,
    generation: u64,
}

impl From<Glance> for Seen {
    fn from(glance: Glance) -> Self {
        match glance {
            Glance::Primary { state, generation, .. } => {
                Self { role: GuestRole::Primary, state: state.into(), generation: generation.0 }
            }
            Glance::Secondary { state, generation, .. } => {
                Self { role: GuestRole::Secondary, state: state.into(), generation: generation.0 }
            }
        }
    }
}

/// Somebody who waits for the next event.
#[derive(Debug)]
struct Waiter {
    client: ClientId,
    after: u64,
    until: Time,
}

/// What was seen last, and what has changed.
#[derive(Debug)]
pub(super) struct Journal {
    kept: VecDeque<Event>,
    newest: u64,
    guests: Vec<(GuestName, Seen)>,
    links: BTreeMap<NodeName, bool>,
    is_witness_up: bool,
    is_maintained: bool,
    waiting: VecDeque<Waiter>,
}

impl Journal {
    /// Of a node that begins.
    pub(super) fn new(node: &NodeName) -> Self {
        let mut journal = Self {
            kept: VecDeque::new(),
            newest: 0,
            guests: Vec::new(),
            links: BTreeMap::new(),
            is_witness_up: false,
            is_maintained: false,
            waiting: VecDeque::new(),
        };
        journal.put(Event { state: "started".into(), ..event(Subject::Node, &node.0) });
        journal
    }

    fn put(&mut self, event: Event) {
        self.newest += 1;
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Event { number: self.newest, ..event });
    }

    /// The events after a number, as many as fit into an answer, and how many are gone.
    fn after(&self, after: u64) -> (u64, Vec<Event>) {
        let oldest = self.newest + 1 - self.kept.len() as u64;
        let lost = oldest.saturating_sub(after.saturating_add(1));
        let later = self.kept.iter().skip_while(|event| event.number <= after);
        (lost, later.take(ANSWERED_MAX).cloned().collect())
    }

    /// When somebody who waits is to be answered.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.waiting.iter().map(|waiter| waiter.until).min()
    }
}

/// One that happens now.
fn event(subject: Subject, name: &str) -> Event {
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    let (state, was, reason) = (String::new(), String::new(), String::new());
    Event {
        number: 0,
        at_ms,
        subject,
        name: name.to_owned(),
        state,
        was,
        role: None,
        generation: None,
        reason,
    }
}

fn up_or_down(is_up: bool) -> String {
    if is_up { "up".into() } else { "down".into() }
}

impl Node {
    /// Notes what has changed in this turn, and answers those who wait for it.
    pub(super) fn note_changes(&mut self) {
        self.note_guests();
        self.note_links();
        self.note_witness();
        let is_maintained = self.maintenance.is_on();
        if std::mem::replace(&mut self.journal.is_maintained, is_maintained) != is_maintained {
            let state = if is_maintained { "on" } else { "off" }.into();
            self.journal.put(Event { state, ..event(Subject::Maintenance, &self.config.node.0) });
        }
        self.answer_waiting();
    }

    fn note_guests(&mut self) {
        let here = || self.guests.glances().map(|(name, glance)| (name, Seen::from(glance)));
        if self.journal.guests.iter().map(|(name, seen)| (name, *seen)).eq(here()) {
            return;
        }
        let now: Vec<(GuestName, Seen)> = here().map(|(name, seen)| (name.clone(), seen)).collect();
        let before: BTreeMap<GuestName, Seen> =
            std::mem::take(&mut self.journal.guests).into_iter().collect();
        for (name, was) in before.iter().filter(|(name, _)| now.iter().all(|(here, _)| here != *name)) {
            let was = was.state.to_string();
            self.journal.put(Event { state: "gone".into(), was, ..event(Subject::Guest, name) });
        }
        for (name, seen) in now.iter().filter(|(name, seen)| before.get(name) != Some(seen)) {
            let Seen { role, state, generation } = *seen;
            let reason = self.guests.reason(name, self.cx.now);
            self.journal.put(Event {
                state: state.to_string(),
                was: before.get(name).map(|was| was.state.to_string()).unwrap_or_default(),
                role: Some(role),
                generation: Some(generation),
                reason,
                ..event(Subject::Guest, name)
            });
        }
        self.journal.guests = now;
    }

    fn note_links(&mut self) {
        let links = &self.cx.links;
        while let Some((peer, is_up)) =
            links.ups().find(|(peer, is_up)| self.journal.links.get(*peer) != Some(is_up))
        {
            let was = self.journal.links.insert(peer.clone(), is_up);
            if was.is_some() || is_up {
                let health = links.peers(self.cx.now).find(|(name, _)| *name == peer);
                let reason = health.map(|(_, health)| health.reason).unwrap_or_default();
                let was = was.map(up_or_down).unwrap_or_default();
                let link = Event { state: up_or_down(is_up), was, reason, ..event(Subject::Link, &peer.0) };
                self.journal.put(link);
            }
        }
    }

    fn note_witness(&mut self) {
        let is_up = self.cx.witness.is_up();
        let was = std::mem::replace(&mut self.journal.is_witness_up, is_up);
        if was != is_up {
            let reason = self.cx.witness.trouble(self.cx.now);
            let (state, was) = (up_or_down(is_up), up_or_down(was));
            self.journal.put(Event { state, was, reason, ..event(Subject::Witness, "witness") });
        }
    }

    /// Answers at once if there is something, else when there is, or after `wait_ms` without.
    pub(super) fn answer_events(&mut self, client: ClientId, after: u64, wait_ms: u64) {
        let until = self.cx.now + Span::from_ms(wait_ms.min(WAIT_MS_MAX));
        if self.journal.waiting.len() == CLIENTS_MAX {
            // Its seat was given to somebody else long ago.
            self.journal.waiting.pop_front();
        }
        self.journal.waiting.push_back(Waiter { client, after, until });
        self.answer_waiting();
    }

    fn answer_waiting(&mut self) {
        let (newest, now) = (self.journal.newest, self.cx.now);
        // A number of the future is of another process of this name: it is told at once.
        let is_due = |waiter: &Waiter| waiter.after != newest || waiter.until <= now;
        while let Some(at) = self.journal.waiting.iter().position(is_due) {
            let Some(Waiter { client, after, .. }) = self.journal.waiting.remove(at) else { return };
            let (lost, events) = self.journal.after(after);
            let (node, pid) = (self.config.node.0.clone(), std::process::id());
            let answer = Events { node, pid, newest, lost, events };
            self.control_server.answer(client, control::line_of(&Response::Events { events: answer }));
        }
    }
}

impl Guests {
    /// How each guest stands, by name.
    fn glances(&self) -> impl Iterator<Item = (&GuestName, Glance)> {
        self.guests.iter().map(|(name, guest)| (name, guest.glance()))
    }

    /// Why a guest stands as it does.
    fn reason(&mut self, name: &str, now: Time) -> String {
        let has_witness = self.config.witness.is_some();
        self.guests.get_mut(name).map(|guest| guest.status(now, has_witness).reason).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn who_asks_too_late_is_told_how_many_are_gone() {
        let mut journal = Journal::new(&NodeName("a".into()));
        assert_eq!(journal.after(0), (0, journal.kept.iter().cloned().collect()));
        assert_eq!(journal.after(1), (0, Vec::new()));
        for _ in 0..KEPT_MAX + 9 {
            journal.put(event(Subject::Link, "b"));
        }
        let (newest, oldest) = (KEPT_MAX as u64 + 10, 11);
        assert_eq!(journal.newest, newest);
        let (lost, events) = journal.after(4);
        assert_eq!((lost, events.len(), events[0].number), (oldest - 5, ANSWERED_MAX, oldest));
        let (lost, events) = journal.after(newest - 2);
        assert_eq!((lost, numbers(&events)), (0, vec![newest - 1, newest]));
        assert_eq!(journal.after(u64::MAX), (0, Vec::new()), "a number that was never given");
    }
}
