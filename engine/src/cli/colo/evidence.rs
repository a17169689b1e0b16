//! The bytes around a place of a stream, as each guest sent them: kept of the last frames only.
//!
//! Not here: that they differ; the comparer says so.

use super::both::Host;
use super::capture::Captured;
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use understudy_colo::packet::{Content, Flags, Packet, Segment, Side};
use understudy_colo::{Card, Flow, Frame};

/// The most frames of both guests that are kept, and their bytes.
const FRAMES_MAX: usize = 16_384;
const BYTES_MAX: usize = 32 << 20;

/// Bytes that are shown before the place, and in all.
const BEFORE: usize = 16;
const SHOWN: usize = 48;

/// What one guest sent at a place.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    /// The frame's number in its capture.
    pub(super) frame: u64,
    /// Bytes from before the place on, in hexadecimal.
    pub(super) bytes: String,
    /// Where among them the place is.
    pub(super) place: usize,
}

/// The last frames of both guests, the secondary's in the primary's numbers.
#[derive(Default)]
pub(super) struct Evidence {
    frames: VecDeque<(Host, Captured)>,
    bytes: usize,
}

impl Evidence {
    pub(super) fn keep(&mut self, host: Host, frame: Captured) {
        self.bytes += frame.bytes.len();
        self.frames.push_back((host, frame));
        while self.frames.len() > FRAMES_MAX || self.bytes > BYTES_MAX {
            let Some((_, frame)) = self.frames.pop_front() else { break };
            self.bytes -= frame.bytes.len();
        }
    }

    /// The newest segment of `host` that has the number `at`, or an end or reset there.
    pub(super) fn at(&self, host: Host, flow: &Flow, at: u32) -> Option<Sent> {
        self.frames.iter().rev().filter(|(whose, _)| *whose == host).find_map(|(_, frame)| {
            let segment = segment_of(flow, &frame.bytes)?;
            let place = at.wrapping_sub(first_byte(&segment)) as usize;
            let is_here =
                place < segment.payload.len() || (place == segment.payload.len() && is_mark(&segment));
            is_here.then(|| Sent::around(frame.number, segment.payload, place))
        })
    }

    /// The newest frame of `host` in a flow, from the beginning of its content.
    pub(super) fn newest(&self, host: Host, flow: &Flow) -> Option<Sent> {
        self.frames.iter().rev().filter(|(whose, _)| *whose == host).find_map(|(_, frame)| {
            let packet = parse(&frame.bytes);
            let body = match packet.content {
                Content::Tcp(segment) => segment.payload,
                Content::Datagram(datagram) => datagram.body,
            };
            (packet.flow == *flow).then(|| Sent::around(frame.number, body, 0))
        })
    }
}

fn parse(frame: &[u8]) -> Packet<'_> {
    Packet::parse(Frame { card: Card(0), offload: Default::default(), bytes: frame }, Side::Guest)
}

fn segment_of<'a>(flow: &Flow, frame: &'a [u8]) -> Option<Segment<'a>> {
    let packet = parse(frame);
    match packet.content {
        Content::Tcp(segment) if packet.flow == *flow => Some(segment),
        Content::Tcp(_) | Content::Datagram(_) => None,
    }
}

/// A SYN takes the number before the first byte.
fn first_byte(segment: &Segment<'_>) -> u32 {
    segment.sequence.wrapping_add(u32::from(segment.flags.has(Flags::SYN)))
}

fn is_mark(segment: &Segment<'_>) -> bool {
    segment.flags.has(Flags::FIN) || segment.flags.has(Flags::RST) || segment.payload.is_empty()
}

impl Sent {
    fn around(frame: u64, payload: &[u8], place: usize) -> Self {
        let from = place.saturating_sub(BEFORE).min(payload.len());
        let to = (from + SHOWN).min(payload.len());
        Self {
            frame,
            bytes: payload[from..to].iter().map(|byte| format!("{byte:02x}")).collect(),
            place: place - from,
        }
    }
}

impl fmt::Display for Sent {
    /// Lines of sixteen bytes, in hexadecimal and as text; the place is in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<&str> = (0..self.bytes.len() / 2).map(|n| &self.bytes[2 * n..2 * n + 2]).collect();
        if bytes.is_empty() {
            return write!(f, "    no bytes");
        }
        for (line, sixteen) in bytes.chunks(16).enumerate() {
            let cells =
                sixteen.iter().enumerate().map(|(column, byte)| match line * 16 + column == self.place {
                    true => format!("[{byte}]"),
                    false => format!(" {byte} "),
                });
            let text = sixteen.iter().map(|byte| match u8::from_str_radix(byte, 16) {
                Ok(byte @ 0x20..0x7f) => char::from(byte),
                _ => '.',
            });
            let end = if (line + 1) * 16 < bytes.len() { "\n" } else { "" };
            write!(f, "   {:<64} {}{end}", cells.collect::<String>(), text.collect::<String>())?;
        }
        Ok(())
    }
}
