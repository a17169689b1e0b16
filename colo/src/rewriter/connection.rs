//! One connection as the copy has it: whether its numbers are known, and what may pass.
//!
//! ```text
//!                 ┌────────────────────────────────────────────────────────────────┐
//!                 │                     SYN of the world, or new numbers of a guest │
//!                 ▼                                                                │
//!   SYN ─► Opening: waits for ── Handshake and the copy's SYN, SYN-ACK ──► Open ◄──┴─► Reopening: as Open was,
//!                                  (in either order)                        ▲           until both guests' new
//!                                                                           └────────── numbers are there
//! ```
//!
//! What opens a connection anew is what a guest sends, never the world's SYN alone: that may be an old one, or forged.

use super::ending::Ending;
use super::repeats::Repeats;
use super::shift::{Shift, Stamps};
use crate::handshake::Opening;
use crate::packet::{Flags, Segment};
use crate::serial::Number;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;

/// What the primary's guest did, and in which epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) epoch: Epoch,
    pub(super) opening: Opening,
}

/// What is known of a connection that is being opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Half {
    /// The world's SYN went in, so that what it sends next may belong to an answer that is not known yet.
    pub(super) is_asked: bool,
    pub(super) primary: Option<Told>,
    pub(super) copy: Option<Opening>,
}

impl Half {
    /// The copy's SYN, or the same again, which has a later time.
    fn copy_opens(&mut self, opening: Opening) {
        if self.copy.is_none_or(|known| known.sequence != opening.sequence) {
            self.copy = Some(opening);
        }
    }

    /// Both guests answered the same SYN, or both opened.
    fn both(&self) -> Option<(Told, Opening)> {
        let (told, copy) = (self.primary?, self.copy?);
        (told.opening.answers == copy.answers).then_some((told, copy))
    }
}

/// The numbers of a connection whose SYNs are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Numbers {
    pub(super) shift: Shift,
    /// The sequence number of the copy's SYN; `None`: it was sent before anything was known here.
    pub(super) initial: Option<u32>,
    /// `None`: from before the base.
    pub(super) told: Option<Told>,
}

impl Numbers {
    fn between(told: Told, copy: Opening) -> Self {
        let timestamp = match (copy.timestamp, told.opening.timestamp) {
            (Some(copy), Some(primary)) => copy.wrapping_sub(primary),
            _ => 0,
        };
        let sequence = copy.sequence.wrapping_sub(told.opening.sequence);
        Self { shift: Shift { sequence, timestamp }, initial: Some(copy.sequence), told: Some(told) }
    }

    /// The copy was set to an image that contains the connection: it has the numbers of the primary's guest.
    fn of_image(told: Told) -> Self {
        Self { shift: Shift::default(), initial: Some(told.opening.sequence), told: Some(told) }
    }

    /// From before the base, and not shifted.
    pub(super) const PLAIN: Self =
        Self { shift: Shift { sequence: 0, timestamp: 0 }, initial: None, told: None };

    fn initial_of_world(&self) -> Option<u32> {
        self.initial.map(|initial| initial.wrapping_sub(self.shift.sequence))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Opening(Half),
    Open(Numbers),
    /// The former connection's numbers, and what is known of the next.
    Reopening(Numbers, Half),
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stage: Stage,
    pub(super) stamps: Stamps,
    pub(super) ending: Ending,
    repeats: Repeats,
    /// Frames that wait: of the world, of the copy.
    pub(super) waiting: [u32; 2],
    pub(super) seen: Time,
    /// Its place in the list of those that may be forgotten.
    pub(super) listed: Option<u64>,
}

/// What is to be done with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Rewrite(Shift),
    /// As it is: no connection with other numbers is meant.
    Pass,
    Wait,
}

/// What is to be done with what waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Nothing new.
    None,
    /// Numbers are in force that were not before.
    Resolved,
    /// The copy opened nothing: its numbers are the world's.
    Plain,
}

impl Connection {
    pub(super) fn new(stage: Stage, now: Time) -> Self {
        let (stamps, ending, repeats) = Default::default();
        Self { stage, stamps, ending, repeats, waiting: [0; 2], seen: now, listed: None }
    }

    /// The numbers in force.
    pub(super) fn numbers(&self) -> Option<Numbers> {
        match self.stage {
            Stage::Opening(_) => None,
            Stage::Open(numbers) | Stage::Reopening(numbers, _) => Some(numbers),
        }
    }

    /// Whether nothing more is expected of it but repetitions.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Open(_)) && self.ending.is_over() && self.waiting == [0; 2]
    }

    /// Whether a SYN of the world is all that there is: whoever answers it begins anew.
    pub(super) fn is_bare(&self) -> bool {
        matches!(self.stage, Stage::Opening(Half { primary: None, copy: None, .. })) && self.waiting == [0; 2]
    }

    /// Whether forgetting it changes nothing but the memory of half-open handshakes.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.stage, Stage::Open(numbers) if numbers.shift == Shift::default())
            && self.waiting == [0; 2]
    }

    fn open(&mut self, numbers: Numbers, copy: Option<Opening>) {
        self.stage = Stage::Open(numbers);
        self.stamps = Stamps::from(copy.and_then(|copy| copy.timestamp));
        (self.ending, self.repeats) = Default::default();
    }

    /// Whether numbers are in force now that were not before.
    fn learn(&mut self, change: impl FnOnce(&mut Half)) -> bool {
        let (former, mut half) = match self.stage {
            Stage::Opening(half) => (None, half),
            Stage::Open(numbers) => (Some(numbers), Half::default()),
            Stage::Reopening(numbers, half) => (Some(numbers), half),
        };
        change(&mut half);
        if let Some((told, copy)) = half.both() {
            self.open(Numbers::between(told, copy), Some(copy));
            return true;
        }
        self.stage = former.map_or(Stage::Opening(half), |numbers| Stage::Reopening(numbers, half));
        false
    }

    /// The primary's guest opened it. Whether numbers are in force now that were not before.
    pub(super) fn told(&mut self, told: Told, base: Epoch) -> bool {
        if self.numbers().is_some_and(|numbers| numbers.initial_of_world() == Some(told.opening.sequence)) {
            return false;
        }
        if told.epoch <= base {
            self.open(Numbers::of_image(told), None);
            return true;
        }
        self.learn(|half| half.primary = Some(told))
    }

    /// What to do with a segment of the world.
    pub(super) fn input(&mut self, segment: &Segment<'_>) -> Step {
        let flags = segment.flags;
        if flags.has(Flags::SYN) && !flags.has(Flags::ACK) {
            if let (Stage::Open(numbers), true) = (self.stage, self.ending.is_over()) {
                self.stage = Stage::Reopening(numbers, Half::default());
            }
            if let Stage::Opening(half) | Stage::Reopening(_, half) = &mut self.stage {
                half.is_asked = true;
            }
            return Step::Pass;
        }
        let is_shift_unknown = match self.stage {
            Stage::Opening(half) => half.is_asked || half.copy.is_some() || flags.has(Flags::SYN),
            Stage::Open(_) => false,
            Stage::Reopening(_, half) => half.is_asked && self.ending.is_over(),
        };
        // A segment without an ack has nothing to rewrite, but it does not overtake.
        match self.numbers() {
            _ if self.waiting[0] > 0 || (is_shift_unknown && flags.has(Flags::ACK)) => Step::Wait,
            Some(numbers) => {
                self.ending.input(segment);
                let ack = Number(segment.ack).plus(numbers.shift.sequence);
                self.stamps.echo_min = flags.has(Flags::ACK).then(|| self.repeats.echo_min(ack)).flatten();
                Step::Rewrite(numbers.shift)
            }
            None => Step::Pass,
        }
    }

    /// What to do with a segment of the world when no copy is compared any more.
    pub(super) fn owned_input(&mut self, segment: &Segment<'_>) -> Step {
        self.ending.input(segment);
        self.numbers().map_or(Step::Pass, |numbers| Step::Rewrite(numbers.shift))
    }

    /// What to do with a segment of the copy, and with what waits.
    pub(super) fn output(&mut self, segment: &Segment<'_>) -> (Step, Turn) {
        let mut turn = Turn::None;
        if let Some(opening) = Opening::of(segment)
            && self.numbers().is_none_or(|numbers| numbers.initial != Some(opening.sequence))
            && self.learn(|half| half.copy_opens(opening))
        {
            turn = Turn::Resolved;
        }
        let step = match self.stage {
            Stage::Opening(half) | Stage::Reopening(_, half) if half.copy.is_some() => Step::Wait,
            Stage::Open(numbers) => Step::Rewrite(numbers.shift),
            Stage::Reopening(numbers, half) => {
                // Any but the former's FIN again refuses the SYN: the former connection goes on.
                let repeats = segment.flags.has(Flags::SYN) || segment.flags.has(Flags::FIN);
                if half.primary.is_none() && !repeats {
                    self.stage = Stage::Open(numbers);
                    turn = Turn::Resolved;
                }
                Step::Rewrite(numbers.shift)
            }
            Stage::Opening(half) => {
                // It refused the SYN, or has a connection from before its base.
                if half.primary.is_none() {
                    turn = Turn::Plain;
                }
                Step::Pass
            }
        };
        if matches!(step, Step::Rewrite(_)) {
            self.ending.output(segment);
            self.repeats.output(segment);
        }
        (step, turn)
    }

    /// The copy is set to the image of `base`. `false`: nothing of it is known there.
    pub(super) fn rebase(&mut self, base: Epoch) -> bool {
        let (former, half) = match self.stage {
            Stage::Opening(half) => (None, half),
            // What was told after the cut holds again for the answer that the copy is about to give.
            Stage::Open(Numbers { told: Some(told), .. }) if told.epoch > base => {
                (None, Half { primary: Some(told), ..Half::default() })
            }
            Stage::Open(numbers) => (Some(numbers), Half::default()),
            Stage::Reopening(numbers, half) => (Some(numbers), half),
        };
        let in_image = |told: &Told| told.epoch <= base;
        let former = half.primary.filter(in_image).or(former.and_then(|numbers| numbers.told));
        let is_kept = |numbers: &Numbers| *numbers == Numbers::PLAIN;
        let former = former.filter(in_image).map(Numbers::of_image).or(self.numbers().filter(is_kept));
        let next = half.primary.filter(|told| !in_image(told));
        self.stage = match (former, next) {
            (None, None) => return false,
            // Without shift, and over: as good as unknown.
            (Some(_), None) if self.ending.is_over() => return false,
            (None, primary) => Stage::Opening(Half { primary, ..Half::default() }),
            (Some(numbers), None) => Stage::Open(numbers),
            (Some(numbers), primary) => Stage::Reopening(numbers, Half { primary, ..Half::default() }),
        };
        (self.ending, self.repeats, self.waiting) = Default::default();
        self.stamps.rebase();
        true
    }

    /// The primary itself rewrites it with these numbers, which the image has.
    pub(super) fn carry(&mut self, numbers: Numbers) {
        self.stage = match self.stage {
            Stage::Opening(half) | Stage::Reopening(_, half) => Stage::Reopening(numbers, half),
            Stage::Open(_) => Stage::Open(numbers),
        };
    }

    /// The copy's output goes out from now on, and nobody else's. `false`: nothing of it need be remembered.
    pub(super) fn take_over(&mut self) -> bool {
        let mut numbers = match self.stage {
            Stage::Open(numbers) | Stage::Reopening(numbers, Half { copy: None, .. }) => numbers,
            Stage::Opening(_) | Stage::Reopening(..) => return false,
        };
        self.stamps.leap(&mut numbers.shift);
        self.repeats = Repeats::default();
        self.stage = Stage::Open(numbers);
        true
    }
}
