//! What leaves of a TCP connection while a copy is live: some of a frame before the rest, and what must not leave at all.

use super::*;
use crate::guest::{HeldOutput, LoopWaker, OutputMaker};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use understudy_link::PacketList;
use understudy_netbuf::HeldId;

const AS: &[u8] = &[b'a'; 100];

fn segment(sequence: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let mut bytes = Vec::new();
    builder.tcp(80, 5000, sequence, 5000).ack(ack).write(&mut bytes, payload).unwrap();
    bytes
}

/// A guest whose output is held in epoch 1, and a copy of base 0 that is live.
struct Pair {
    output: HeldOutput,
    comparing: Comparing,
    told: u64,
}

impl Pair {
    fn live() -> Self {
        let limits = understudy_netbuf::Limits::default();
        let output = OutputMaker { limits, waker: LoopWaker::silent() }.frames(Epoch(1));
        let mut comparing =
            Comparing::new(Generation(1), output.compared().unwrap().next_id(), CopyLimits::default());
        comparing.comparer.cut(Epoch(0));
        comparing.comparer.live(Time(1), Epoch(0));
        Self { output, comparing, told: 0 }
    }

    fn guest(&mut self, frame: &[u8]) -> &mut Self {
        understudy_lab::Port::transmit(&self.output, frame);
        self.comparing.look(self.output.compared().unwrap(), Time(1));
        self
    }

    fn copy(&mut self, frame: &[u8]) -> &mut Self {
        let mut list = PacketList::default();
        list.push(frame).unwrap();
        self.comparing.copy_sent(Epoch(0), self.told, &list, Time(1));
        self.told += 1;
        self
    }

    /// Sequence number, ack and payload of what leaves.
    fn leaves(&mut self) -> Vec<(u32, u32, usize)> {
        self.comparing.todo.let_out(self.output.compared().unwrap(), "g1");
        let mut frames = Vec::new();
        self.output.take_into(&mut frames);
        frames.iter().map(|frame| numbers(frame)).collect()
    }
}

fn numbers(frame: &[u8]) -> (u32, u32, usize) {
    match SlicedPacket::from_ethernet(frame).unwrap().transport.unwrap() {
        TransportSlice::Tcp(tcp) => (tcp.sequence_number(), tcp.acknowledgment_number(), tcp.payload().len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_copy_sends_again_leaves_as_a_part_and_the_frame_leaves_whole_later() {
    let mut pair = Pair::live();
    let some = segment(1, 1, &AS[..40]);
    pair.guest(&segment(1, 1, AS)).copy(&some);
    assert_eq!(pair.leaves(), []);
    // Nobody has acknowledged it, and the copy may have no room for more under way.
    assert_eq!(pair.copy(&some).leaves(), [(1, 1, 40)]);
    assert_eq!(pair.copy(&segment(41, 1, &AS[40..])).leaves(), [(1, 1, 100)]);
    pair.output.cut(Epoch(1)).unwrap();
    pair.output.release(Epoch(1));
    assert_eq!(pair.leaves(), [], "each left once");
}

#[test]
fn an_acknowledgement_that_waited_does_not_leave_by_its_ack_after_a_later_frame() {
    let mut pair = Pair::live();
    pair.guest(&segment(1, 1, AS)).copy(&segment(1, 1, AS));
    assert_eq!(pair.leaves(), [(1, 1, 100)]);
    pair.guest(&segment(101, 9_000, &[])).copy(&segment(101, 5_000, AS)).guest(&segment(101, 9_000, AS));
    assert_eq!(pair.leaves(), [(101, 5_000, 100)]);
    pair.output.cut(Epoch(1)).unwrap();
    pair.output.release(Epoch(1));
    assert_eq!(pair.leaves(), [], "its clock would be older than what the world has seen");
}

#[test]
fn the_smaller_of_both_hosts_limits_counts() {
    let own = CopyLimits::default();
    let mut comparing = Comparing::new(Generation(1), HeldId(0), own);
    assert!(!comparing.limit(own.input, own.sent.frames_max), "they are the same");
    let less = mirror::Limits { frames_max: 8, ..own.input };
    assert!(comparing.limit(less, own.sent.frames_max));
    assert!(comparing.input.send(0, 6, 600));
    assert!(!comparing.input.send(6, 1, 100), "a quarter is left for what is on its way");
}
