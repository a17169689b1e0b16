//! What is changed in one segment: the copy's numbers become those the world knows, or the other way.
//!
//! ```text
//!   world → copy   ack, SACK blocks += shift          TSecr += shift of the clock, but never a time that the copy
//!                                                     has not told, nor one from before it sent again what is acked
//!   copy → world   sequence number  −= shift          TSval −= shift of the clock, but never back
//! ```
//!
//! Time stamps that are only nearly right are refused: Linux drops an ACK of a handshake whose TSecr it never sent, and
//! any segment whose TSval goes back (PAWS). But both guests may have sent their SYN-ACK more than once, the clocks of two
//! hosts drift, and the clock of a copy stood still from the cut of its base until it ran; hence both limits.
//!
//! At a takeover the shift of the clock moves on by `AHEAD`. The primary's clock may have been ahead of the copy's: by what the
//! copy's answer came later than the primary's, by the time between cut and start of its base, by drift. What the primary
//! told last is not known here: echoes of the world tell of it, but late. So the copy's clock moves by what it was seen to be
//! behind, and by a time that is longer than echo and mirror are under way. A clock that leaps forward is refused by nobody, and
//! the way back is exact on both sides of the leap:
//!
//! ```text
//!   world  ─────── told' ┊              ┊ told' + ahead ───────►     echoes before here: as before the takeover
//!   copy   ──────── told ┴──────────────┴ told ────────────────►
//! ```
//!
//! Left alone: sequence numbers of the world and acks of the copy (they count the world's bytes), windows, payload.

use crate::checksum::Header;
use crate::packet::{Flags, Options};
use crate::serial::Number;

/// By how much the copy's numbers are ahead of those that the world knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shift {
    /// Of sequence numbers.
    pub sequence: u32,
    /// Of time stamps.
    pub timestamp: u32,
}

/// Time stamps of one connection that went by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    /// The first TSval of the copy, by its own clock, while that is not long ago.
    first: Option<Number>,
    /// Its latest.
    told: Option<Number>,
    /// The latest that the world has of the guest, whether from the primary or from the copy.
    known: Option<Number>,
    /// By how much the copy's was behind that, at most.
    lag: u32,
    leap: Option<Leap>,
    /// The next echo is no earlier time of the copy than this.
    pub(super) echo_min: Option<Number>,
}

/// What a takeover did to a clock.
#[derive(Clone, Copy, Debug)]
struct Leap {
    /// The copy's clock then; `None`: it has told no time since.
    at: Option<Number>,
    by: u32,
}

/// A time that is longer ago is too near to one that is yet to come.
const FIRST_MAX: i32 = 1 << 30;
/// A clock that would go back further than this was not drifting.
const BACK_MAX: i32 = 1 << 24;
/// Four seconds of a clock of 1 kHz, the fastest that RFC 7323, section 5.4, allows.
const AHEAD: u32 = 4096;

impl Stamps {
    /// The copy's first.
    pub(super) fn from(told: Option<u32>) -> Self {
        let told = told.map(Number);
        Self { first: told, told, ..Self::default() }
    }

    /// The copy is set anew, with another clock; the world's knowledge stays.
    pub(super) fn rebase(&mut self) {
        *self = Self { known: self.known, ..Self::default() };
    }

    /// The copy takes over: its clock moves to where the world cannot have seen a later one.
    pub(super) fn leap(&mut self, shift: &mut Shift) {
        let newest = self.told.map(|told| told.plus(shift.timestamp.wrapping_neg()));
        let behind = newest.zip(self.known).map_or(0, |(newest, known)| known.since(newest));
        let behind = if behind < BACK_MAX { behind.max(0) as u32 } else { 0 };
        let by = self.lag.max(behind) + AHEAD;
        shift.timestamp = shift.timestamp.wrapping_sub(by);
        self.leap = Some(Leap { at: self.told, by });
        self.known = newest.map(|newest| newest.plus(by)).or(self.known);
        self.echo_min = None;
    }

    /// What the copy told earlier and the world has not seen is told now: no time that is older than what it has seen.
    pub(super) fn bring_forward(&self, stamp: u32) -> u32 {
        let stamp = Number(stamp);
        let is_back = |known: &Number| (1..BACK_MAX).contains(&known.since(stamp));
        self.known.filter(is_back).unwrap_or(stamp).0
    }
}

impl Shift {
    /// A segment of the world, on its way to the copy.
    pub(super) fn into_copy(self, header: &mut Header<'_>, flags: Flags, stamps: &mut Stamps) {
        if !flags.has(Flags::ACK) {
            return;
        }
        if self.sequence != 0 {
            header.add_to_ack(self.sequence);
        }
        let mut from = 0;
        while let Some((kind, value)) = header.next_option(from) {
            from = value.end;
            if kind == Options::SELECTIVE_ACK && self.sequence != 0 {
                for edge in value.step_by(4).take_while(|edge| edge + 4 <= from) {
                    header.map_u32(edge, |edge| edge.wrapping_add(self.sequence));
                }
            } else if kind == Options::TIMESTAMPS && value.len() == 8 {
                header.map_u32(value.start + 4, |echo| self.echo(echo, stamps));
            }
        }
    }

    fn echo(self, echo: u32, stamps: &mut Stamps) -> u32 {
        // 0 says that there is nothing to echo.
        if echo == 0 {
            return 0;
        }
        let echo = Number(echo);
        stamps.known = Some(stamps.known.unwrap_or(echo).or_later(echo));
        let echo = echo.plus(self.timestamp);
        // A time that was told before the takeover.
        let is_former = |leap: &Leap| leap.at.is_none_or(|at| at.is_past(echo));
        let echo = echo.plus(stamps.leap.filter(is_former).map_or(0, |leap| leap.by));
        let echo = stamps.echo_min.take().unwrap_or(echo).or_later(echo);
        let echo = stamps.first.unwrap_or(echo).or_later(echo);
        stamps.told.unwrap_or(echo).or_earlier(echo).0
    }

    /// A segment of the copy, on its way to the world.
    pub(super) fn out_of_copy(self, header: &mut Header<'_>, flags: Flags, stamps: &mut Stamps) {
        // The answer to a segment without an ack has number 0 of nobody's count (RFC 9293, section 3.10.7.1).
        let is_uncounted = flags.has(Flags::RST) && flags.has(Flags::ACK) && header.sequence() == 0;
        if self.sequence != 0 && !is_uncounted {
            header.add_to_sequence(self.sequence.wrapping_neg());
        }
        let mut from = 0;
        while let Some((kind, value)) = header.next_option(from) {
            from = value.end;
            if kind == Options::TIMESTAMPS && value.len() == 8 {
                header.map_u32(value.start, |stamp| self.stamp(stamp, stamps));
            }
        }
    }

    fn stamp(self, stamp: u32, stamps: &mut Stamps) -> u32 {
        let stamp = Number(stamp);
        let told = stamps.told.unwrap_or(stamp).or_later(stamp);
        stamps.told = Some(told);
        stamps.first = stamps.first.filter(|first| (0..FIRST_MAX).contains(&told.since(*first)));
        if let Some(leap) = &mut stamps.leap {
            let at = *leap.at.get_or_insert(told);
            stamps.leap = stamps.leap.filter(|_| (0..FIRST_MAX).contains(&told.since(at)));
        }
        let stamp = stamp.plus(self.timestamp.wrapping_neg());
        let known = Number(stamps.bring_forward(stamp.0));
        stamps.lag = stamps.lag.max(known.since(stamp) as u32);
        stamps.known = Some(known);
        known.0
    }
}
