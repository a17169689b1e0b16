//! What the comparer costs for each pair of frames, beside what no comparer can avoid: both frames are parsed, and their
//! bytes compared once.
//!
//! Aims: 0.25 µs a pair of 64 bytes, 0.5 µs a pair of 1448, and the same for 65,536 flows as for one. Both take turns with
//! each batch of frames, and medians of the batches are printed: a neighbour that slows the machine slows both, and one that
//! takes the processor away for a while changes neither.

use std::hint::black_box;
use std::time::Instant;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;
use understudy_colo::comparer::{Comparer, FrameId, Limits, Output};
use understudy_colo::packet::{Card, Content, Frame, Offload, Packet, Side};

/// Batches that are measured.
const BATCHES: usize = 20_000;
/// So many frames of the guest come before the copy's: what waits is not empty.
const BATCH: usize = 32;
const ETHERNET_AND_IP: usize = 34;

#[derive(Clone, Copy)]
enum Load {
    Tcp,
    /// Every hundredth frame of the guest repeats the one before.
    Retransmissions,
    Udp,
    /// The guest cuts two thirds of this payload, three times for two segments of the copy.
    ThreeToTwo,
}

/// Frames of many flows, in buffers that are filled again and again.
struct Generator {
    load: Load,
    payload_bytes: usize,
    order: Vec<u32>,
    at: usize,
    /// How far each flow is.
    sequence: Vec<u32>,
    guest: Vec<Vec<u8>>,
    copy: Vec<Vec<u8>>,
}

impl Generator {
    fn new(load: Load, payload_bytes: usize, flows: usize) -> Self {
        let mut order: Vec<u32> = (0..flows as u32).collect();
        let mut state = 1u64;
        for at in (1..flows).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, (state >> 33) as usize % (at + 1));
        }
        let guest_bytes =
            if matches!(load, Load::ThreeToTwo) { payload_bytes * 2 / 3 } else { payload_bytes };
        let frames = |bytes| (0..3 * BATCH).map(|_| frame(load, bytes)).collect();
        Self {
            load,
            payload_bytes,
            order,
            at: 0,
            sequence: vec![1; flows],
            guest: frames(guest_bytes),
            copy: frames(payload_bytes),
        }
    }

    /// The next batch: how many frames each side sends.
    fn fill(&mut self) -> (usize, usize) {
        let (mut ours, mut theirs) = (0, 0);
        for number in 0..BATCH {
            let flow = self.order[self.at];
            self.at = (self.at + 1) % self.order.len();
            let sequence = self.sequence[flow as usize];
            let (guest_count, copy_count) = match self.load {
                Load::ThreeToTwo => (3, 2),
                Load::Retransmissions if number % BATCH == 0 && self.at.is_multiple_of(3) => (2, 1),
                _ => (1, 1),
            };
            let step = if guest_count == 2 { 0 } else { self.guest[0].len() - ETHERNET_AND_IP - 20 };
            for part in 0..guest_count {
                mark(&mut self.guest[ours], self.load, flow, sequence + (part * step) as u32);
                ours += 1;
            }
            for part in 0..copy_count {
                mark(&mut self.copy[theirs], self.load, flow, sequence + (part * self.payload_bytes) as u32);
                theirs += 1;
            }
            self.sequence[flow as usize] = sequence.wrapping_add((copy_count * self.payload_bytes) as u32);
        }
        (ours, theirs)
    }
}

fn frame(load: Load, payload_bytes: usize) -> Vec<u8> {
    let transport = if matches!(load, Load::Udp) { 8 } else { 20 };
    let total = 20 + transport + payload_bytes;
    let mut frame = vec![0; 14 + total];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&(total as u16).to_be_bytes());
    frame[23] = if matches!(load, Load::Udp) { 17 } else { 6 };
    frame[26..34].copy_from_slice(&[10, 7, 0, 2, 10, 7, 0, 1]);
    if matches!(load, Load::Udp) {
        frame[38..40].copy_from_slice(&((8 + payload_bytes) as u16).to_be_bytes());
    } else {
        frame[46] = 0x50;
        frame[47] = 0x10;
    }
    frame
}

/// Makes a frame one of this flow and number.
fn mark(frame: &mut [u8], load: Load, flow: u32, sequence: u32) {
    frame[30..34].copy_from_slice(&(0x0a00_0000 + (flow >> 8)).to_be_bytes());
    frame[36..38].copy_from_slice(&(flow as u16 | 1 << 15).to_be_bytes());
    // Of a datagram, the beginning of its payload.
    let at = if matches!(load, Load::Udp) { 42 } else { 38 };
    frame[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
}

fn whole(bytes: &[u8]) -> Frame<'_> {
    Frame { card: Card(0), offload: Offload::default(), bytes }
}

/// How long the frames took, each of the guest's.
fn timed(guest: &[Vec<u8>], copy: &[Vec<u8>], mut run: impl FnMut(&[Vec<u8>], &[Vec<u8>])) -> f64 {
    let start = Instant::now();
    run(guest, copy);
    start.elapsed().as_secs_f64() * 1e9 / guest.len() as f64
}

fn row(name: &str, load: Load, payload_bytes: usize, flows: usize) {
    let mut generator = Generator::new(load, payload_bytes, flows);
    let mut comparer = Comparer::new(Limits::default(), 0x5eed);
    comparer.released(Epoch(0));
    comparer.live(Time(0), Epoch(0));
    let (mut now, mut sent, mut left) = (0, 0, 0u64);
    let mut ours = |guest: &[Vec<u8>], copy: &[Vec<u8>]| {
        let mut drain = |comparer: &mut Comparer| {
            while let Some(output) = comparer.poll_output() {
                assert!(matches!(output, Output::Release(_)), "{output:?}");
                left += 1;
            }
        };
        for frame in guest {
            comparer.primary(Time(now), FrameId(sent), whole(frame), Epoch(1));
            sent += 1;
            drain(&mut comparer);
        }
        for frame in copy {
            comparer.copy(Time(now), whole(frame), Epoch(0));
            drain(&mut comparer);
        }
        now += 1000;
    };
    let mut limit = |guest: &[Vec<u8>], copy: &[Vec<u8>]| {
        let body = |frame: &[u8]| -> *const [u8] {
            match Packet::parse(black_box(whole(frame)), Side::Guest).content {
                Content::Tcp(segment) => segment.payload,
                Content::Datagram(datagram) => datagram.body,
            }
        };
        for (one, other) in guest.iter().zip(copy) {
            let (one, other) = (body(one), body(other));
            black_box((one, other));
        }
        for (one, other) in guest.iter().zip(copy) {
            let bytes = one.len().min(other.len());
            black_box(one[ETHERNET_AND_IP + 8..bytes] == other[ETHERNET_AND_IP + 8..bytes]);
        }
    };
    // Every flow is known before the first batch that is measured.
    for _ in 0..flows.div_ceil(BATCH) {
        let (guest_count, copy_count) = generator.fill();
        ours(&generator.guest[..guest_count], &generator.copy[..copy_count]);
    }
    let (mut our_times, mut limit_times) = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        let (guest_count, copy_count) = generator.fill();
        let (guest, copy) = (&generator.guest[..guest_count], &generator.copy[..copy_count]);
        limit_times.push(timed(guest, copy, &mut limit));
        our_times.push(timed(guest, copy, &mut ours));
    }
    assert_eq!(left, sent, "all of it leaves");
    let (ours, limit) = (median(our_times), median(limit_times));
    println!(
        "{name:<24} {flows:>6} flows {ours:>7.0} ns   limit {limit:>5.0} ns   ratio {:>5.2}",
        ours / limit
    );
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    println!("for each frame of the guest and its counterpart; limit: both parsed, bytes compared");
    for payload_bytes in [64, 1448] {
        for flows in [1, 64, 1024, 16_384, 65_536] {
            row(&format!("TCP {payload_bytes} B"), Load::Tcp, payload_bytes, flows);
        }
    }
    for payload_bytes in [64, 1448] {
        row(&format!("UDP {payload_bytes} B"), Load::Udp, payload_bytes, 1024);
    }
    row("TCP 1440 B in 3 : 2", Load::ThreeToTwo, 1440, 1024);
    row("TCP 1448 B, 1 % again", Load::Retransmissions, 1448, 1024);
}
