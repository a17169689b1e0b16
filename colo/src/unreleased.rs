//! What the copy has sent and the world has not seen: bounded, numbered, and kept until the primary says that it has left. When
//! the copy becomes the guest, this leaves first. TCP would send it again by itself, but late; nobody else would.
//!
//! ```text
//!   has left    ══════════╗
//!   was sent    ══════════╬═══════════════╗
//!                         └──── kept ─────┘      told to the primary: what is kept, and nothing else
//! ```
//!
//! What has no room is not told either, so that a match is always of something that is kept.
//!
//! Not here: rewriting (a frame is kept in the primary's numbers), and what matches.

use crate::checksum::Header;
use crate::packet::{Card, Content, Flow, Frame, Offload, Packet, Segment, Side};
use crate::serial::Number;
use std::collections::{BTreeMap, VecDeque};
use thiserror::Error;

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Frames.
    pub frames_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frames_max: 1 << 16, bytes_max: 16 << 20 }
    }
}

/// There is no room: the frame is neither kept nor to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "what the copy has sent and nobody has seen has no more room: what it sends meanwhile matches nothing, and a checkpoint follows"
)]
pub struct Full;

/// A frame that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The card that it was sent by.
    pub card: Card,
    /// What is left to do.
    pub offload: Offload,
    /// From the destination's address on.
    pub bytes: Vec<u8>,
}

/// One copy's, since it was set.
#[derive(Debug)]
pub struct Unreleased {
    limits: Limits,
    /// The number of the one in front.
    first: u64,
    frames: VecDeque<Kept>,
    bytes: usize,
}

impl Unreleased {
    /// Nothing was sent.
    pub fn new(limits: Limits) -> Self {
        Self { limits, first: 0, frames: VecDeque::new(), bytes: 0 }
    }

    /// How many frames are kept.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The copy is set anew: numbers begin at 0.
    pub fn clear(&mut self) {
        (self.first, self.bytes) = (0, 0);
        self.frames.clear();
    }

    /// The copy has sent this. Its number is the one before [`next`](Self::next).
    pub fn push(&mut self, frame: Frame<'_>) -> Result<(), Full> {
        let bytes = self.bytes + frame.bytes.len();
        if self.frames.len() >= self.limits.frames_max || bytes > self.limits.bytes_max {
            return Err(Full);
        }
        let Frame { card, offload, bytes: sent } = frame;
        self.frames.push_back(Kept { card, offload, bytes: sent.to_vec() });
        self.bytes = bytes;
        Ok(())
    }

    /// The number of the next frame.
    pub fn next(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// Those from this number on, with their numbers; what has left is passed over.
    pub fn from(&self, number: u64) -> impl Iterator<Item = (u64, &Kept)> {
        let skipped = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let skipped = skipped.min(self.frames.len());
        (self.first + skipped as u64..).zip(self.frames.range(skipped..))
    }

    /// Those up to this number have left, in these words or in the primary's.
    pub fn released(&mut self, through: u64) {
        while self.first <= through
            && let Some(left) = self.frames.pop_front()
        {
            self.first += 1;
            self.bytes -= left.bytes.len();
        }
    }

    /// All of it, in order, each connection with the newest clock that the copy has told: the primary may have told a later one
    /// than a frame has that waited, and a stack takes no segment whose clock goes back.
    pub fn take(&mut self) -> Vec<Kept> {
        let mut clocks = BTreeMap::<Flow, Number>::new();
        for kept in &self.frames {
            if let (flow, Some((clock, _))) = clock_of(kept) {
                let newest = clocks.entry(flow).or_insert(clock);
                *newest = newest.or_later(clock);
            }
        }
        self.first = self.next();
        self.bytes = 0;
        let mut frames: Vec<Kept> = self.frames.drain(..).collect();
        for kept in &mut frames {
            if let (flow, Some((_, place))) = clock_of(kept)
                && let Some(clock) = clocks.get(&flow)
            {
                let mut header = Header::new(&mut kept.bytes[place.header], kept.offload);
                header.map_u32(place.at, |_| clock.0);
                header.finish();
            }
        }
        frames
    }

    /// Frames that are kept, and their bytes.
    pub fn load(&self) -> (usize, usize) {
        (self.frames.len(), self.bytes)
    }
}

/// Where a segment has its clock.
struct Place {
    header: core::ops::Range<usize>,
    at: usize,
}

fn clock_of(kept: &Kept) -> (Flow, Option<(Number, Place)>) {
    let Kept { card, offload, bytes } = kept;
    let packet = Packet::parse(Frame { card: *card, offload: *offload, bytes }, Side::Guest);
    let clock = match &packet.content {
        Content::Tcp(segment) if !segment.options.is_signed() => clock_in(segment),
        _ => None,
    };
    (packet.flow, clock)
}

fn clock_in(segment: &Segment<'_>) -> Option<(Number, Place)> {
    let (stamps, at) = segment.options.timestamps()?;
    let header = segment.header();
    // Options follow the fixed part of the header.
    let fixed = header.len() - segment.options.0.len();
    Some((Number(stamps.value), Place { header, at: fixed + at }))
}
