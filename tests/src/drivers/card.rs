//! The network card of a guest that answers: what has come for it and what it has taken, counted.
//!
//! It has a lock of its own: who delivers does not lock the guest.

use super::GuestId;
use super::frame::requested;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use understudy::guest::{CopyCard, Delivery};

/// Requests that wait at most.
const ROOM: usize = 64;

/// A card, shared by the guest and whoever delivers.
#[derive(Clone, Debug)]
pub struct Card(Arc<Mutex<Inside>>);

#[derive(Debug)]
struct Inside {
    guest: GuestId,
    waiting: VecDeque<u64>,
    taken: u64,
    has_ended: bool,
    /// For a mutant: how often it takes what is delivered.
    times: usize,
}

impl Card {
    pub(super) fn new(guest: GuestId) -> Self {
        Self::taking(guest, 1)
    }

    /// That of a guest which hears everything so many times.
    pub(super) fn taking(guest: GuestId, times: usize) -> Self {
        let (waiting, taken, has_ended) = (VecDeque::new(), 0, false);
        Self(Arc::new(Mutex::new(Inside { guest, waiting, taken, has_ended, times })))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame comes; its number in the order in which the guest takes them, if it is a request to this guest that has room.
    pub(super) fn put(&self, frame: &[u8]) -> Option<u64> {
        let mut inside = self.lock();
        let request = requested(frame, inside.guest)?;
        let number = inside.taken + inside.waiting.len() as u64;
        let has_room = inside.waiting.len() < ROOM && !inside.has_ended;
        has_room.then(|| {
            let times = inside.times;
            inside.waiting.extend(std::iter::repeat_n(request, times));
            number
        })
    }

    /// The guest takes the next request.
    pub(super) fn take(&self) -> Option<u64> {
        let mut inside = self.lock();
        let request = inside.waiting.pop_front()?;
        inside.taken += 1;
        Some(request)
    }

    /// How many it has taken.
    pub(super) fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// What waits is dropped.
    pub(super) fn clear(&self) {
        self.lock().waiting.clear();
    }

    /// Its guest is no more.
    pub(super) fn end(&self) {
        self.lock().has_ended = true;
    }
}

impl CopyCard for Card {
    fn takes(&self, frame: &[u8]) -> bool {
        requested(frame, self.lock().guest).is_some()
    }

    fn deliver(&self, frame: &[u8]) -> Delivery {
        match self.put(frame) {
            Some(number) => Delivery::Taken(number),
            None if self.has_ended() || !self.takes(frame) => Delivery::Lost,
            None => Delivery::NoRoom,
        }
    }

    fn next_number(&self) -> u64 {
        let inside = self.lock();
        inside.taken + inside.waiting.len() as u64
    }

    fn has_ended(&self) -> bool {
        self.lock().has_ended
    }
}
