//! Connections that have other numbers in a guest's images than the world knows, of each epoch that is not committed. Most of them
//! are in every epoch, and are kept once.
//!
//! ```text
//!   connection   numbers   in the images of epochs
//!   a            +7        5 6 7 8 9      still there: `present`
//!   b            +3        5 6 7          `past`
//!   c            +9              8 9      still there
//! ```
//!
//! Not here: what the numbers are for (`colo::rewriter`).

use std::collections::BTreeMap;
use understudy_checkpoint::Epoch;
use understudy_colo::packet::Flow;
use understudy_colo::rewriter::Carried;
use understudy_colo::rewriter::carried::CARRIED_MAX;

/// Connections of all epochs that are not committed, together: four times as many as a guest has at a time.
const ROWS_MAX: usize = 4 * CARRIED_MAX;

/// Those of one guest, in one generation.
#[derive(Debug)]
pub(super) struct CarriedLog {
    rows_max: usize,
    /// In the image of `newest`, each with the first epoch that has it.
    present: BTreeMap<Flow, (Carried, Epoch)>,
    newest: Option<Epoch>,
    past: Vec<Row>,
}

/// In these epochs, the last one included.
#[derive(Debug)]
struct Row {
    carried: Carried,
    from: Epoch,
    through: Epoch,
}

impl CarriedLog {
    pub(super) fn new() -> Self {
        Self::with_room(ROWS_MAX)
    }

    fn with_room(rows_max: usize) -> Self {
        Self { rows_max, present: BTreeMap::new(), newest: None, past: Vec::new() }
    }

    /// `epoch` was cut, and later ones are void. The answer is how many of `carried` have no room: a guest that is started from
    /// that image loses those connections.
    pub(super) fn cut(&mut self, epoch: Epoch, carried: Vec<Carried>) -> usize {
        self.take_back(epoch);
        let mut before = std::mem::take(&mut self.present);
        let mut present = BTreeMap::new();
        let mut anew = Vec::new();
        for one in carried {
            match before.remove_entry(&one.flow) {
                Some((flow, (known, from))) if known == one => drop(present.insert(flow, (known, from))),
                known => {
                    before.extend(known);
                    anew.push(one);
                }
            }
        }
        if let Some(through) = self.newest.replace(epoch) {
            let gone = before.into_values().map(|(carried, from)| Row { carried, from, through });
            self.past.extend(gone);
        }
        let room = self.rows_max.saturating_sub(self.past.len() + present.len());
        let lost = anew.len().saturating_sub(room);
        present.extend(anew.into_iter().take(room).map(|one| (one.flow, (one, epoch))));
        self.present = present;
        lost
    }

    /// Epochs from this one on were never committed.
    fn take_back(&mut self, epoch: Epoch) {
        if self.newest.is_none_or(|newest| newest < epoch) {
            return;
        }
        let Some(through) = epoch.0.checked_sub(1).map(Epoch) else {
            return *self = Self::with_room(self.rows_max);
        };
        self.present.retain(|_, (_, from)| *from <= through);
        self.past.retain(|row| row.from <= through);
        self.past.iter_mut().for_each(|row| row.through = row.through.min(through));
        self.newest = Some(through);
    }

    /// Those in the image of `epoch`.
    pub(super) fn of(&self, epoch: Epoch) -> impl Iterator<Item = Carried> {
        let past = self.past.iter().filter(move |row| row.from <= epoch && epoch <= row.through);
        let is_cut = self.newest >= Some(epoch);
        let present = self.present.values().filter(move |(_, from)| is_cut && *from <= epoch);
        past.map(|row| row.carried).chain(present.map(|(carried, _)| *carried))
    }

    /// No guest is started from an epoch before this one.
    pub(super) fn forget(&mut self, before: Epoch) {
        self.past.retain(|row| row.through >= before);
    }

    /// How many are kept.
    #[cfg(test)]
    fn rows(&self) -> usize {
        self.past.len() + self.present.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_colo::packet::{Address, Card, Protocol};
    use understudy_colo::rewriter::Shift;

    fn one(port: u16, sequence: u32) -> Carried {
        let flow = Flow {
            card: Card(0),
            vlan: [None, None],
            protocol: Protocol::Ip(6),
            guest: Address::from([1; 16]),
            world: Address::from([2; 16]),
            guest_port: 80,
            world_port: port,
        };
        Carried { flow, shift: Shift { sequence, timestamp: 0 }, initial: 0 }
    }

    fn of(log: &CarriedLog, epoch: u64) -> Vec<(u16, u32)> {
        let mut all: Vec<_> =
            log.of(Epoch(epoch)).map(|one| (one.flow.world_port, one.shift.sequence)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn each_epoch_has_its_own_connections() {
        let mut log = CarriedLog::new();
        assert_eq!(log.cut(Epoch(5), vec![one(1, 7), one(2, 3)]), 0);
        assert_eq!(log.cut(Epoch(6), vec![one(1, 7), one(3, 9)]), 0);
        // Another connection from the same port.
        assert_eq!(log.cut(Epoch(8), vec![one(1, 8), one(3, 9)]), 0);
        assert_eq!(of(&log, 4), []);
        assert_eq!(of(&log, 5), [(1, 7), (2, 3)]);
        assert_eq!(of(&log, 6), [(1, 7), (3, 9)]);
        assert_eq!(of(&log, 8), [(1, 8), (3, 9)]);
        assert_eq!(of(&log, 9), [], "it was not cut");
        log.forget(Epoch(8));
        assert_eq!((of(&log, 8), log.rows()), (vec![(1, 8), (3, 9)], 2));
    }

    #[test]
    fn what_many_epochs_have_in_common_is_kept_once() {
        let mut log = CarriedLog::with_room(1_000);
        for epoch in 0..300 {
            assert_eq!(log.cut(Epoch(epoch), (0..900).map(|port| one(port, 1)).collect()), 0);
        }
        assert_eq!((of(&log, 0).len(), of(&log, 299).len(), log.rows()), (900, 900, 900));
    }

    /// The link used to end when they were too many.
    #[test]
    fn what_has_no_room_is_counted_and_the_others_stay() {
        let mut log = CarriedLog::with_room(5);
        assert_eq!(log.cut(Epoch(1), (0..4).map(|port| one(port, 1)).collect()), 0);
        assert_eq!(log.cut(Epoch(2), (2..8).map(|port| one(port, 1)).collect()), 3);
        assert_eq!(of(&log, 1), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(of(&log, 2), [(2, 1), (3, 1), (4, 1)]);
        log.forget(Epoch(2));
        assert_eq!(log.cut(Epoch(3), (2..8).map(|port| one(port, 1)).collect()), 1);
        assert_eq!(log.rows(), 5, "room is taken as it becomes free");
    }

    #[test]
    fn an_epoch_that_is_cut_again_replaces_those_from_it_on() {
        let mut log = CarriedLog::new();
        log.cut(Epoch(1), vec![one(1, 1), one(2, 1)]);
        log.cut(Epoch(2), vec![one(1, 1), one(3, 1)]);
        log.cut(Epoch(3), vec![one(4, 1)]);
        log.cut(Epoch(2), vec![one(1, 1), one(5, 1)]);
        assert_eq!(of(&log, 1), [(1, 1), (2, 1)]);
        assert_eq!(of(&log, 2), [(1, 1), (5, 1)]);
        assert_eq!(of(&log, 3), []);
    }
}
