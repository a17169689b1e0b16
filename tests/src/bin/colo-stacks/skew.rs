//! Numbers of a TCP stack, shifted: namespaces of one machine have one clock and one secret, so that two stacks in them would
//! choose nearly the same initial sequence numbers and time stamps. Behind a skew they differ as those of two hosts do, and
//! sequence numbers wrap where it is wished.
//!
//! ```text
//!   stack ── sequence + s, TSval + t ──►  world
//!         ◄─ ack − s, SACK − s, TSecr − t ─
//! ```
//!
//! Neither the stack nor the world notices.

use crate::wire::{Bytes, view};
use std::collections::HashMap;
use understudy_colo::packet::{Content, Flags, Flow, Packet, Segment, Side};
use understudy_netbuf::kernel::Tap;

/// Where options begin in a segment.
pub(crate) const OPTIONS_AT: usize = 20;
const SEQUENCE_AT: usize = 4;
const ACK_AT: usize = 8;
const CHECKSUM_AT: usize = 16;
const SACK: u8 = 5;

/// How far the sequence numbers of a new connection are shifted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shift {
    /// By as much as those of all others.
    By(u32),
    /// So that they wrap before this many bytes were sent.
    WrapWithin(u32),
}

/// A skew between one stack and the world.
pub(crate) struct Skew {
    shift: Shift,
    timestamp: u32,
    /// Whether the guest's side is the stack's.
    side: Side,
    sequences: HashMap<Flow, u32>,
}

/// Where a number is in a segment, and what is added to it.
pub(crate) type Change = (usize, u32);

impl Skew {
    /// `side` is whose stack it is.
    pub(crate) fn new(shift: Shift, timestamp: u32, side: Side) -> Self {
        Self { shift, timestamp, side, sequences: HashMap::new() }
    }

    /// What the stack sent.
    pub(crate) fn outgoing(&mut self, bytes: &mut Bytes) {
        let Packet { flow, content: Content::Tcp(segment) } = Packet::parse(view(bytes), self.side) else {
            return;
        };
        if segment.flags.has(Flags::SYN) {
            let by = self.shift_of(segment.sequence, flow);
            self.sequences.insert(flow, by);
        }
        let Some(by) = self.sequences.get(&flow) else { return };
        let mut changes = vec![(SEQUENCE_AT, *by)];
        if let Some((_, at)) = segment.options.timestamps() {
            changes.push((OPTIONS_AT + at, self.timestamp));
        }
        add(bytes, self.side, &changes);
    }

    /// What the world sent.
    pub(crate) fn incoming(&self, bytes: &mut Bytes) {
        let other = if self.side == Side::Guest { Side::World } else { Side::Guest };
        let Packet { flow, content: Content::Tcp(segment) } = Packet::parse(view(bytes), other) else {
            return;
        };
        let Some(by) = self.sequences.get(&flow).filter(|_| segment.flags.has(Flags::ACK)) else { return };
        let changes = acknowledgements(&segment, by.wrapping_neg(), self.timestamp.wrapping_neg());
        add(bytes, other, &changes);
    }

    fn shift_of(&self, initial: u32, flow: Flow) -> u32 {
        match self.shift {
            Shift::By(constant) => constant,
            Shift::WrapWithin(bytes) => {
                let ports = u32::from(flow.world_port).wrapping_mul(0x9E37_79B9) ^ u32::from(flow.guest_port);
                (ports % bytes.max(1)).wrapping_neg().wrapping_sub(initial)
            }
        }
    }
}

fn acknowledgements(segment: &Segment<'_>, sequence: u32, timestamp: u32) -> Vec<Change> {
    let mut changes = vec![(ACK_AT, sequence)];
    if let Some((_, at)) = segment.options.timestamps() {
        changes.push((OPTIONS_AT + at + 4, timestamp));
    }
    for one in segment.options.iter().filter(|one| one.kind == SACK) {
        changes.extend((0..one.value.len() / 4).map(|edge| (OPTIONS_AT + one.at + edge * 4, sequence)));
    }
    changes
}

/// Adds to numbers of a TCP segment that `side` sent. Places are counted from the segment's first byte.
pub(crate) fn add(bytes: &mut Bytes, side: Side, changes: &[Change]) {
    let frame = view(bytes);
    let Content::Tcp(segment) = Packet::parse(frame, side).content else { return };
    let (tcp_at, is_partial) = (segment.at + Tap::HEADER_BYTES, frame.offload.is_checksum_partial);
    apply(&mut bytes[tcp_at..], is_partial, changes);
}

fn apply(tcp: &mut [u8], is_partial: bool, changes: &[Change]) {
    let word = |bytes: &[u8], at: usize| u32::from(bytes[at]) << 8 | u32::from(bytes[at + 1]);
    // RFC 1624: the sum without the old words and with the new ones, in one's complement.
    let mut sum = !word(tcp, CHECKSUM_AT) & 0xffff;
    for (at, add) in changes {
        let field = *tcp[*at..].first_chunk::<4>().expect("the parser saw it");
        let new = u32::from_be_bytes(field).wrapping_add(*add).to_be_bytes();
        for half in [0, 2] {
            // A number at an odd place goes into the sum with its bytes the other way around.
            let pair = |four: [u8; 4]| match at % 2 {
                0 => word(&four, half),
                _ => word(&[four[half + 1], four[half]], 0),
            };
            sum += (!pair(field) & 0xffff) + pair(new);
        }
        tcp[*at..*at + 4].copy_from_slice(&new);
    }
    // A partial checksum has none of these numbers in it.
    if !is_partial {
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        tcp[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&(!sum as u16).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built::{Built, is_sealed};

    fn segment(bytes: &Bytes) -> Segment<'_> {
        match Packet::parse(view(bytes), Side::Guest).content {
            Content::Tcp(segment) => segment,
            Content::Datagram(_) => panic!("it is TCP"),
        }
    }

    #[test]
    fn a_stack_hears_its_own_numbers_and_the_world_sees_others() {
        let (sequence, clock) = (0xffff_fff0, 0x1234_5678);
        // Time stamps at an odd place.
        let stamps = [1, 8, 10, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 9, 1];
        for shift in [Shift::By(0xdead_beef), Shift::By(0), Shift::WrapWithin(1000)] {
            let mut guest = Skew::new(shift, 77, Side::Guest);
            let mut syn = Built { sequence, ack: 5, flags: 0x12, options: &stamps, payload: &[] }.bytes();
            guest.outgoing(&mut syn);
            assert!(is_sealed(&syn));
            let seen = segment(&syn);
            assert_eq!((seen.ack, seen.options.timestamps().unwrap().0.value), (5, clock + 77));
            if matches!(shift, Shift::WrapWithin(_)) {
                assert!(seen.sequence.wrapping_neg() < 1000, "{}", seen.sequence);
            }
            // The world answers: it is a guest's frame from the other side of a skew whose stack is the world.
            let (ack, echo) = (seen.sequence.wrapping_add(1), (clock + 77_u32).to_be_bytes());
            let sack = [ack.to_be_bytes(), ack.wrapping_add(9).to_be_bytes()].concat();
            let options = [&[1, 1, 8, 10, 0, 0, 0, 1][..], &echo, &[1, 1, 5, 10], &sack].concat();
            let answer = Built { sequence: 5, ack, flags: 0x10, options: &options, payload: b"odd" };
            let mut world = Skew { side: Side::World, ..guest };
            let flow = Packet::parse(view(&answer.bytes()), Side::Guest).flow;
            let by = *world.sequences.values().next().unwrap();
            world.sequences.insert(flow, by);
            let mut answer = answer.bytes();
            world.incoming(&mut answer);
            assert!(is_sealed(&answer));
            let heard = segment(&answer);
            assert_eq!(heard.ack, sequence.wrapping_add(1));
            assert_eq!(heard.options.timestamps().unwrap().0.echo, clock);
            let sacked = heard.options.iter().find(|one| one.kind == SACK).unwrap().value;
            let edges = [sequence.wrapping_add(1), sequence.wrapping_add(10)].map(u32::to_be_bytes).concat();
            assert_eq!(sacked, edges);
        }
    }
}
