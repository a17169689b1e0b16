//! A copy that is set anew, and one that takes over.

use crate::bench::*;
use crate::support::*;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;
use understudy_colo::rewriter::{Carried, Full, Limits, Shift};

#[test]
fn established_before_the_base() {
    let mut bench = Bench::new();
    assert_eq!(segment(&bench.pass(world(ACK, 101, 1001))).ack, 1001);
    assert_eq!(segment(&bench.pass(guest(ACK, 1001, 101))).sequence, 1001);
    assert_eq!(segment(&bench.pass(guest(RST, 1001, 0))).sequence, 1001);
    // A forged SYN holds its input up only until the copy speaks.
    bench.pass(world(SYN, 5, 0));
    bench.wait(world(ACK, 101, 1001).payload(b"ask"));
    bench.pass(guest(ACK, 1001, 101));
    assert_eq!(segment(&bench.later()[0].1).ack, 1001);
    assert_eq!(segment(&bench.pass(world(ACK, 104, 1001))).ack, 1001);
}

#[test]
fn a_checkpoint_makes_the_numbers_the_primarys() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.rebase(Epoch(8), vec![]);
    assert_eq!(segment(&bench.pass(world(ACK, 101, 1001).port(1))).ack, 1001);
    assert_eq!(segment(&bench.pass(guest(ACK, 1001, 101).port(1))).sequence, 1001);
}

#[test]
fn a_checkpoint_in_the_middle_of_a_handshake() {
    // The primary answered in epoch 8, and 8 is the base: the copy has the primary's request.
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.tell(Epoch(8), &primary_syn_ack());
    bench.pass(copy_syn_ack());
    bench.rebase(Epoch(8), vec![]);
    assert_eq!(segment(&bench.pass(primary_syn_ack())).sequence, 1000, "repeated from the image");
    assert_eq!(segment(&bench.pass(client_ack())).ack, 1001);

    // Told late, when the base was set already.
    let mut bench = Bench::new();
    bench.rebase(Epoch(8), vec![]);
    bench.wait(primary_syn_ack());
    bench.tell(Epoch(8), &primary_syn_ack());
    assert_eq!(segment(&bench.later()[0].1).sequence, 1000);
    assert_eq!(segment(&bench.pass(client_ack())).ack, 1001);

    // The same, and the copy need not repeat what the image has sent.
    let mut bench = Bench::new();
    bench.rebase(Epoch(8), vec![]);
    bench.pass(syn());
    bench.wait(client_ack());
    bench.tell(Epoch(8), &primary_syn_ack());
    assert_eq!(segment(&bench.later()[0].1).ack, 1001);
}

#[test]
fn a_handshake_after_the_cut_still_counts() {
    for is_syn_after_the_cut in [true, false] {
        for former_copy_answered in [true, false] {
            let mut bench = Bench::new();
            bench.pass(syn());
            // The primary is in epoch 9 already, the copy about to be set to 8.
            bench.tell(Epoch(9), &primary_syn_ack());
            if former_copy_answered {
                bench.pass(guest(SYN | ACK, 6000, 101));
            }
            bench.rebase(Epoch(8), vec![]);
            if is_syn_after_the_cut {
                bench.pass(syn());
                bench.wait(client_ack());
            }
            assert_eq!(segment(&bench.pass(copy_syn_ack())).sequence, 1000);
            for (_, frame) in bench.later() {
                assert_eq!(segment(&frame).ack, 9001);
            }
            assert_eq!(segment(&bench.pass(client_ack())).ack, 9001);
        }
    }
}

#[test]
fn what_waits_is_forgotten_when_the_copy_is_set() {
    let mut bench = Bench::new();
    bench.pass(syn());
    bench.wait(client_ack());
    bench.wait(copy_syn_ack());
    bench.rebase(Epoch(8), vec![]);
    assert_eq!(bench.rewriter.load(), (0, 0));
    // A copy that is halted says nothing more, although its numbers become known.
    bench.pass(syn().port(2));
    bench.wait(copy_syn_ack().port(2));
    bench.rewriter.halt();
    bench.tell(Epoch(9), &primary_syn_ack().port(2));
    assert_eq!(bench.later().len(), 0);
    bench.rebase(Epoch(8), vec![]);
    bench.tell(Epoch(9), &primary_syn_ack());
    assert_eq!(bench.later().len(), 0, "input is given again, output is of a copy that is no more");
}

#[test]
fn a_takeover_keeps_what_is_shifted_and_lets_go_what_waits() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.pass(syn().port(2));
    bench.wait(copy_syn_ack().port(2));
    bench.wait(guest(ACK, 9001, 101).payload(b"greeting").port(2));
    bench.pass(syn().port(3));
    bench.tell(Epoch(8), &primary_syn_ack().port(3));
    bench.rewriter.takeover(bench.now);
    bench.poll();
    // Nobody was told of the primary's numbers, since its frame waited for this one.
    let sequences: Vec<_> = bench.later().iter().map(|(_, frame)| segment(frame).sequence).collect();
    assert_eq!(sequences, [9000, 9001]);
    assert_eq!(segment(&bench.pass(copy_syn_ack().port(3))).sequence, 9000);
    assert_eq!(segment(&bench.pass(world(ACK, 101, 9001).port(3))).ack, 9001);
    // New connections need nothing, the old one does.
    bench.pass(syn().port(4));
    assert_eq!(segment(&bench.pass(copy_syn_ack().port(4))).sequence, 9000);
    assert_eq!(segment(&bench.pass(world(ACK, 101, 1001).port(1))).ack, 9001);
    assert_eq!(bench.rewriter.load(), (1, 0));
    // Its port is used again.
    close(&mut bench);
    bench.pass(world(SYN, 60_000, 0).port(1));
    assert_eq!(segment(&bench.pass(guest(FIN | ACK, 9001, 102).port(1))).sequence, 1001);
    assert_eq!(segment(&bench.pass(guest(SYN | ACK, 8000, 60_001).port(1))).sequence, 8000);
    assert_eq!(segment(&bench.pass(world(ACK, 60_001, 8001).port(1))).ack, 8001);
    assert_eq!(bench.rewriter.load(), (0, 0));
}

#[test]
fn the_table_goes_with_the_next_copy() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.rewriter.takeover(bench.now);
    let carried = bench.rewriter.offsets();
    let timestamp = carried[0].shift.timestamp;
    assert!((C_CLOCK - P_CLOCK).wrapping_sub(timestamp) as i32 > 0, "the clock has leapt");
    let shift = Shift { sequence: COPY - PRIMARY, timestamp };
    assert_eq!(carried, [Carried { flow: flow_of(&syn().port(1)), shift, initial: COPY }]);

    let mut next = Bench::new();
    next.rebase(Epoch(20), carried.clone());
    assert_eq!(segment(&next.pass(world(ACK, 101, 1001).port(1))).ack, 9001);
    assert_eq!(segment(&next.pass(guest(ACK, 9001, 101).port(1))).sequence, 1001);
    assert_eq!(segment(&next.pass(world(ACK, 101, 1001).port(2))).ack, 1001);
    // A connection of its own, then a second takeover: both are shifted.
    next.pass(syn().port(2));
    next.tell(Epoch(21), &primary_syn_ack().port(2));
    next.pass(guest(SYN | ACK, 4000, 101).port(2));
    next.rewriter.takeover(next.now);
    assert_eq!(segment(&next.pass(world(ACK, 101, 1001).port(2))).ack, 4001);
    assert_eq!(segment(&next.pass(world(ACK, 101, 1001).port(1))).ack, 9001);
    assert_eq!(next.rewriter.offsets().len(), 2);
    // Set anew without the table, the image's numbers are the world's.
    next.rebase(Epoch(30), vec![]);
    assert_eq!(segment(&next.pass(world(ACK, 101, 1001).port(1))).ack, 1001);

    let mut small = Bench::with(Limits { connections_max: 1, ..Limits::default() });
    let two = [carried[0], Carried { flow: flow_of(&syn().port(2)), ..carried[0] }];
    assert_eq!(small.rewriter.set_base(Time(0), Epoch(20), two), Err(Full::Connections));
}
