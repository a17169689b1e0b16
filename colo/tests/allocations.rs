//! Once all buffers are there, comparer and rewriter ask for no memory: neither a guest's frames nor their number decide when the
//! path of a packet waits for the allocator.
//!
//! One test, in a binary of its own: the allocator counts what the whole process asks for.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use support::*;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::comparer::{self, Comparer, FrameId};
use understudy_colo::packet::Frame;
use understudy_colo::rewriter::{self, Output, Rewriter, Verdict};
use understudy_colo::{Handshake, Opening, packet::Side};

struct Counting;

static ASKED: AtomicU64 = AtomicU64::new(0);

// SAFETY: all calls go to the system's allocator as they came; the count is kept without memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` or `realloc`, which asked the same allocator with the same layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `realloc`, and the pointer came from the same allocator.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PORTS: u16 = 8;
const ROUNDS: u32 = 50;

/// What one guest sends in a round on one port: a segment, its next, a bare acknowledgement.
fn sent(round: u32, port: u16) -> [Vec<u8>; 3] {
    let sequence = 1001 + round * 200;
    let of = |sequence, bytes: &[u8]| {
        guest(ACK, sequence, 101 + round).options(&stamps(5000 + round, 70)).payload(bytes).port(port).frame()
    };
    [of(sequence, &[1; 100]), of(sequence + 100, &[2; 100]), of(sequence + 200, &[])]
}

fn view(bytes: &[u8]) -> Frame<'_> {
    Frame { card: CARD, offload: WHOLE, bytes }
}

/// How often memory was asked for in each round.
fn count_comparer() -> Vec<u64> {
    let rounds: Vec<Vec<[Vec<u8>; 3]>> =
        (0..ROUNDS).map(|round| (1..=PORTS).map(|port| sent(round, port)).collect()).collect();
    let mut comparer = Comparer::new(comparer::Limits::default(), 7);
    comparer.released(Epoch(0));
    comparer.live(Time(0), Epoch(0));
    let (mut counts, mut sent, mut left) = (Vec::with_capacity(ROUNDS as usize), 0, 0);
    let mut answer = Vec::with_capacity(100);
    for (round, ports) in rounds.iter().enumerate() {
        let before = ASKED.load(Ordering::Relaxed);
        let now = Time(0) + Span::from_ms(round as u64);
        // The copy is ahead in every second round.
        for is_copy in [round % 2 == 1, round % 2 == 0] {
            for frame in ports.iter().flatten() {
                if is_copy {
                    comparer.copy(now, view(frame), Epoch(0));
                } else {
                    sent += 1;
                    comparer.primary(now, FrameId(sent), view(frame), Epoch(1));
                }
            }
            while let Some(output) = comparer.poll_output() {
                match output {
                    comparer::Output::Acknowledge(what) => {
                        assert!(comparer.write_acknowledgement(&what, &mut answer));
                    }
                    comparer::Output::Release(_) | comparer::Output::ReleaseAs(..) => left += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        comparer.handle_timeout(now);
        assert!(comparer.used_through().is_some());
        counts.push(ASKED.load(Ordering::Relaxed) - before);
    }
    assert_eq!(left, sent, "all of it leaves");
    counts
}

/// Connections that are opened again and again, each with frames that wait for their numbers.
fn count_rewriter() -> Vec<u64> {
    let mut rewriter = Rewriter::new(Epoch(0), rewriter::Limits::default());
    let (mut counts, mut waited) = (Vec::with_capacity(ROUNDS as usize), 0);
    for round in 0..ROUNDS {
        let now = Time(0) + Span::from_ms(round.into());
        let (primary, copy) = (1000 + round * 1000, 90_000 + round * 1000);
        let clock = |clock: u32| stamps(clock + round, 70);
        let frames: Vec<_> = (1..=PORTS)
            .map(|port| {
                let answer =
                    |number, at| guest(SYN | ACK, number, 101).options(&clock(at)).port(port).frame();
                let syn = world(SYN, 100, 0).options(&stamps(70, 0)).port(port).frame();
                let request = world(ACK, 101, primary + 1).options(&clock(5000)).port(port).frame();
                let data =
                    guest(ACK, copy + 1, 101).options(&clock(5300)).payload(&[7; 99]).port(port).frame();
                (answer(primary, 5000), syn, [answer(copy, 5300), data], request)
            })
            .collect();
        let before = ASKED.load(Ordering::Relaxed);
        for (told, mut syn, from_copy, mut request) in frames {
            assert_eq!(rewriter.input(now, CARD, WHOLE, &mut syn), Verdict::Pass);
            for mut frame in from_copy {
                let verdict = rewriter.output(now, CARD, WHOLE, &mut frame);
                assert_eq!(verdict, Verdict::Waits);
            }
            let (flow, segment) = parsed(&told, Side::Guest);
            let opening = Opening::of(&segment).unwrap();
            rewriter.handshake(now, &Handshake { epoch: Epoch(1), flow, opening }).unwrap();
            while let Some(Output::Deliver(frame)) = rewriter.poll_output() {
                waited += 1;
                rewriter.recycle(frame.bytes);
            }
            assert_eq!(rewriter.input(now, CARD, WHOLE, &mut request), Verdict::Pass);
        }
        rewriter.handle_timeout(now);
        counts.push(ASKED.load(Ordering::Relaxed) - before);
    }
    assert_eq!(waited, 2 * ROUNDS * u32::from(PORTS));
    counts
}

#[test]
fn the_steady_state_asks_for_no_memory() {
    for (name, counts) in [("comparer", count_comparer()), ("rewriter", count_rewriter())] {
        assert!(counts[0] > 0, "{name}: the first round fills buffers, and is counted");
        assert!(counts[10..].iter().all(|count| *count == 0), "{name}: {counts:?}");
    }
}
