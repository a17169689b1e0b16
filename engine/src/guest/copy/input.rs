//! The input of a copy, as the primary sends it: kept from the cut of the oldest epoch that the copy may be set to.
//!
//! ```text
//!   Input 40 41 42 43 │ Cut(7, next 42) │ Input 44 45 │ …
//!               └──────── a copy of base 7 gets 42, 43, 44, 45
//! ```
//!
//! A cut comes after all that was heard before it, and often after more: what the guest had not taken from its card when it was
//! cut is in no image. Packets that the sender had no room for are left out, which their numbers tell.
//!
//! Not here: how much is kept, and in what (`colo::Mirror`).

use super::carried::CarriedLog;
use thiserror::Error;
use understudy_checkpoint::{Epoch, Generation};
use understudy_colo::mirror::{Limits, Mirror, Missing, Number};
use understudy_colo::packet::{Card, Frame, Offload};
use understudy_colo::rewriter::Carried;

/// The link repeated a packet number: the rest of its packets is unusable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OutOfStep {
    /// Packet numbers go backwards.
    #[error("it sends packet {found} of what its guest hears, and {expected} is the next")]
    Number {
        /// The number that arrived.
        found: u64,
        /// The number that was expected.
        expected: u64,
    },
    /// Few epochs are uncommitted at a time.
    #[error("it sends what its guest hears in more epochs than are kept apart")]
    Epochs,
}

/// The input of one guest.
#[derive(Debug)]
pub(super) struct Input {
    limits: Limits,
    /// The generation of the packets.
    log: Option<(Generation, Mirror)>,
    /// For each epoch of that generation, the connections whose sequence numbers differ from those that clients know. The list outlives the link.
    carried: (Generation, CarriedLog),
    /// Packets that were dropped for lack of room.
    pub(super) lost: u64,
}

impl Input {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, log: None, carried: (Generation(0), CarriedLog::new()), lost: 0 }
    }

    /// A new link begins, and its packets are numbered anew.
    pub(super) fn clear(&mut self) {
        self.log = None;
    }

    fn log_of(&mut self, generation: Generation, first: u64) -> &mut Mirror {
        if self.log.as_ref().is_none_or(|(of, _)| *of != generation) {
            self.log = None;
        }
        let begin = || (generation, Mirror::beginning_at(Number(first), self.limits));
        &mut self.log.get_or_insert_with(begin).1
    }

    /// Takes packets; `first` is the number of the first. Returns whether packets before it are missing.
    pub(super) fn begin(&mut self, generation: Generation, first: u64) -> Result<bool, OutOfStep> {
        let log = self.log_of(generation, first);
        let Number(expected) = log.next();
        if first < expected {
            return Err(OutOfStep::Number { found: first, expected });
        }
        // The sender dropped the packets in between, or kept none.
        log.skip_to(Number(first));
        Ok(first > expected)
    }

    /// Takes one of those packets.
    pub(super) fn push(&mut self, packet: &[u8]) {
        let frame = Frame { card: CARD, offload: Offload::default(), bytes: packet };
        if let Some((_, log)) = &mut self.log
            && log.push(frame).is_err()
        {
            self.lost += 1;
        }
    }

    /// Notes the cut of `epoch`: its image contains all packets before `next`, and `carried` connections whose numbers differ from
    /// those that clients know. Returns how many of them had no room.
    pub(super) fn cut(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        next: u64,
        carried: Vec<Carried>,
    ) -> Result<usize, OutOfStep> {
        if self.carried.0 != generation {
            self.carried = (generation, CarriedLog::new());
        }
        let lost = self.carried.1.cut(epoch, carried);
        let log = self.log_of(generation, next);
        log.mark_at(epoch, Number(next)).map(|()| lost).map_err(|_| OutOfStep::Epochs)
    }

    /// Adds connections whose sequence numbers in the image of `epoch` differ from those that clients know.
    pub(super) fn carried(&self, epoch: Epoch) -> impl Iterator<Item = Carried> {
        self.carried.1.of(epoch)
    }

    /// Whether a copy can run from `base`: the cut is known, and all input since is here.
    pub(super) fn reaches(&self, base: Epoch) -> Result<(), Missing> {
        self.after(base).map(drop)
    }

    /// The input that a copy of `base` receives first.
    pub(super) fn after(&self, base: Epoch) -> Result<impl Iterator<Item = &[u8]>, Missing> {
        let (_, log) = self.log.as_ref().ok_or(Missing::Mark(base))?;
        Ok(log.after(base)?.map(|(_, frame)| frame.bytes))
    }

    /// The guest has taken all packets before `next`, so every later image contains them.
    pub(super) fn taken(&mut self, generation: Generation, next: u64) {
        if let Some((_, log)) = self.log.as_mut().filter(|(of, _)| *of == generation) {
            log.taken(Number(next));
        }
    }

    pub(super) fn kept_frames(&self) -> usize {
        self.log.as_ref().map_or(0, |(_, log)| log.load().0)
    }

    /// A copy of `base` runs and has received everything that is here.
    pub(super) fn has_run(&mut self, base: Epoch) {
        if let Some((_, log)) = &mut self.log {
            log.has_run(base);
        }
    }

    /// No copy will be set to an epoch before this one, so older input goes.
    pub(super) fn forget(&mut self, before: Epoch) {
        self.carried.1.forget(before);
        if let Some((_, log)) = &mut self.log {
            log.forget(before);
        }
    }
}

/// A lab guest has one card.
pub const CARD: Card = Card(0);

#[cfg(test)]
mod tests {
    use super::*;

    const G: Generation = Generation(1);

    fn input(frames_max: usize) -> Input {
        Input::new(Limits { frames_max, bytes_max: 1 << 20 })
    }

    fn hear(input: &mut Input, first: u64, packets: &[u8]) {
        let _ = input.begin(G, first).unwrap();
        packets.iter().for_each(|byte| input.push(&[*byte; 20]));
    }

    fn after(input: &Input, base: u64) -> Result<Vec<u8>, Missing> {
        Ok(input.after(Epoch(base))?.map(|packet| packet[0]).collect())
    }

    #[test]
    fn a_copy_hears_what_its_image_does_not_contain() {
        let mut input = input(100);
        hear(&mut input, 7, &[1, 2, 3, 4]);
        assert_eq!(after(&input, 3), Err(Missing::Mark(Epoch(3))), "it was not told what the image contains");
        // The guest had not taken the third packet yet at the cut.
        input.cut(G, Epoch(3), 9, Vec::new()).unwrap();
        hear(&mut input, 11, &[5]);
        assert_eq!(after(&input, 3).unwrap(), [3, 4, 5]);
        input.cut(G, Epoch(4), 12, Vec::new()).unwrap();
        assert!(after(&input, 4).unwrap().is_empty());
        hear(&mut input, 12, &[6]);
        assert_eq!(after(&input, 4).unwrap(), [6]);
    }

    #[test]
    fn what_no_base_needs_is_forgotten_and_no_more() {
        let mut input = input(100);
        hear(&mut input, 0, &[1, 2, 3]);
        input.cut(G, Epoch(3), 1, Vec::new()).unwrap();
        input.cut(G, Epoch(4), 2, Vec::new()).unwrap();
        input.forget(Epoch(4));
        assert_eq!(after(&input, 4).unwrap(), [3]);
        assert_eq!(input.log.as_ref().unwrap().1.load().0, 1);
    }

    #[test]
    fn what_had_no_room_keeps_a_copy_from_running_until_the_next_cut() {
        let mut input = input(2);
        hear(&mut input, 0, &[1]);
        input.cut(G, Epoch(3), 0, Vec::new()).unwrap();
        hear(&mut input, 1, &[2, 3]);
        assert_eq!(input.lost, 1);
        assert_eq!(input.reaches(Epoch(3)), Err(Missing::Input(Epoch(3))));
        input.cut(G, Epoch(4), 3, Vec::new()).unwrap();
        assert_eq!(input.reaches(Epoch(4)), Ok(()));
        // The sender dropped two packets.
        input.forget(Epoch(4));
        hear(&mut input, 5, &[6]);
        assert_eq!((input.lost, input.reaches(Epoch(4))), (1, Err(Missing::Input(Epoch(4)))));
    }

    #[test]
    fn what_was_heard_before_anything_was_told_is_missing() {
        let mut input = input(100);
        hear(&mut input, 7, &[1]);
        input.cut(G, Epoch(3), 6, Vec::new()).unwrap();
        assert_eq!(input.reaches(Epoch(3)), Err(Missing::Input(Epoch(3))));
        input.cut(G, Epoch(4), 7, Vec::new()).unwrap();
        assert_eq!(after(&input, 4).unwrap(), [1]);
    }

    #[test]
    fn what_is_told_twice_is_noticed_and_another_generation_begins_anew() {
        let mut input = input(100);
        hear(&mut input, 7, &[1]);
        assert_eq!(input.begin(G, 7), Err(OutOfStep::Number { found: 7, expected: 8 }));
        assert_eq!(input.begin(Generation(2), 0), Ok(false));
        input.cut(Generation(2), Epoch(1), 0, Vec::new()).unwrap();
        assert!(after(&input, 1).unwrap().is_empty());
    }
}
