//! The outside world: it sees frames, and remembers how far the guest had come by each of them, and what each said. It judges I2 and I4 by
//! frames, not by intentions: whoever continues the guest must know everything that the world has seen.
//!
//! What a guest was before each of its states is known from its steps. A state that no step led to, as of an image that lacks
//! something, has no past that could be compared.

use super::super::HostId;
use super::super::facts::Fact;
use super::super::frame::Frame;
use super::{Invariant, Verdict};
use std::collections::{BTreeMap, HashMap};
use understudy_checkpoint::Generation;

#[derive(Debug, Default)]
pub(super) struct World {
    newest: Generation,
    /// The host where that generation began, and the hosts whose engines have died since.
    begun_on: HostId,
    crashed: [bool; 2],
    /// Hosts without an engine.
    down: [bool; 2],
    /// Whether the guest of that generation was lost with its host.
    guest_went: bool,
    /// For each generation that is over, the counter from which the next one continued; none if the guest was started
    /// anew. Frames up to that counter may still be in transit, and leave late.
    continued_to: BTreeMap<Generation, u64>,
    /// The generation in which the guest was last started anew.
    life_began: Generation,
    /// The newest frame that the world has seen from this life of the guest.
    newest_seen: Option<Frame>,
    /// What the world has seen in this life of the guest: at which counter, and what it said.
    seen: BTreeMap<u64, u64>,
    /// What was before each state, in short.
    before: HashMap<u64, u64>,
    /// What the guest that goes on was at each counter, up to where it was taken over.
    past: BTreeMap<u64, u64>,
    /// Words are not compared any more: the dirty log has lost something, so that an image may be nobody's past, or a person has
    /// had an older guest go on.
    is_inexact: bool,
    frames_seen: u64,
    /// A guest that begins from nothing may get a generation that was used before: there is no witness, and no host
    /// remembers it.
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
                (self.seen, self.past) = Default::default();
            }
            Fact::Stepped { step, .. } => _ = self.before.insert(step.to, step.from),
            // The takeover was slow: meanwhile a person gave the guest to the other host, in a later generation.
            Fact::Activated { generation, .. } if *generation < self.newest && self.person_moved => {}
            Fact::Person { moves: true, .. } => (self.person_moved, self.is_inexact) = (true, true),
            Fact::BitsLost => self.is_inexact = true,
            Fact::Activated { host, generation, state } => {
                self.begins(*generation, *host, state.counter)?;
                if let Some(seen) = self.newest_seen.filter(|seen| seen.counter > state.counter) {
                    let counter = state.counter;
                    let what =
                        format!("generation {generation} goes on from {counter}, the world saw {seen:?}");
                    return Err((Invariant::Monotonicity, what));
                }
                self.past = self.past_of(state.counter, state.digest());
                let differs =
                    |(counter, says): &(&u64, &u64)| self.past.get(counter).is_some_and(|said| said != *says);
                if let Some((counter, _)) = self.seen.iter().find(differs).filter(|_| !self.is_inexact) {
                    let what = format!(
                        "generation {generation} goes on, and has not sent what the world saw at {counter}"
                    );
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
                // The guest remembers everything that its earlier engine let out.
                self.continued_to.insert(self.newest, u64::MAX);
                self.is_begun(*generation, *host);
            }
            Fact::Left(frame) => return self.frame(frame),
            _ => {}
        }
        Ok(())
    }

    /// What a guest was before it was this, as far as that is known.
    fn past_of(&self, counter: u64, digest: u64) -> BTreeMap<u64, u64> {
        let before = std::iter::successors(Some(digest), |digest| self.before.get(digest).copied());
        (0..=counter).rev().zip(before).collect()
    }

    /// Whether all hosts may be ignorant of the newest generation. Without a witness only its guest is marked with it.
    /// That guest was lost with its host, or its engine died before marking it, and so before anything left.
    fn is_forgotten_by(&self, host: HostId) -> bool {
        let is_seen = self.newest_seen.is_some_and(|seen| seen.generation >= self.newest);
        let is_unmarked = self.crashed[self.begun_on] && !is_seen;
        self.may_count_anew && self.crashed[host] && (self.guest_went || is_unmarked)
    }

    fn is_begun(&mut self, generation: Generation, host: HostId) {
        (self.newest, self.begun_on) = (generation, host);
        // An engine that begins later knows as little of it as one that has died since.
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
        if !self.is_inexact
            && (self.life_began..self.newest).contains(&frame.generation)
            && self.past.get(&frame.counter).is_some_and(|said| *said != frame.says)
        {
            let what = format!("{frame:?} left, and the guest that goes on has sent something else");
            return Err((Invariant::Authority, what));
        }
        if !self.is_inexact
            && frame.generation >= self.life_began
            && self.seen.insert(frame.counter, frame.says).is_some_and(|seen| seen != frame.says)
        {
            return Err((Invariant::Authority, format!("{frame:?} left, and was something else before")));
        }
        let further = self.newest_seen.is_none_or(|seen| seen.counter < frame.counter);
        if frame.generation >= self.life_began && further {
            self.newest_seen = Some(*frame);
        }
        Ok(())
    }
}
