//! What the copy has sent and nobody has seen: the secondary's host keeps it, and sends it when it takes over. TCP would send
//! it again by itself, but late.
//!
//! ```text
//!   released of the primary ══════════╗
//!   sent by the copy        ══════════╬═══════════╗
//!                                     └ is kept ──┘   and its newest acknowledgement, if that is newer
//! ```

use crate::skew::{OPTIONS_AT, add};
use crate::wire::{Bytes, view};
use std::collections::{HashMap, VecDeque};
use understudy_colo::packet::{Content, Flags, Flow, Packet, Segment, Side};

/// Frames of one connection beyond this many are not kept: its peer has stopped long before.
const FRAMES_MAX: usize = 4096;

/// What the copy has sent and nobody has seen.
#[derive(Default)]
pub(crate) struct Unreleased(HashMap<Flow, Connection>);

#[derive(Default)]
struct Connection {
    /// Up to where the primary's stream has left, and what it has acknowledged.
    left_end: Option<u32>,
    left_ack: Option<u32>,
    /// With the number after its last.
    frames: VecDeque<(u32, Bytes)>,
    /// The newest bare acknowledgement.
    ack: Option<(u32, Bytes)>,
    /// The copy's newest time stamp.
    clock: Option<u32>,
}

/// Serial numbers (RFC 1982).
fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

/// The later of two, if there are two.
fn later(known: Option<u32>, new: Option<u32>) -> Option<u32> {
    match (known, new) {
        (Some(known), Some(new)) if is_after(known, new) => Some(known),
        _ => new.or(known),
    }
}

/// How many numbers a segment takes.
fn span(segment: &Segment<'_>) -> u32 {
    let flag = |flag| u32::from(segment.flags.has(flag));
    segment.payload.len() as u32 + flag(Flags::SYN) + flag(Flags::FIN)
}

impl Unreleased {
    /// The copy's, in the primary's numbers.
    pub(crate) fn sent_by_copy(&mut self, frame: Bytes) {
        let Packet { flow, content: Content::Tcp(segment) } = Packet::parse(view(&frame), Side::Guest) else {
            return;
        };
        let (span, ack) = (span(&segment), segment.ack);
        let clock = segment.options.timestamps().map(|(stamps, _)| stamps.value);
        let end = segment.sequence.wrapping_add(span);
        let connection = self.0.entry(flow).or_default();
        if segment.flags.has(Flags::SYN) {
            *connection = Connection::default();
        }
        connection.clock = later(connection.clock, clock);
        if span == 0 {
            connection.ack = Some((ack, frame));
        } else if connection.left_end.is_none_or(|left| is_after(end, left)) {
            connection.frames.push_back((end, frame));
            if connection.frames.len() > FRAMES_MAX {
                connection.frames.pop_front();
            }
        }
    }

    /// A frame of the primary has left.
    pub(crate) fn left(&mut self, frame: &Bytes) {
        let Packet { flow, content: Content::Tcp(segment) } = Packet::parse(view(frame), Side::Guest) else {
            return;
        };
        let end = segment.sequence.wrapping_add(span(&segment));
        let connection = self.0.entry(flow).or_default();
        if segment.flags.has(Flags::SYN) {
            (connection.left_end, connection.left_ack) = (Some(end), Some(segment.ack));
        }
        connection.left_end = later(connection.left_end, Some(end));
        connection.left_ack = later(connection.left_ack, Some(segment.ack));
        let left = connection.left_end.unwrap_or(end);
        connection.frames.retain(|(end, _)| is_after(*end, left));
    }

    /// The guests are not the same any more on this flow.
    pub(crate) fn forget(&mut self, flow: &Flow) {
        self.0.remove(flow);
    }

    /// All of it, in the order of each connection, with the clock of what the copy sent last: the primary may have told a
    /// later one than a frame has that waited for long, and a stack takes no segment whose clock goes back.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for (_, connection) in self.0.drain() {
            let Connection { left_ack, frames: waiting, ack, clock, .. } = connection;
            let is_newer = |ack: u32| left_ack.is_none_or(|left| is_after(ack, left));
            let ack = ack.filter(|(ack, _)| is_newer(*ack));
            for (_, mut frame) in waiting.into_iter().chain(ack) {
                clock.iter().for_each(|clock| set_clock(&mut frame, *clock));
                frames.push(frame);
            }
        }
        frames
    }
}

fn set_clock(frame: &mut Bytes, clock: u32) {
    let Content::Tcp(segment) = Packet::parse(view(frame), Side::Guest).content else { return };
    if let Some((stamps, at)) = segment.options.timestamps() {
        add(frame, Side::Guest, &[(OPTIONS_AT + at, clock.wrapping_sub(stamps.value))]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built::{Built, is_sealed};

    fn data(sequence: u32, clock: u8, payload: &[u8]) -> Bytes {
        let stamps = [1, 1, 8, 10, 0, 0, 0, clock, 0, 0, 0, 0];
        Built { sequence, ack: 5, flags: 0x10, options: &stamps, payload }.bytes()
    }

    #[test]
    fn what_left_is_not_sent_again_and_the_rest_has_the_newest_clock() {
        let mut unreleased = Unreleased::default();
        // Over the wrap of sequence numbers.
        let [first, second, third] = [u32::MAX - 2, 1, 5].map(|sequence| data(sequence, 1, b"four"));
        for frame in [&first, &second, &third] {
            unreleased.sent_by_copy(frame.clone());
        }
        unreleased.sent_by_copy(data(9, 7, b""));
        // The primary's segments are others.
        unreleased.left(&data(u32::MAX - 2, 3, b"four+2"));
        let sent = unreleased.take();
        assert_eq!(sent, [data(1, 7, b"four"), data(5, 7, b"four")], "its ack has left with the primary's");
        assert!(sent.iter().all(is_sealed));
        assert!(unreleased.take().is_empty());
    }

    #[test]
    fn a_newer_acknowledgement_is_sent_last() {
        let mut unreleased = Unreleased::default();
        let bare = |ack| Built { sequence: 9, ack, flags: 0x10, options: &[], payload: b"" }.bytes();
        unreleased.left(&bare(100));
        unreleased.sent_by_copy(bare(150));
        unreleased.sent_by_copy(bare(160));
        assert_eq!(unreleased.take(), [bare(160)]);
    }
}
