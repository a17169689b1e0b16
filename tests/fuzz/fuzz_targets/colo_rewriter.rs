//! A rewriter among guests, a world and a link that say anything in any order: no panic, no memory beyond its bounds, and no
//! frame longer or shorter than it was.
//!
//! The input is a list of steps: what happens in one byte, then three for a segment (port, flags, numbers), or a frame
//! or a list of carried connections as it is, of a length in one byte.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::packet::{Card, Content, Frame, Offload, Packet, Side};
use understudy_colo::rewriter::{Limits, Output, Rewriter, Verdict, carried};
use understudy_colo::{Handshake, Opening};

const LIMITS: Limits = Limits {
    connections_max: 5,
    frames_max: 6,
    bytes_max: 300,
    wait_max: Span::from_ms(5),
    linger: Span::from_ms(50),
};
const CARD: Card = Card(0);
const WHOLE: Offload = Offload { is_checksum_partial: false, segment_bytes: 0 };

fuzz_target!(|input: &[u8]| {
    let mut rewriter = Rewriter::new(Epoch(8), LIMITS);
    let (mut now, mut rest) = (Time(0), input);
    while let Some((step, after)) = rest.split_first() {
        rest = after;
        let side = if step & 8 != 0 { Side::Guest } else { Side::World };
        match step & 7 {
            0..=3 => {
                let Some((segment, after)) = rest.split_first_chunk::<3>() else { return };
                rest = after;
                let frame = tcp(side, *segment);
                if step & 3 == 3 {
                    tell(&mut rewriter, now, &frame, Epoch(u64::from(step >> 4)));
                } else {
                    give(&mut rewriter, now, side, frame);
                }
            }
            4 => {
                let Some((length, after)) = rest.split_first() else { return };
                let (frame, after) = after.split_at(after.len().min(usize::from(*length)));
                rest = after;
                if step & 16 != 0 {
                    carry(&mut rewriter, now, frame);
                } else {
                    give(&mut rewriter, now, side, frame.to_vec());
                }
            }
            5 => now = now + Span::from_ms(u64::from(step >> 4)),
            6 if side == Side::Guest => rewriter.halt(),
            6 => {
                let mut bytes = Vec::new();
                carried::write(&rewriter.offsets(), &mut bytes);
                let carried = carried::read(&bytes).expect("what was written");
                assert_eq!(carried, rewriter.offsets());
                let carried = if step & 16 != 0 { carried } else { vec![] };
                rewriter.set_base(now, Epoch(u64::from(step >> 4)), carried).expect("no more than it had");
            }
            _ => rewriter.takeover(now),
        }
        for _ in 0..20 {
            if rewriter.next_timeout().is_some_and(|due| due <= now) {
                rewriter.handle_timeout(now);
            }
            drain(&mut rewriter);
        }
        assert!(rewriter.next_timeout().is_none_or(|due| due > now), "a timeout that does not pass");
        assert!(rewriter.load().0 <= LIMITS.connections_max && rewriter.load().1 <= LIMITS.frames_max);
    }
});

/// The copy is set to an image that is said to carry these connections: whatever a peer says.
fn carry(rewriter: &mut Rewriter, now: Time, bytes: &[u8]) {
    let Ok(carried) = carried::read(bytes) else { return };
    let mut again = Vec::new();
    carried::write(&carried, &mut again);
    assert_eq!(again, bytes);
    // There may be no room for all of them.
    let _ = rewriter.set_base(now, Epoch(1), carried);
}

fn give(rewriter: &mut Rewriter, now: Time, side: Side, mut frame: Vec<u8>) {
    let before = frame.clone();
    let verdict = match side {
        Side::World => rewriter.input(now, CARD, WHOLE, &mut frame),
        Side::Guest => rewriter.output(now, CARD, WHOLE, &mut frame),
    };
    let is_tcp = |bytes| {
        let packet = Packet::parse(Frame { card: CARD, offload: WHOLE, bytes }, side);
        matches!(packet.content, Content::Tcp(_))
    };
    assert_eq!(is_tcp(&before), is_tcp(&frame));
    assert!(is_tcp(&before) || (verdict == Verdict::Pass && frame == before));
}

fn tell(rewriter: &mut Rewriter, now: Time, frame: &[u8], epoch: Epoch) {
    let packet = Packet::parse(Frame { card: CARD, offload: WHOLE, bytes: frame }, Side::Guest);
    if let Content::Tcp(segment) = packet.content
        && let Some(opening) = Opening::of(&segment)
    {
        let _ = rewriter.handshake(now, &Handshake { epoch, flow: packet.flow, opening });
    }
}

fn drain(rewriter: &mut Rewriter) {
    let mut bytes = 0;
    while let Some(output) = rewriter.poll_output() {
        if let Output::Deliver(waited) = output {
            bytes += waited.bytes.len();
            rewriter.recycle(waited.bytes);
        }
    }
    assert!(bytes <= LIMITS.bytes_max);
}

/// A segment over IPv4 with time stamps; its checksum may be anything.
fn tcp(side: Side, [port, flags, numbers]: [u8; 3]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    let (guest, world) = ([10, 0, 0, 2], [10, 0, 0, 1]);
    let (source, destination) = if side == Side::Guest { (guest, world) } else { (world, guest) };
    let (from, to) = if side == Side::Guest { (80, port & 7) } else { (port & 7, 80) };
    frame.extend([8, 0, 0x45, 0, 0, 52, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    let (sequence, ack) = (numbers & 0xf, numbers >> 4);
    frame.extend([0, from, 0, to, 0, 0, 0, sequence, 0, 0, 0, ack, 0x80, flags, 1, 0, 0, 0, 0, 0]);
    frame.extend([1, 1, 8, 10, 0, 0, 0, sequence, 0, 0, 0, ack]);
    frame
}
