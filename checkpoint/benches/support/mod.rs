//! What the benches share: ours and its peer measured in turns, in one run, and printed with their ratio.
//!
//! Medians of interleaved rounds: a neighbour that slows the machine for a while slows both.

#![allow(dead_code)]

use std::time::{Duration, Instant};

/// Rounds of each side.
const ROUNDS: usize = 21;

/// What is larger than any cache, read between rounds so that each begins with cold memory.
const CACHE_BYTES: usize = 64 << 20;

/// Drives the caches' content out.
pub(crate) struct Cold(Vec<u8>);

impl Cold {
    pub(crate) fn new() -> Self {
        Self(vec![1; CACHE_BYTES])
    }

    pub(crate) fn chill(&self) {
        std::hint::black_box(self.0.iter().step_by(64).map(|byte| u64::from(*byte)).sum::<u64>());
    }
}

/// Medians of one comparison.
pub(crate) struct Pair {
    pub(crate) ours: Duration,
    pub(crate) peer: Duration,
}

/// Runs both sides in turns, each after `before`.
pub(crate) fn measure(before: impl Fn(), mut ours: impl FnMut(), mut peer: impl FnMut()) -> Pair {
    let timed = |run: &mut dyn FnMut()| {
        before();
        let start = Instant::now();
        run();
        start.elapsed()
    };
    let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_times.push(timed(&mut ours));
        peer_times.push(timed(&mut peer));
    }
    Pair { ours: median(our_times), peer: median(peer_times) }
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

pub(crate) fn gigabytes_per_second(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e9
}

/// Prints a line of a table of speeds.
pub(crate) fn print_speeds(name: &str, peer_name: &str, bytes: usize, pair: &Pair) {
    println!(
        "{name:<44} {:>7.2} GB/s   {peer_name:<26} {:>7.2} GB/s   ratio {:.2}",
        gigabytes_per_second(bytes, pair.ours),
        gigabytes_per_second(bytes, pair.peer),
        pair.peer.as_secs_f64() / pair.ours.as_secs_f64(),
    );
}

/// Bytes that look like nothing, the same in every run.
pub(crate) fn fill_noise(bytes: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}
