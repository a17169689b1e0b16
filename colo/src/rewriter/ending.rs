//! When a connection of the copy is over, so that its numbers may be forgotten once it has been silent for a while.
//!
//! ```text
//!   world's FIN, acked by the copy  ┐
//!   copy's FIN                      ┴─► over ─► silent for `linger` ─► forgotten
//!   copy's RST                      ──► over      (last acks and repeated FINs are still rewritten)
//!   world's RST, at the number that the copy expects ──► over
//! ```
//!
//! A segment that anybody could have sent must not end a connection: a forged RST would take its numbers away. So the
//! world's word counts only where the copy agrees.

use crate::packet::{Flags, Segment};
use crate::serial::Number;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ending {
    /// What the copy expects next of the world: by its acks, and by what it was given.
    copy_ack: Option<Number>,
    world_end: Option<Number>,
    /// The ack that the world's FIN waits for.
    world_fin: Option<Number>,
    is_world_done: bool,
    is_copy_done: bool,
    is_reset: bool,
}

impl Ending {
    pub(super) fn is_over(&self) -> bool {
        self.is_reset || (self.is_world_done && self.is_copy_done)
    }

    pub(super) fn input(&mut self, segment: &Segment<'_>) {
        if segment.flags.has(Flags::RST) {
            self.is_reset |= [self.copy_ack, self.world_end].contains(&Some(Number(segment.sequence)));
            return;
        }
        let end = Number(segment.sequence).plus(segment.sequence_span());
        self.world_end = Some(end.or_later(self.world_end.unwrap_or(end)));
        if segment.flags.has(Flags::FIN) {
            self.world_fin = Some(end);
        }
    }

    pub(super) fn output(&mut self, segment: &Segment<'_>) {
        self.is_reset |= segment.flags.has(Flags::RST);
        self.is_copy_done |= segment.flags.has(Flags::FIN);
        if segment.flags.has(Flags::ACK) {
            let ack = Number(segment.ack);
            self.copy_ack = Some(ack.or_later(self.copy_ack.unwrap_or(ack)));
        }
        let is_acked = |fin: Number| self.copy_ack.is_some_and(|ack| !fin.is_past(ack));
        self.is_world_done |= self.world_fin.is_some_and(is_acked);
    }
}
