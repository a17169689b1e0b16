//! Held frames in the order of their arrival, each with a number. A frame may be taken out of order.
//!
//! ```text
//!   41 │ 42 │ ── │ 44 │ ── │ 46        ──  taken out of order: its place stays until the frames before it are gone,
//!  └ front: next to leave in order         or until empty places outnumber the frames
//! ```
//!
//! Not here: which frames may leave ([`EpochQueue`](crate::EpochQueue)).

use std::collections::VecDeque;
use understudy_checkpoint::Epoch;

/// The number of a held frame, counted from 0 in order of arrival. No number is used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct HeldId(pub u64);

/// Empty places that are kept without compacting, however few frames there are.
const EMPTY_MIN: usize = 64;

/// The held frames.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Ordered by number. The front place always holds a frame.
    places: VecDeque<Place>,
    next: u64,
    frames: usize,
}

#[derive(Debug)]
struct Place {
    id: u64,
    epoch: Epoch,
    frame: Option<Vec<u8>>,
}

impl Held {
    /// The number of held frames.
    pub(crate) fn len(&self) -> usize {
        self.frames
    }

    pub(crate) fn push(&mut self, epoch: Epoch, frame: Vec<u8>) {
        self.places.push_back(Place { id: self.next, epoch, frame: Some(frame) });
        self.next += 1;
        self.frames += 1;
    }

    /// Takes the front frame, if its epoch is `through` or earlier.
    pub(crate) fn pop(&mut self, through: Epoch) -> Option<Vec<u8>> {
        let frame = self.places.pop_front_if(|place| place.epoch <= through)?.frame;
        self.frames -= usize::from(frame.is_some());
        self.trim();
        frame
    }

    /// Takes the frame `id` out of order; `None` if it has left. Finding it is a binary search; compacting costs at
    /// most one move for each frame taken.
    pub(crate) fn take(&mut self, id: HeldId) -> Option<(Epoch, Vec<u8>)> {
        let at = self.places.binary_search_by_key(&id.0, |place| place.id).ok()?;
        let place = self.places.get_mut(at)?;
        let (epoch, frame) = (place.epoch, place.frame.take()?);
        self.frames -= 1;
        self.trim();
        if self.places.len() > 2 * self.frames + EMPTY_MIN {
            self.places.retain(|place| place.frame.is_some());
        }
        Some((epoch, frame))
    }

    /// The frames from `id` on.
    pub(crate) fn from(&self, id: HeldId) -> impl Iterator<Item = (HeldId, Epoch, &[u8])> {
        let at = self.places.partition_point(|place| place.id < id.0);
        self.places
            .range(at..)
            .filter_map(|place| Some((HeldId(place.id), place.epoch, place.frame.as_deref()?)))
    }

    /// The number that the next frame will get.
    pub(crate) fn next_id(&self) -> HeldId {
        HeldId(self.next)
    }

    /// Assigns every held frame to `epoch`.
    pub(crate) fn move_to(&mut self, epoch: Epoch) {
        self.places.iter_mut().for_each(|place| place.epoch = epoch);
    }

    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.frames = 0;
    }

    fn trim(&mut self) {
        while self.places.pop_front_if(|place| place.frame.is_none()).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn one_that_stays_keeps_no_places_of_those_that_went() {
        let mut held = Held::default();
        held.push(Epoch(0), vec![0]);
        for id in 1..1000 {
            held.push(Epoch(0), vec![0]);
            assert!(held.take(HeldId(id)).is_some());
        }
        assert_eq!(held.len(), 1);
        assert!(held.places.len() <= 2 * held.len() + EMPTY_MIN);
    }

    proptest! {
        /// Behaves as a map by number, whatever order frames are taken in, and never keeps more than twice as many
        /// places as frames.
        #[test]
        fn any_may_go_first_and_places_are_bounded(steps in proptest::collection::vec((0u8..8, any::<u16>()), 1..600)) {
            let (mut held, mut map, mut next) = (Held::default(), BTreeMap::new(), 0u64);
            for (step, any) in steps {
                match step {
                    0..4 => {
                        held.push(Epoch(next / 16), next.to_le_bytes().to_vec());
                        map.insert(next, Epoch(next / 16));
                        next += 1;
                    }
                    4..7 => {
                        let id = u64::from(any) % (next + 1);
                        let taken = held.take(HeldId(id));
                        prop_assert_eq!(taken, map.remove(&id).map(|epoch| (epoch, id.to_le_bytes().to_vec())));
                    }
                    _ => {
                        let through = Epoch(u64::from(any) % (next / 16 + 1));
                        let first = map.first_key_value().filter(|(_, epoch)| **epoch <= through).map(|(id, _)| *id);
                        first.map(|id| map.remove(&id));
                        prop_assert_eq!(held.pop(through), first.map(|id| id.to_le_bytes().to_vec()));
                    }
                }
                prop_assert_eq!(held.len(), map.len());
                prop_assert!(held.places.len() <= 2 * map.len() + EMPTY_MIN);
                let from = u64::from(any) % (next + 1);
                let rest: Vec<_> = held.from(HeldId(from)).map(|(id, epoch, _)| (id.0, epoch)).collect();
                prop_assert_eq!(rest, map.range(from..).map(|(id, epoch)| (*id, *epoch)).collect::<Vec<_>>());
            }
        }
    }
}
