//! What a copy sends again, and the acknowledgement that this brings.
//!
//! A sender whose segment is acknowledged with an echo from before it sent that again concludes that the first was not lost, and
//! that nothing is to be sent again (RFC 3522). Of a copy that is wrong: its first may be lost on the way to the comparer, and then
//! it is its second that let the guest's leave, with the guest's clock. It would wait for its timer for each segment.
//!
//! ```text
//!   guest   data, clock 10 ── waits ───────────────────────────► leaves, clock 10 ──► world
//!   copy    data, lost      … data again, clock 30 ──► matches ──┘                     │
//!           echo 30 ◄────────────────────────────────────────────────── ack, echo 10 ◄─┘
//! ```

use crate::packet::{Flags, Segment};
use crate::serial::Number;

/// By the copy's numbers and its clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Repeats {
    /// The end of what was sent.
    end: Option<Number>,
    repeat: Option<Repeat>,
}

/// The first segment that was sent again, of those up to `until`.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    begin: Number,
    until: Number,
    clock: Number,
}

impl Repeats {
    /// The copy sends this.
    pub(super) fn output(&mut self, segment: &Segment<'_>) {
        let span = segment.sequence_span();
        if span == 0 {
            return;
        }
        let begin = Number(segment.sequence);
        let end = begin.plus(span);
        let sent = self.end.filter(|sent| !end.is_past(*sent));
        self.end = Some(self.end.map_or(end, |sent| sent.or_later(end)));
        // A SYN is answered, whoever's it was, before anything else is sent.
        if segment.flags.has(Flags::SYN) {
            return;
        }
        let is_new = self.repeat.is_none_or(|repeat| end.is_past(repeat.until));
        if let (Some(until), true, Some((stamps, _))) = (sent, is_new, segment.options.timestamps()) {
            self.repeat = Some(Repeat { begin, until, clock: Number(stamps.value) });
        }
    }

    /// The copy is acknowledged up to here: the time of which the echo is not earlier.
    pub(super) fn echo_min(&mut self, ack: Number) -> Option<Number> {
        let repeat = self.repeat.filter(|repeat| ack.is_past(repeat.begin))?;
        if !repeat.until.is_past(ack) {
            self.repeat = None;
        }
        Some(repeat.clock)
    }
}
