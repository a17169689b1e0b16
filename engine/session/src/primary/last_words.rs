//! The last output of a guest that ended by itself, where there is no witness. It leaves once the peer confirms that it
//! holds no copy any more, or when a person says so. Until then a person may force the peer to take over, which goes on
//! from the last ack: clients must not have seen more than that.
//!
//! ```text
//!   the guest ends ─► Farewell, Offer ─► Stand: nothing ─► the last output leaves ─► Ended
//!                        └─ no link, no answer, it takes over ── hold_max ─► dropped ─┘
//! ```
//!
//! Not here: with a witness, whose record says that no copy may take over.

use super::super::{Copy, Standing, Time, ToSecondary};
use super::machine::Primary;
use super::phase::{Peer, Phase};
use super::{Event, GiveUp, Output};

impl Primary {
    /// Whether the guest has ended and only its peer knows whether the copy runs.
    pub(super) fn asks_for_last_words(&self) -> bool {
        let has_ended = matches!(self.phase, Phase::MarkingStale { why: GiveUp::GuestGone, .. });
        has_ended && !self.config.has_witness && !self.register.is_final(&Copy::Stale)
    }

    /// The guest has just ended: tells the peer, and asks it anew what it holds.
    pub(super) fn ask_for_last_words(&mut self) {
        if self.asks_for_last_words() {
            self.peer = Peer::Unasked;
        }
    }

    /// Ends the copy at the peer, before asking what the peer holds.
    pub(super) fn end_copy(&mut self) {
        if self.asks_for_last_words() {
            self.send(ToSecondary::Farewell { generation: self.generation });
        }
    }

    /// The peer has said what it holds.
    pub(super) fn hear_of_last_words(&mut self, standing: Standing) {
        if self.asks_for_last_words() && standing == Standing::Nothing {
            self.register.decide_alone(Copy::Stale);
        }
    }

    /// When to stop waiting for the peer.
    pub(super) fn last_words_end_at(&self) -> Option<Time> {
        match self.phase {
            Phase::MarkingStale { since, .. } if self.asks_for_last_words() => {
                Some(since + self.config.hold_max)
            }
            _ => None,
        }
    }

    /// Ends the session of a guest whose peer did not answer in time; held output is dropped.
    pub(super) fn drop_last_words(&mut self) {
        if self.last_words_end_at().is_some_and(|at| at <= self.now) {
            self.out.push(Output::Report(Event::LastOutputDropped));
            self.phase = Phase::Ended;
        }
    }
}
