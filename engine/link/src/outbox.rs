//! Decides what is sent next. Pure: it holds frames and hands out bytes; it has no socket.
//!
//! ```text
//!   push ─► link      │ hello, goodbye, witness      │ ──┐ Control: always first
//!           offered 1 │ begin, batch, batch, end     │ ──┤ Pages
//!           offered 2 │ heartbeat                    │ ──┤ Control: overtakes the long heads of other lanes
//!           packets 2 │ input, input                 │ ──┤ Packets: before pages
//!           held 1    │ ack                          │ ──┤
//!                                                         │ in a class the lane that has had the least
//!                                                         └─► numbered, sealed ─► batch for one writev
//! ```
//!
//! The class of a lane is that of its head: [`Class`].
//!
//! Within a lane, frames are always sent in the order in which they were pushed. A lane is bounded: producers of long
//! frames ask [`has_room`](Outbox::has_room) and wait. A push beyond the hard limit ends the connection, since the
//! other end does not read what it must.

use super::encode::Encoded;
use super::lane::Lane;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Above this, a lane has no room for long frames: some hundred milliseconds of a gigabit link.
pub const LANE_BYTES_MAX: usize = 8 << 20;

/// Above this the connection ends. The difference has room for one long frame and for the sessions' messages.
pub const LANE_BYTES_HARD_MAX: usize = LANE_BYTES_MAX + (8 << 20);

/// The most bytes that are sealed ahead of the socket, apart from the rest of the last frame: a new small frame has to
/// wait for these.
const BATCH_BYTES: usize = 256 << 10;

/// Frames in one writev, at most.
const BATCH_FRAMES: usize = 64;

/// The other end does not read what it must; the connection has to be closed.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("The peer takes in too little: more than {LANE_BYTES_HARD_MAX} bytes wait for it")]
pub struct Backlog;

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Encoded>,
    queued_bytes: usize,
    /// Bytes sent by this lane, raised to the others' count after it was idle: an idle lane does not save up turns.
    share_bytes: u64,
    sent_bytes: u64,
}

/// The frames that one connection has to send.
#[derive(Debug, Default)]
pub struct Outbox {
    lanes: BTreeMap<Lane, Queue>,
    /// The `share_bytes` of the lane served last.
    share_clock: u64,
    batch: VecDeque<Vec<u8>>,
    batch_bytes: usize,
    /// How many bytes of the batch's first frame were written.
    written_bytes: usize,
    sequence: u32,
}

impl Outbox {
    /// Puts a frame at the end of its lane.
    pub fn push(&mut self, frame: Encoded) -> Result<(), Backlog> {
        let share_clock = self.share_clock;
        let queue = self.lanes.entry(frame.lane()).or_default();
        if queue.queued_bytes + frame.len_bytes() > LANE_BYTES_HARD_MAX {
            return Err(Backlog);
        }
        if queue.frames.is_empty() {
            queue.share_bytes = queue.share_bytes.max(share_clock);
        }
        queue.queued_bytes += frame.len_bytes();
        queue.frames.push_back(frame);
        Ok(())
    }

    /// Whether a lane takes another long frame.
    pub fn has_room(&self, lane: Lane) -> bool {
        self.queued_bytes(lane) < LANE_BYTES_MAX
    }

    /// The bytes that wait in a lane.
    pub fn queued_bytes(&self, lane: Lane) -> usize {
        self.lanes.get(&lane).map_or(0, |queue| queue.queued_bytes)
    }

    /// The bytes of a lane that were sealed since the connection began.
    pub fn sent_bytes(&self, lane: Lane) -> u64 {
        self.lanes.get(&lane).map_or(0, |queue| queue.sent_bytes)
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.lanes.values().all(|queue| queue.frames.is_empty())
    }

    /// What to write next, sealed, in pieces for one vectored write; none if there is nothing to write.
    pub fn pieces(&mut self) -> impl Iterator<Item = &[u8]> {
        self.fill_batch();
        let skip = self.written_bytes;
        self.batch
            .iter()
            .enumerate()
            .map(move |(index, frame)| if index == 0 { &frame[skip..] } else { &frame[..] })
    }

    /// `count` bytes of the pieces were written.
    pub fn written(&mut self, count: usize) {
        self.written_bytes += count;
        self.batch_bytes -= count;
        while let Some(first) = self.batch.front() {
            if self.written_bytes < first.len() {
                return;
            }
            self.written_bytes -= first.len();
            self.batch.pop_front();
        }
        assert_eq!(self.written_bytes, 0, "more bytes were written than there were");
    }

    fn fill_batch(&mut self) {
        while self.batch_bytes < BATCH_BYTES && self.batch.len() < BATCH_FRAMES {
            let Some(lane) = self.next_lane() else {
                return;
            };
            let queue = self.lanes.get_mut(&lane).expect("a lane just chosen");
            let frame = queue.frames.pop_front().expect("a chosen lane has a frame");
            let bytes = frame.len_bytes();
            queue.queued_bytes -= bytes;
            self.share_clock = queue.share_bytes;
            queue.share_bytes += bytes as u64;
            queue.sent_bytes += bytes as u64;
            self.batch_bytes += bytes;
            self.batch.push_back(frame.seal(self.sequence));
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    fn next_lane(&self) -> Option<Lane> {
        let waiting = self.lanes.iter().filter_map(|(lane, queue)| {
            let head = queue.frames.front()?;
            // The link's own lane goes first in its class.
            Some((head.class(), *lane != Lane::Link, queue.share_bytes, *lane))
        });
        waiting.min().map(|(_, _, _, lane)| lane)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{GuestFrame, GuestId};
    use super::super::lane::Class;
    use super::super::{Decoder, LinkFrame, PacketFrame, PacketList, encode};
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;
    use understudy_checkpoint::{Epoch, Generation};
    use understudy_session::{ToPrimary, ToSecondary};

    fn guest(number: u32) -> GuestId {
        GuestId::new(number).unwrap()
    }

    fn batch(number: u32, bytes: usize) -> Encoded {
        encode(&GuestFrame::PageBatch(&vec![number as u8; bytes]).of(guest(number))).unwrap()
    }

    fn ack(number: u32, epoch: u64) -> Encoded {
        let message = ToPrimary::Ack { generation: Generation(1), epoch: Epoch(epoch) };
        encode(&GuestFrame::ToPrimary(message).of(guest(number))).unwrap()
    }

    fn output(number: u32, bytes: usize) -> Encoded {
        let mut list = PacketList::default();
        list.push(&vec![number as u8; bytes]).unwrap();
        let packets = list.packets().unwrap();
        let output = PacketFrame::Output { generation: Generation(1), base: Epoch(1), first: 0, packets };
        encode(&GuestFrame::Packets(output).of(guest(number))).unwrap()
    }

    fn switchover(number: u32, epoch: u64) -> Encoded {
        let message = ToSecondary::Switchover { generation: Generation(1), epoch: Epoch(epoch) };
        encode(&GuestFrame::ToSecondary(message).of(guest(number))).unwrap()
    }

    /// Writes everything in steps of at most `step` bytes and returns what was written.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        loop {
            let all: Vec<u8> = outbox.pieces().flat_map(|piece| piece.to_vec()).collect();
            let count = all.len().min(step);
            if count == 0 {
                return wire;
            }
            wire.extend_from_slice(&all[..count]);
            outbox.written(count);
        }
    }

    fn frames(wire: &[u8]) -> Vec<(Lane, usize)> {
        let (mut decoder, mut seen, mut rest) = (Decoder::new(), Vec::new(), wire);
        decoder.allow_long_frames();
        while !rest.is_empty() {
            let space = decoder.space().unwrap();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            decoder.filled(count);
            rest = &rest[count..];
            while let Some(frame) = decoder.next_frame().unwrap() {
                seen.push((Lane::of(&frame), encode(&frame).unwrap().len_bytes()));
            }
        }
        seen
    }

    #[test]
    fn an_ack_overtakes_the_pages_of_other_guests_and_nothing_of_its_own() {
        let mut outbox = Outbox::default();
        for _ in 0..20 {
            outbox.push(batch(1, 100_000)).unwrap();
        }
        outbox.push(switchover(1, 9)).unwrap();
        outbox.push(ack(1, 5)).unwrap();
        outbox.push(ack(2, 5)).unwrap();
        outbox.push(encode(&LinkFrame::Bye.into()).unwrap()).unwrap();
        let order: Vec<_> =
            frames(&drain(&mut outbox, usize::MAX)).into_iter().map(|(lane, _)| lane).collect();
        assert_eq!(order[..3], [Lane::Link, Lane::Held(guest(1)), Lane::Held(guest(2))]);
        assert_eq!(order[3..], [Lane::Offered(guest(1)); 21]);
    }

    #[test]
    fn packets_go_before_pages_and_after_what_sessions_say() {
        let mut outbox = Outbox::default();
        outbox.push(batch(1, 100_000)).unwrap();
        outbox.push(output(2, 50_000)).unwrap();
        outbox.push(ack(3, 5)).unwrap();
        outbox.push(batch(4, 3_000)).unwrap();
        let order: Vec<_> =
            frames(&drain(&mut outbox, usize::MAX)).into_iter().map(|(lane, _)| lane).collect();
        assert_eq!(order[2..], [Lane::HeldPackets(guest(2)), Lane::Offered(guest(1))]);
        assert!(order[..2].contains(&Lane::Held(guest(3))) && order[..2].contains(&Lane::Offered(guest(4))));
    }

    #[test]
    fn a_packet_waits_neither_for_the_pages_of_its_own_guest_nor_for_its_turn_behind_small_frames() {
        let mut outbox = Outbox::default();
        outbox.push(batch(2, 100_000)).unwrap();
        outbox.push(output(2, 60)).unwrap();
        outbox.push(ack(2, 5)).unwrap();
        let order: Vec<_> =
            frames(&drain(&mut outbox, usize::MAX)).into_iter().map(|(lane, _)| lane).collect();
        let of = guest(2);
        assert_eq!(order, [Lane::Held(of), Lane::HeldPackets(of), Lane::Offered(of)]);
        assert_eq!(
            output(2, 60).class(),
            Class::Packets,
            "an ack is not kept waiting by packets, however small"
        );
    }

    #[test]
    fn a_busy_guest_leaves_others_their_share() {
        let mut outbox = Outbox::default();
        for _ in 0..30 {
            outbox.push(batch(1, 100_000)).unwrap();
        }
        let mut wire = drain_some(&mut outbox, 1_000_000);
        for _ in 0..10 {
            outbox.push(batch(2, 100_000)).unwrap();
        }
        wire.extend(drain(&mut outbox, usize::MAX));
        // Ten frames were written, and at most four more sealed, before guest 2 had anything to send.
        let shared = &frames(&wire)[14..30];
        let second = shared.iter().filter(|(lane, _)| *lane == Lane::Offered(guest(2))).count();
        assert!((7..=9).contains(&second), "guest 2 had {second} of {}", shared.len());
    }

    fn drain_some(outbox: &mut Outbox, bytes: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        while wire.len() < bytes {
            let mut next: Vec<u8> = outbox.pieces().flat_map(|piece| piece.to_vec()).collect();
            next.truncate(bytes - wire.len());
            outbox.written(next.len());
            wire.extend(next);
        }
        wire
    }

    #[test]
    fn a_lane_that_is_not_taken_in_asks_to_wait_and_then_ends_the_connection() {
        let mut outbox = Outbox::default();
        let lane = Lane::Offered(guest(1));
        while outbox.has_room(lane) {
            outbox.push(batch(1, 1 << 20)).unwrap();
        }
        assert!(outbox.has_room(Lane::Offered(guest(2))), "another guest does not wait");
        outbox.push(switchover(1, 1)).unwrap();
        let pushed = (0..100).find(|_| outbox.push(batch(1, 1 << 20)).is_err());
        assert!(pushed.is_some(), "a bound is a bound");
    }

    proptest! {
        /// Whatever is pushed, and however little the socket takes, each lane's frames leave in order and once.
        #[test]
        fn each_lane_keeps_its_order(
            pushes in proptest::collection::vec((1u32..4, 1usize..9_000, any::<bool>()), 1..60),
            step in 1usize..20_000,
        ) {
            let mut outbox = Outbox::default();
            let mut pushed = Vec::new();
            for (number, bytes, small) in pushes {
                let frame = if small { ack(number, 1) } else { batch(number, bytes) };
                pushed.push((frame.lane(), frame.len_bytes()));
                outbox.push(frame).unwrap();
            }
            let seen = frames(&drain(&mut outbox, step.max(50)));
            prop_assert!(outbox.is_empty());
            pushed.sort_by_key(|(lane, _)| *lane);
            let mut sorted = seen;
            sorted.sort_by_key(|(lane, _)| *lane);
            prop_assert_eq!(sorted, pushed);
        }
    }
}
