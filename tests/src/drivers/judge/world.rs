//! The outside world: it sees frames, and remembers how far each told it that the guest had come. I2 and I4 on
//! frames, not on intentions: nothing it has ever seen may be unknown to whoever continues.

use super::super::HostId;
use super::super::facts::Fact;
use super::super::frame::Frame;
use super::{Invariant, Verdict};
use std::collections::BTreeMap;
use understudy_checkpoint::Generation;

#[derive(Debug, Default)]
pub(super) struct World {
    newest: Generation,
    /// Where that was begun, and whose engines have died since.
    begun_on: HostId,
    crashed: [bool; 2],
    /// Hosts without an engine.
    down: [bool; 2],
    /// The guest of that generation went with its host.
    guest_went: bool,
    /// How far each generation that is over was continued by the next: to the counter taken over, or not at all
    /// if the guest was started anew. What it said up to there may still be on its way, and leave late.
    continued_to: BTreeMap<Generation, u64>,
    /// The generation in which the guest was last started anew.
    life_began: Generation,
    /// The furthest the world has seen this life of the guest come.
    newest_seen: Option<Frame>,
    frames_seen: u64,
    /// A guest that is begun from nothing may have a generation that was used before: there is no witness, and nobody
    /// is left who remembers.
    may_count_anew: bool,
    /// A person has decided where the guest runs.
    person_moved: bool,
}

impl World {
    pub(super) fn new(has_witness: bool) -> Self {
        Self { may_count_anew: !has_witness, ..Self::default() }
    }

    pub(super) fn frames_seen(&self) -> u64 {
        self.frames_seen
    }

    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::Began { host, generation } => {
                if self.may_count_anew && *generation <= self.newest {
                    self.newest = Generation(0);
                    self.continued_to.clear();
                }
                self.begins(*generation, *host, 0)?;
                self.life_began = *generation;
                self.newest_seen = None;
            }
            // A takeover that was slow: meanwhile a person gave the guest to the other host, in a later generation.
            Fact::Activated { generation, .. } if *generation < self.newest && self.person_moved => {}
            Fact::Person { moves: true, .. } => self.person_moved = true,
            Fact::Activated { host, generation, state } => {
                self.begins(*generation, *host, state.counter)?;
                if let Some(seen) = self.newest_seen.filter(|seen| seen.counter > state.counter) {
                    let counter = state.counter;
                    let what =
                        format!("generation {generation} goes on from {counter}, the world saw {seen:?}");
                    return Err((Invariant::Monotonicity, what));
                }
            }
            Fact::EngineBegan { host } => self.down[*host] = false,
            Fact::Crashed { host, took_guest } => {
                (self.crashed[*host], self.down[*host]) = (true, true);
                self.guest_went |= *took_guest && *host == self.begun_on;
            }
            Fact::Adopted { host, generation }
                if self.is_forgotten_by(*host) && *generation <= self.newest =>
            {
                self.continued_to.retain(|of, _| of < generation);
                self.is_begun(*generation, *host);
            }
            Fact::Adopted { host, generation } => {
                if *generation <= self.newest {
                    let newest = self.newest;
                    let what = format!("generation {generation} begins anew, {newest} was begun before");
                    return Err((Invariant::Authority, what));
                }
                // What its engine let out before is what the guest had said; it remembers all of it.
                self.continued_to.insert(self.newest, u64::MAX);
                self.is_begun(*generation, *host);
            }
            Fact::Left(frame) => return self.frame(frame),
            _ => {}
        }
        Ok(())
    }

    /// Whether a host may know nothing of the newest generation. Without a witness it is marked at its guest alone: that went
    /// with its host, or its engine died before it had marked it, and so before anything left.
    fn is_forgotten_by(&self, host: HostId) -> bool {
        let is_seen = self.newest_seen.is_some_and(|seen| seen.generation >= self.newest);
        let is_unmarked = self.crashed[self.begun_on] && !is_seen;
        self.may_count_anew && self.crashed[host] && (self.guest_went || is_unmarked)
    }

    fn is_begun(&mut self, generation: Generation, host: HostId) {
        (self.newest, self.begun_on) = (generation, host);
        // An engine that begins later has heard as little of it as one that has died since.
        (self.crashed, self.guest_went) = (self.down, false);
    }

    fn begins(&mut self, generation: Generation, host: HostId, counter: u64) -> Verdict {
        if generation <= self.newest {
            let what = format!("generation {generation} begins, but {} was begun before", self.newest);
            return Err((Invariant::Authority, what));
        }
        self.continued_to.insert(self.newest, counter);
        self.is_begun(generation, host);
        Ok(())
    }

    fn frame(&mut self, frame: &Frame) -> Verdict {
        self.frames_seen += 1;
        if let Some(counter) = self.continued_to.get(&frame.generation).filter(|to| frame.counter > **to) {
            let what = format!("{frame:?} left, but its generation was continued from {counter}");
            return Err((Invariant::Authority, what));
        }
        let further = self.newest_seen.is_none_or(|seen| seen.counter < frame.counter);
        if frame.generation >= self.life_began && further {
            self.newest_seen = Some(*frame);
        }
        Ok(())
    }
}
