//! What a copy is to hear, as its guest's host tells it: kept from the cut of the oldest epoch that the copy may be set to.
//!
//! ```text
//!   Input(epoch 7) │ Input(epoch 7) ║ Input(epoch 8) │ …        ║ the cut of 8: the first packet that says so is marked
//!                                   └── a copy of base 8 gets these
//! ```
//!
//! Packets of one link arrive in their order, those of an earlier epoch first. An epoch in which nothing was heard has no mark;
//! the next one that has is as good.
//!
//! Not here: how much is kept, and in what (`colo::Mirror`).

use std::collections::VecDeque;
use thiserror::Error;
use understudy_checkpoint::{Epoch, Generation};
use understudy_colo::mirror::{Limits, Mirror, Missing};
use understudy_colo::packet::{Card, Frame, Offload};

/// The link has left something out: what is sent from here on is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OutOfStep {
    /// Numbers go on where they were.
    #[error("it sends packet {found} of what its guest hears, and {expected} is the next")]
    Number {
        /// That of the packet that came.
        found: u64,
        /// That of the next one.
        expected: u64,
    },
    /// Epochs are committed here before many more begin.
    #[error("it sends what its guest hears in more epochs than are kept apart")]
    Epochs,
}

/// One guest's.
#[derive(Debug)]
pub(super) struct Input {
    limits: Limits,
    log: Mirror,
    /// Epochs that have a mark in the log, in order.
    marks: VecDeque<Epoch>,
    /// Those packets are of this generation, and the next has this number.
    place: Option<(Generation, u64)>,
    /// Packets that had no room.
    pub(super) lost: u64,
}

impl Input {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, log: Mirror::new(limits), marks: VecDeque::new(), place: None, lost: 0 }
    }

    /// The link is another one: what is told on it has a beginning of its own.
    pub(super) fn clear(&mut self) {
        (self.log, self.place) = (Mirror::new(self.limits), None);
        self.marks.clear();
    }

    /// Packets come, `first` the number of the first, heard after the cut of `epoch`. Whether they are news: what was heard before
    /// a later cut that is marked here is in every image that a copy will be set to.
    pub(super) fn begin(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        first: u64,
    ) -> Result<bool, OutOfStep> {
        if self.place.is_none_or(|(of, _)| of != generation) {
            self.clear();
            self.place = Some((generation, first));
        }
        if let Some((_, expected)) = self.place
            && expected != first
        {
            return Err(OutOfStep::Number { found: first, expected });
        }
        if self.marks.back().is_none_or(|newest| *newest < epoch) {
            self.mark(epoch)?;
        }
        Ok(self.marks.back() == Some(&epoch))
    }

    /// One of those packets; `is_news` as [`begin`](Self::begin) said.
    pub(super) fn push(&mut self, packet: &[u8], is_news: bool) {
        if let Some((_, next)) = &mut self.place {
            *next = next.wrapping_add(1);
        }
        let frame = Frame { card: CARD, offload: Offload::default(), bytes: packet };
        if is_news && self.log.push(frame).is_err() {
            self.lost += 1;
        }
    }

    /// Whether a copy can be set to `base`: all that was heard since is here.
    pub(super) fn reaches(&mut self, base: Epoch) -> Result<(), Missing> {
        let at = self.at(base)?;
        self.log.after(at).map(drop)
    }

    /// What a copy of `base` is to hear first.
    pub(super) fn after(&mut self, base: Epoch) -> Result<impl Iterator<Item = &[u8]>, Missing> {
        let at = self.at(base)?;
        Ok(self.log.after(at)?.map(|(_, frame)| frame.bytes))
    }

    /// No copy will be set to an epoch before this one.
    pub(super) fn forget(&mut self, before: Epoch) {
        while self.marks.len() > 1 && self.marks.get(1).is_some_and(|next| *next <= before) {
            self.marks.pop_front();
        }
        if let Some(first) = self.marks.front() {
            self.log.forget(*first);
        }
    }

    /// The mark from which on a copy of `base` is to hear: its own, or the next one. Without any, it has heard all that came.
    fn at(&mut self, base: Epoch) -> Result<Epoch, Missing> {
        match self.marks.iter().find(|mark| **mark >= base) {
            Some(mark) => Ok(*mark),
            None => self.mark(base).map(|()| base).map_err(|_| Missing::Mark(base)),
        }
    }

    fn mark(&mut self, epoch: Epoch) -> Result<(), OutOfStep> {
        self.log.mark(epoch).map_err(|_| OutOfStep::Epochs)?;
        self.marks.push_back(epoch);
        Ok(())
    }
}

/// A lab guest has one card.
pub(super) const CARD: Card = Card(0);

#[cfg(test)]
mod tests {
    use super::*;

    const G: Generation = Generation(1);

    fn input(frames_max: usize) -> Input {
        Input::new(Limits { frames_max, bytes_max: 1 << 20 })
    }

    fn hear(input: &mut Input, epoch: u64, first: u64, packets: &[u8]) -> bool {
        let is_news = input.begin(G, Epoch(epoch), first).unwrap();
        packets.iter().for_each(|byte| input.push(&[*byte; 20], is_news));
        is_news
    }

    fn after(input: &mut Input, base: u64) -> Result<Vec<u8>, Missing> {
        Ok(input.after(Epoch(base))?.map(|packet| packet[0]).collect())
    }

    #[test]
    fn a_copy_hears_what_came_after_its_cut_whatever_epochs_were_silent() {
        let mut input = input(100);
        hear(&mut input, 3, 0, &[1, 2]);
        hear(&mut input, 5, 2, &[3]);
        hear(&mut input, 5, 3, &[4]);
        hear(&mut input, 8, 4, &[5]);
        assert_eq!(after(&mut input, 3).unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(after(&mut input, 4).unwrap(), [3, 4, 5], "nothing was heard between the cuts of 4 and 5");
        assert_eq!(after(&mut input, 6).unwrap(), [5]);
        assert!(after(&mut input, 9).unwrap().is_empty());
        // It came late: it was heard before the cut of 9, and is in that image.
        assert!(!hear(&mut input, 8, 5, &[6]));
        hear(&mut input, 9, 6, &[7]);
        assert_eq!(after(&mut input, 9).unwrap(), [7]);
    }

    #[test]
    fn what_no_base_needs_is_forgotten_and_no_more() {
        let mut input = input(100);
        hear(&mut input, 3, 0, &[1]);
        hear(&mut input, 5, 1, &[2]);
        input.forget(Epoch(4));
        assert_eq!(after(&mut input, 4).unwrap(), [2], "the epoch that it may be set to is kept");
        input.forget(Epoch(5));
        assert_eq!(input.log.load().0, 1);
        hear(&mut input, 7, 2, &[3]);
        input.forget(Epoch(9));
        assert_eq!(after(&mut input, 9).unwrap(), Vec::<u8>::new());
    }

    #[test]
    fn what_had_no_room_keeps_a_copy_from_being_set_until_the_next_cut() {
        let mut input = input(2);
        hear(&mut input, 3, 0, &[1, 2, 3]);
        assert_eq!(input.lost, 1);
        assert_eq!(input.reaches(Epoch(3)), Err(Missing::Input(Epoch(3))));
        assert_eq!(input.reaches(Epoch(4)), Ok(()));
    }

    #[test]
    fn what_is_left_out_is_noticed_and_another_generation_begins_anew() {
        let mut input = input(100);
        hear(&mut input, 3, 7, &[1]);
        assert_eq!(input.begin(G, Epoch(3), 9), Err(OutOfStep::Number { found: 9, expected: 8 }));
        assert_eq!(input.begin(Generation(2), Epoch(1), 0), Ok(true));
        assert!(after(&mut input, 1).unwrap().is_empty());
    }
}
