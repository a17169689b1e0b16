//! The connections of one copy: bounded. Those that are over go first, and SYNs that nobody answered; then those whose numbers
//! are the world's; never one that is shifted, and never all.

use super::Full;
use super::connection::{Connection, Numbers, Stage};
use super::shift::Shift;
use crate::packet::{Flow, Side};
use std::collections::{HashMap, VecDeque};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};

/// A connection that is rewritten on its guest's host, whoever runs that guest: it goes with a copy of the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried {
    /// Which connection.
    pub flow: Flow,
    /// By how much the guest's numbers are ahead of the world's.
    pub shift: Shift,
    /// The sequence number of the guest's SYN, by its own count.
    pub initial: u32,
}

#[derive(Debug)]
pub(super) struct Table {
    connections: HashMap<Flow, Connection>,
    listed: VecDeque<Listed>,
    /// Counts what was listed.
    places: u64,
    connections_max: usize,
    linger: Span,
    /// The last search for one that may be forgotten found none, and nothing has changed since.
    is_exhausted: bool,
}

/// A connection that may be forgotten, and when to look whether it may. Void unless the connection knows this place.
#[derive(Debug)]
struct Listed {
    due: Time,
    flow: Flow,
    place: u64,
}

impl Table {
    pub(super) fn new(connections_max: usize, linger: Span) -> Self {
        Self {
            connections: HashMap::new(),
            listed: VecDeque::new(),
            places: 0,
            connections_max,
            linger,
            is_exhausted: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn get(&mut self, flow: &Flow) -> Option<&mut Connection> {
        self.connections.get_mut(flow)
    }

    pub(super) fn get_or_insert(
        &mut self,
        now: Time,
        flow: Flow,
        stage: Stage,
    ) -> Result<&mut Connection, Full> {
        if !self.connections.contains_key(&flow) {
            if self.connections.len() >= self.connections_max {
                self.make_room()?;
            }
            self.connections.insert(flow, Connection::new(stage, now));
            // It may never be answered.
            self.list(now, flow);
        }
        self.connections.get_mut(&flow).ok_or(Full::Connections)
    }

    /// Those that have been listed for longest go first, a part of all of them at a time.
    fn make_room(&mut self) -> Result<(), Full> {
        if self.is_exhausted {
            return Err(Full::Connections);
        }
        let before = self.connections.len();
        let many = before.div_ceil(16);
        let may_go = |one: &Connection| one.is_over() || one.is_bare();
        for listed in &self.listed {
            if before - self.connections.len() < many
                && self.connections.get(&listed.flow).is_some_and(|one| listed.is_of(one) && may_go(one))
            {
                self.connections.remove(&listed.flow);
            }
        }
        if self.connections.len() == before {
            self.connections.retain(|_, connection| !connection.is_plain());
        }
        self.drop_void();
        self.is_exhausted = self.connections.len() == before;
        if self.is_exhausted { Err(Full::Connections) } else { Ok(()) }
    }

    /// One from before the base, so that the clock that the world sees does not go back. It takes nobody's room.
    pub(super) fn get_or_insert_plain(&mut self, now: Time, flow: Flow) -> Option<&mut Connection> {
        if self.connections.len() < self.connections_max {
            let inserted = self.connections.entry(flow);
            inserted.or_insert_with(|| Connection::new(Stage::Open(Numbers::PLAIN), now));
        }
        self.connections.get_mut(&flow)
    }

    fn drop_void(&mut self) {
        self.listed.retain(|listed| self.connections.get(&listed.flow).is_some_and(|one| listed.is_of(one)));
    }

    /// It may be forgotten once it has been silent for a while.
    pub(super) fn list(&mut self, now: Time, flow: Flow) {
        if self.listed.len() >= 2 * self.connections_max {
            self.drop_void();
        }
        if let Some(connection) = self.connections.get_mut(&flow)
            && connection.listed.is_none()
        {
            connection.listed = Some(self.places);
            self.listed.push_back(Listed { due: now + self.linger, flow, place: self.places });
            self.places += 1;
        }
    }

    fn list_all(&mut self, now: Time, is_meant: fn(&Connection) -> bool) {
        let meant = self.connections.iter().filter(|(_, one)| is_meant(one)).map(|(flow, _)| *flow);
        for flow in meant.collect::<Vec<_>>() {
            self.list(now, flow);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.listed.front().map(|listed| listed.due)
    }

    /// Forgets those that are over, or were never answered, and silent since.
    pub(super) fn forget(&mut self, now: Time) {
        while let Some(listed) = self.listed.pop_front_if(|listed| listed.due <= now) {
            let flow = listed.flow;
            let Some(connection) = self.connections.get_mut(&flow).filter(|one| listed.is_of(one)) else {
                continue;
            };
            connection.listed = None;
            let is_unanswered = matches!(connection.stage, Stage::Opening(_));
            if !is_unanswered && !connection.ending.is_over() {
                continue;
            }
            let is_silent = connection.seen + self.linger <= now && connection.waiting == [0; 2];
            if is_silent && (is_unanswered || connection.is_over()) {
                self.remove(&flow);
            } else {
                self.list(now, flow);
            }
        }
    }

    /// It has just ended.
    pub(super) fn over(&mut self, now: Time, flow: Flow) {
        self.is_exhausted = false;
        self.list(now, flow);
    }

    pub(super) fn remove(&mut self, flow: &Flow) {
        self.is_exhausted = false;
        self.connections.remove(flow);
    }

    /// The guest opens a connection with another number than the one that is known.
    pub(super) fn forget_former(&mut self, flow: &Flow, initial: u32) {
        let known = self.connections.get(flow).and_then(Connection::numbers);
        if known.is_some_and(|numbers| numbers.initial != Some(initial)) {
            self.remove(flow);
        }
    }

    pub(super) fn wait(&mut self, flow: &Flow, side: Side) {
        if let Some(connection) = self.connections.get_mut(flow) {
            connection.waiting[usize::from(side == Side::Guest)] += 1;
        }
    }

    /// Frames of `flow`, or of all flows, are about to be looked at again.
    pub(super) fn nothing_waits(&mut self, flow: Option<&Flow>) {
        match flow {
            Some(flow) => self.connections.get_mut(flow).into_iter().for_each(|one| one.waiting = [0; 2]),
            None => self.connections.values_mut().for_each(|one| one.waiting = [0; 2]),
        }
    }

    pub(super) fn rebase(
        &mut self,
        now: Time,
        base: Epoch,
        carried: impl IntoIterator<Item = Carried>,
    ) -> Result<(), Full> {
        self.is_exhausted = false;
        self.connections.retain(|_, connection| connection.rebase(base));
        self.drop_void();
        self.list_all(now, |one| matches!(one.stage, Stage::Opening(_)));
        for Carried { flow, shift, initial } in carried {
            let numbers = Numbers { shift, initial: Some(initial), told: None };
            self.get_or_insert(now, flow, Stage::Open(numbers))?.carry(numbers);
        }
        Ok(())
    }

    pub(super) fn take_over(&mut self) {
        self.is_exhausted = false;
        self.connections.retain(|_, connection| connection.take_over());
        self.drop_void();
    }

    pub(super) fn carried(&self) -> Vec<Carried> {
        let shifted = self.connections.iter().filter_map(|(flow, connection)| {
            let Numbers { shift, initial, .. } = connection.numbers()?;
            Some(Carried { flow: *flow, shift, initial: initial.filter(|_| shift != Shift::default())? })
        });
        let mut carried: Vec<_> = shifted.collect();
        carried.sort_by_key(|one| one.flow);
        carried
    }
}

impl Listed {
    fn is_of(&self, connection: &Connection) -> bool {
        connection.listed == Some(self.place)
    }
}
