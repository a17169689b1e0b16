//! Two TCP streams, in the primary's numbers: equal up to a number `matched`, whatever their segments.
//!
//! ```text
//!                             matched
//!   guest   ═══════════════════╪═══════╗ waiting: f7, f8      what lies before has been compared, or left by an ack
//!   copy    ═══════════════════╡                              what only one has sent waits for the other
//!
//!   numbers of a stream:  SYN │ byte │ byte │ … │ FIN        each takes one; a reset stands between two
//! ```
//!
//! * A frame leaves once all its numbers are matched and the copy has received what the frame acknowledges (`acks`).
//! * What only repeats needs no counterpart.
//! * The guest's SYN begins the streams anew. A flow whose SYN was not seen begins where the first frame does; both guests
//!   are equal before it.

mod acks;
mod advance;

use super::Number;
use super::output::Why;
use crate::packet::{Flags, Options, Segment};

pub(super) use acks::Verdict;
pub(super) use advance::{Arriving, Side};

/// Flags that a SYN negotiates explicit congestion notification with (RFC 3168).
const CONGESTION_FLAGS: u8 = 0xc0;

/// A segment as a stretch of its stream.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Stretch {
    /// The number of its SYN, or of its first byte.
    pub(super) begin: Number,
    /// Of payload.
    bytes: u32,
    ack: Number,
    window: u16,
    urgent: u16,
    flags: u8,
    /// The sender's time stamp.
    clock: Option<Number>,
    /// Of a SYN's options, which are kept before its payload.
    option_bytes: u8,
    is_multipath: bool,
    /// A bare segment of the guest that asks for an answer, or is one: it says nothing that the guest has not said before.
    is_repeat: bool,
}

impl Stretch {
    /// A segment, and those of its bytes that are compared.
    pub(super) fn of<'a>(segment: &Segment<'_>, frame: &'a [u8]) -> (Self, &'a [u8]) {
        let is_syn = segment.flags.has(Flags::SYN);
        let option_bytes = if is_syn { segment.options.0.len() } else { 0 };
        let payload_at = segment.at + 20 + segment.options.0.len();
        let stretch = Self {
            begin: Number(segment.sequence),
            bytes: segment.payload.len() as u32,
            ack: Number(segment.ack),
            window: segment.window,
            urgent: segment.urgent,
            flags: segment.flags.0,
            clock: None,
            option_bytes: option_bytes as u8,
            is_multipath: is_syn && segment.options.is_multipath(),
            is_repeat: false,
        };
        (stretch, &frame[payload_at - option_bytes..payload_at + segment.payload.len()])
    }

    /// The same, with the sender's time stamp.
    pub(super) fn at(self, clock: Option<Number>) -> Self {
        Self { clock, ..self }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn is_syn(self) -> bool {
        self.has(Flags::SYN)
    }

    pub(super) fn is_reset(self) -> bool {
        self.has(Flags::RST)
    }

    /// It takes no number and resets nothing.
    pub(super) fn is_bare(self) -> bool {
        self.bytes == 0 && self.flags & (Flags::SYN | Flags::FIN | Flags::RST) == 0
    }

    /// The number after its last.
    #[inline]
    pub(super) fn end(self) -> Number {
        self.begin.plus(self.bytes + u32::from(self.is_syn()) + u32::from(self.has(Flags::FIN)))
    }

    /// Whether a number of it comes next.
    #[inline]
    pub(super) fn covers(self, number: Number) -> bool {
        !self.is_reset() && !self.begin.is_past(number) && self.end().is_past(number)
    }

    /// Those of its bytes that lie in `other`, if no SYN and nothing urgent is among them: as a stretch, and as a place in the
    /// payload. Its end is not part of it.
    pub(super) fn part(self, other: Self, end: Number) -> Option<(Self, u32)> {
        let begin = self.begin.or_later(other.begin);
        let end = self.begin.plus(self.bytes).or_earlier(other.end()).or_earlier(end);
        let is_plain = self.flags & (Flags::SYN | Flags::RST | Flags::URG) == 0;
        let flags = self.flags & !Flags::FIN;
        (is_plain && end.is_past(begin)).then(|| {
            let bytes = end.since(begin) as u32;
            (Self { begin, bytes, flags, ..self }, begin.since(self.begin) as u32)
        })
    }

    /// How many bytes of payload.
    pub(super) fn payload_bytes(self) -> u32 {
        self.bytes
    }

    /// What it acknowledges; of a reset nobody needs to know.
    pub(super) fn ack(self) -> Option<Number> {
        (self.has(Flags::ACK) && !self.is_reset()).then_some(self.ack)
    }

    fn urgent(self) -> Option<Number> {
        self.has(Flags::URG).then(|| self.begin.plus(u32::from(self.urgent)))
    }
}

/// What a segment promises to whom it is sent: received up to `ack`, room up to `edge`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Offer {
    ack: Number,
    /// Right edge of the window; only with a known scale.
    edge: Number,
    /// As the header has it.
    window: u16,
}

/// How two guests differ, and what is told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Difference(pub(super) Why);

/// The two streams of a flow.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Stream {
    /// Counts the connections of the flow.
    pub(super) connection: u32,
    /// The number of the guest's SYN.
    pub(super) opened: Option<Number>,
    /// Up to where both are equal; `None` until the guest's stream is known.
    pub(super) matched: Option<Number>,
    /// By how many bits the guests' windows are shifted, if that is known.
    scale: Option<u8>,
    /// What the guest said, whether that left or not.
    said: Option<Offer>,
    /// What the guest said in frames that left, not changed.
    own: Option<Offer>,
    /// What left.
    left: Option<Offer>,
    /// Which of them came last.
    left_order: u64,
    /// The latest time stamp in them.
    pub(super) left_clock: Option<Number>,
    /// What the copy said.
    copy: Option<Offer>,
    /// The guest sent its last.
    pub(super) is_closed: bool,
    /// A reset waits.
    has_resets: bool,
    /// The guest's has left.
    is_reset: bool,
}

impl Stream {
    /// The guest opens: numbers of both streams begin anew.
    pub(super) fn open(&mut self, stretch: Stretch, options: Options<'_>) {
        let scale = match options.window_scale() {
            None => Some(0),
            // Whether the other end shifts windows as well, its SYN-ACK tells, which passes elsewhere.
            Some(_) if !stretch.has(Flags::ACK) => None,
            bits => bits,
        };
        *self = Self {
            connection: self.connection.wrapping_add(1),
            opened: Some(stretch.begin),
            matched: Some(stretch.begin),
            scale,
            ..Self::default()
        };
    }

    /// A copy was set to what the guest was: it has what the guest had.
    pub(super) fn rebase(&mut self) {
        self.copy = self.own;
    }

    /// A frame of the guest left as it was.
    pub(super) fn left_by_ack(&mut self, stretch: Stretch) {
        let offer = self.offer(stretch);
        self.left = newer(self.left, offer);
        self.note_clock(stretch);
        self.skip(stretch);
    }

    /// A frame of the guest is not compared.
    pub(super) fn skip(&mut self, stretch: Stretch) {
        self.own = newer(self.own, self.offer(stretch));
        if !stretch.is_bare() && !stretch.is_reset() {
            self.skip_to(Some(stretch.end()));
        }
        self.note_end(stretch);
    }

    /// What is before `end` is not compared any more.
    pub(super) fn skip_to(&mut self, end: Option<Number>) {
        self.matched = match (self.matched, end) {
            (Some(matched), Some(end)) => Some(matched.or_later(end)),
            (matched, end) => matched.or(end),
        };
    }

    pub(super) fn note_end(&mut self, stretch: Stretch) {
        self.is_closed |= stretch.has(Flags::FIN | Flags::RST);
        self.is_reset |= stretch.is_reset();
    }

    fn note_clock(&mut self, stretch: Stretch) {
        let later = |clock: Number| self.left_clock.map_or(clock, |left| left.or_later(clock));
        self.left_clock = stretch.clock.map(later).or(self.left_clock);
    }

    /// Of a frame that nobody keeps.
    pub(super) fn merge_lost(&mut self, end: Option<Number>, own: Option<Offer>) {
        self.skip_to(end);
        self.own = newer(self.own, own);
        self.left = newer(self.left, own);
    }
}

/// What the later of two offers says.
#[inline]
pub(super) fn newer(one: Option<Offer>, other: Option<Offer>) -> Option<Offer> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    let window = match other.ack.since(one.ack) {
        0 => one.window.max(other.window),
        1.. => other.window,
        _ => one.window,
    };
    Some(Offer { ack: one.ack.or_later(other.ack), edge: one.edge.or_later(other.edge), window })
}
