//! Requests in flight on one disk: those that overlap are carried out in the order of their arrival (rule R4 of
//! `docs/DISKS.md`).
//!
//! ```text
//!   arrival   1  write ████████            goes
//!             2  read         ████         goes: no byte in common
//!             3  write     ██████          waits for 1 and 2
//!             4  read  ██                  waits for 1
//!             5  read          ██          waits for 3, not for 2: two reads
//! ```
//!
//! Without it the local disk, the record and the other disk could each end with another of two writes, and a guest would
//! read after a takeover what it had not read before. A bulk read for a sync is a read like any other: old content must not
//! be sent behind a newer write.
//!
//! Not here: the requests. Their number is bounded by whoever sends them (tags of the kernel's queues), so a look through
//! all of them is cheap.

use crate::words::Extent;

/// A request's place in the order of arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(u64);

/// What a request does to its extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It looks.
    Read,
    /// It changes.
    Write,
}

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    extent: Extent,
    access: Access,
    /// How many earlier ones it waits for.
    blockers: u32,
}

impl Entry {
    fn conflicts(&self, extent: Extent, access: Access) -> bool {
        (self.access == Access::Write || access == Access::Write) && self.extent.overlaps(extent)
    }
}

/// Of one disk.
#[derive(Debug, Default)]
pub struct Flight {
    entries: Vec<Entry>,
    next: u64,
}

impl Flight {
    /// None in flight.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many are in flight or wait.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// A request arrives; whether it may go at once. If not, [`leave`](Self::leave) of another one names it.
    pub fn enter(&mut self, extent: Extent, access: Access) -> (Ticket, bool) {
        let ticket = Ticket(self.next);
        self.next += 1;
        let blockers = self.entries.iter().filter(|earlier| earlier.conflicts(extent, access)).count() as u32;
        self.entries.push(Entry { ticket, extent, access, blockers });
        (ticket, blockers == 0)
    }

    /// A request that went is done, well or not. Adds to `ready` those that may go now, in the order of their arrival.
    pub fn leave(&mut self, ticket: Ticket, ready: &mut Vec<Ticket>) {
        let found = self.entries.binary_search_by_key(&ticket, |entry| entry.ticket);
        let index = found.expect("a request leaves once");
        let done = self.entries.remove(index);
        assert_eq!(done.blockers, 0, "a request that waits is not done");
        for later in &mut self.entries[index..] {
            if later.conflicts(done.extent, done.access) {
                later.blockers -= 1;
                if later.blockers == 0 {
                    ready.push(later.ticket);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Dice;
    use std::collections::BTreeMap;

    fn extent(sector: u64, sectors: u32) -> Extent {
        Extent::new(sector * 512, sectors * 512).unwrap()
    }

    #[test]
    fn the_picture_is_so() {
        let mut flight = Flight::new();
        let requests = [
            (0, 8, Access::Write),
            (9, 4, Access::Read),
            (5, 6, Access::Write),
            (1, 2, Access::Read),
            (10, 2, Access::Read),
        ];
        let tickets: Vec<_> =
            requests.map(|(sector, sectors, access)| flight.enter(extent(sector, sectors), access)).into();
        assert_eq!(
            tickets.iter().map(|(_, goes)| *goes).collect::<Vec<_>>(),
            [true, true, false, false, false]
        );
        let mut ready = Vec::new();
        flight.leave(tickets[0].0, &mut ready);
        assert_eq!(ready, [tickets[3].0]);
        flight.leave(tickets[1].0, &mut ready);
        assert_eq!(ready, [tickets[3].0, tickets[2].0]);
        flight.leave(tickets[2].0, &mut ready);
        assert_eq!(ready[2..], [tickets[4].0]);
    }

    /// A model that knows all that ever arrived: a request goes exactly when none before it, still there, is in its way.
    #[test]
    fn requests_go_as_soon_as_they_may_and_never_before() {
        let mut waited = 0;
        for seed in 0..300 {
            let mut dice = Dice::new(seed);
            let mut flight = Flight::new();
            // In order of arrival: extent, access, whether it goes.
            let mut model: BTreeMap<Ticket, (Extent, Access, bool)> = BTreeMap::new();
            for _ in 0..200 {
                if dice.below(2) == 0 && model.len() < 24 {
                    let extent = extent(dice.below(16) as u64, 1 + dice.below(6) as u32);
                    let access = [Access::Read, Access::Write][dice.below(2)];
                    let (ticket, goes) = flight.enter(extent, access);
                    assert!(model.keys().all(|earlier| *earlier < ticket));
                    model.insert(ticket, (extent, access, goes));
                    waited += u32::from(!goes);
                } else {
                    let going: Vec<_> =
                        model.iter().filter(|(_, (_, _, goes))| *goes).map(|(ticket, _)| *ticket).collect();
                    assert!(model.is_empty() || !going.is_empty(), "somebody always goes");
                    let Some(ticket) = (!going.is_empty()).then(|| going[dice.below(going.len())]) else {
                        continue;
                    };
                    model.remove(&ticket);
                    let mut ready = Vec::new();
                    flight.leave(ticket, &mut ready);
                    assert!(ready.is_sorted());
                    ready.iter().for_each(|ticket| model.get_mut(ticket).unwrap().2 = true);
                }
                for (ticket, (extent, access, goes)) in &model {
                    let is_free = model.range(..ticket).all(|(_, (other, how, _))| {
                        !other.overlaps(*extent) || (*how, *access) == (Access::Read, Access::Read)
                    });
                    assert_eq!(*goes, is_free);
                }
                assert_eq!(flight.count(), model.len());
            }
        }
        assert!(waited > 1000, "{waited}");
    }
}
