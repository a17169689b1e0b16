//! Which chunk is read next while the guest writes, and when the rest is small enough to begin recording.
//!
//! ```text
//!             near_max chunks are left, or passes_max passes            all sent
//!   Behind ──────────────────────────────────────────────► Near ─────────────────► Even
//!     │ ▲ a write wants its chunks again                     │ record(): writes are recorded, and want nothing
//!     │ └──── go_on_marks(): the record has no room ─────────┤
//!     └ pass by pass, in the disk's order                    └ what is left only gets less
//! ```
//!
//! The content that is sent is of no one moment, and need not be: from `record` on each write is recorded, too. Applied in
//! order behind what was sent they make the disk of the next cut.
//!
//! Not here: reading (it takes the place of a request, rule R4 of `docs/DISKS.md`), and the link.

use crate::bits::Bits;
use crate::ledger::CHUNK_BYTES;
use crate::words::Extent;
use understudy_checkpoint::time::{Span, Time};

/// How a sync goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// So few chunks are near.
    pub near_max: u64,
    /// After so many passes recording begins with whatever is left: a guest may write as fast as it is read.
    pub passes_max: u32,
    /// So many chunks are read and not sent.
    pub in_flight_max: u64,
    /// So much is read in a second; none is no limit.
    pub bytes_per_second: Option<u64>,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Much is left.
    Behind,
    /// Recording may begin, or has.
    Near,
    /// All was sent that is not in the record.
    Even,
}

/// What to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Read this, then [`Passes::sent`] or [`Passes::failed`].
    Read(Extent),
    /// Nothing before this moment.
    At(Time),
    /// Nothing before something is sent, or written.
    Idle,
}

/// The sync of one disk.
#[derive(Debug)]
pub struct Passes {
    size_bytes: u64,
    limits: Limits,
    /// To be read.
    wanted: Bits,
    wanted_count: u64,
    /// Read and not sent.
    in_flight: Bits,
    in_flight_count: u64,
    /// The next chunk that is looked at.
    cursor: u64,
    passes: u32,
    is_recording: bool,
    /// When the next chunk may be read.
    next_time: Time,
}

impl Passes {
    /// Sends these chunks of a disk.
    pub fn new(size_bytes: u64, chunks: Bits, limits: Limits) -> Self {
        assert_eq!(chunks.count(), size_bytes.div_ceil(CHUNK_BYTES), "the chunks are of this disk");
        let mut none = chunks.clone();
        none.clear();
        Self {
            size_bytes,
            limits,
            wanted_count: chunks.marked(),
            wanted: chunks,
            in_flight: none,
            in_flight_count: 0,
            cursor: 0,
            passes: 0,
            is_recording: false,
            next_time: Time(0),
        }
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        let is_near = self.left() <= self.limits.near_max || self.passes >= self.limits.passes_max;
        match (self.left(), self.is_recording) {
            (0, true) => Phase::Even,
            (_, true) => Phase::Near,
            (_, false) if is_near => Phase::Near,
            (_, false) => Phase::Behind,
        }
    }

    /// Chunks that are not sent.
    pub fn left(&self) -> u64 {
        self.wanted_count + self.in_flight_count
    }

    /// Which chunk is read now.
    pub fn next(&mut self, now: Time) -> Next {
        if self.wanted_count == 0 || self.in_flight_count >= self.limits.in_flight_max {
            return Next::Idle;
        }
        if now < self.next_time {
            return Next::At(self.next_time);
        }
        let Some(chunk) = self.seek() else { return Next::Idle };
        self.wanted.remove(chunk);
        self.wanted_count -= 1;
        self.in_flight.insert(chunk);
        self.in_flight_count += 1;
        self.cursor = chunk + 1;
        let extent = self.extent(chunk);
        if let Some(rate) = self.limits.bytes_per_second {
            let span = Span(u64::from(extent.bytes()).saturating_mul(1_000_000_000) / rate.max(1));
            // Time that was not used is not made up for: the guest would feel the burst.
            self.next_time = now.max(self.next_time) + span;
        }
        Next::Read(extent)
    }

    /// A chunk was sent.
    pub fn sent(&mut self, extent: Extent) {
        self.land(extent);
    }

    /// A chunk could not be read or sent; it is wanted again.
    pub fn failed(&mut self, extent: Extent) {
        let chunk = self.land(extent);
        self.want(chunk);
    }

    /// The guest writes: before recording began its chunks are wanted again, also those that are just being read.
    pub fn wrote(&mut self, extent: Extent) {
        if !self.is_recording {
            extent.pieces(CHUNK_BYTES).for_each(|chunk| self.want(chunk));
        }
    }

    /// A chunk was found to differ.
    pub fn differs(&mut self, chunk: u64) {
        self.want(chunk);
    }

    /// From now on each write is recorded before it is answered.
    pub fn record(&mut self) {
        self.is_recording = true;
    }

    /// The record has no room: the chunks that were `written` since [`record`](Self::record) are wanted, as later ones are.
    pub fn go_on_marks(&mut self, written: &Bits) {
        (self.is_recording, self.passes) = (false, 0);
        written.runs().flatten().for_each(|chunk| self.want(chunk));
    }

    fn want(&mut self, chunk: u64) {
        self.wanted_count += u64::from(self.wanted.insert(chunk));
    }

    fn land(&mut self, extent: Extent) -> u64 {
        let chunk = extent.offset() / CHUNK_BYTES;
        assert!(self.in_flight.remove(chunk), "what is sent was read");
        self.in_flight_count -= 1;
        chunk
    }

    /// The next wanted chunk from the cursor on that is not in flight, in another pass if there is none.
    fn seek(&mut self) -> Option<u64> {
        for _ in 0..2 {
            let free = |chunk: &u64| !self.in_flight.has(*chunk);
            if let Some(chunk) = self.wanted.runs_from(self.cursor).flatten().find(free) {
                return Some(chunk);
            }
            (self.cursor, self.passes) = (0, self.passes.saturating_add(1));
        }
        None
    }

    fn extent(&self, chunk: u64) -> Extent {
        let offset = chunk * CHUNK_BYTES;
        let bytes = CHUNK_BYTES.min(self.size_bytes - offset) as u32;
        Extent::new(offset, bytes).expect("a disk is whole sectors")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Dice;

    const CHUNKS: u64 = 40;
    const SIZE: u64 = CHUNKS * CHUNK_BYTES - 512;
    const LIMITS: Limits = Limits { near_max: 4, passes_max: 5, in_flight_max: 3, bytes_per_second: None };

    fn all() -> Bits {
        let mut all = Bits::try_new(CHUNKS).unwrap();
        (0..CHUNKS).for_each(|chunk| _ = all.insert(chunk));
        all
    }

    /// Contents are numbers; the sync's content is read at some moment, and recorded writes come behind it.
    #[test]
    fn what_was_sent_and_then_what_was_recorded_is_the_disk() {
        let (mut forced, mut fell_back) = (0, 0);
        for seed in 0..300 {
            let mut dice = Dice::new(seed);
            let mut here: Vec<u64> = (0..CHUNKS).map(|_| dice.next()).collect();
            let mut there = vec![0; CHUNKS as usize];
            let mut recorded: Vec<(u64, u64)> = Vec::new();
            let mut reading: Vec<(Extent, u64)> = Vec::new();
            let mut passes = Passes::new(SIZE, all(), LIMITS);
            let (mut is_recording, busy) = (false, dice.below(4));
            let mut steps = 0;
            while passes.phase() != Phase::Even {
                steps += 1;
                assert!(steps < 100_000, "seed {seed}: it ends, however much the guest writes");
                match dice.below(3 + busy) {
                    0 => {
                        if let Next::Read(extent) = passes.next(Time(0)) {
                            reading.push((extent, here[(extent.offset() / CHUNK_BYTES) as usize]));
                        }
                    }
                    1 if !reading.is_empty() => {
                        let (extent, content) = reading.swap_remove(dice.below(reading.len()));
                        if dice.below(8) == 0 {
                            passes.failed(extent);
                        } else {
                            there[(extent.offset() / CHUNK_BYTES) as usize] = content;
                            passes.sent(extent);
                        }
                    }
                    2 if is_recording && dice.below(40) == 0 => {
                        let mut written = Bits::try_new(CHUNKS).unwrap();
                        recorded.iter().for_each(|(chunk, _)| _ = written.insert(*chunk));
                        passes.go_on_marks(&written);
                        (is_recording, fell_back) = (false, fell_back + 1);
                        // Nothing of the record arrives.
                        recorded.clear();
                    }
                    2 if !is_recording && passes.phase() == Phase::Near => {
                        forced += u32::from(passes.left() > LIMITS.near_max);
                        passes.record();
                        is_recording = true;
                    }
                    1 | 2 => {}
                    _ => {
                        let (chunk, content) = (dice.below(CHUNKS as usize) as u64, dice.next());
                        here[chunk as usize] = content;
                        if is_recording {
                            recorded.push((chunk, content));
                        }
                        passes.wrote(Extent::new(chunk * CHUNK_BYTES, 512).unwrap());
                    }
                }
                assert!(reading.len() as u64 <= LIMITS.in_flight_max);
            }
            assert!(reading.is_empty(), "even means sent");
            recorded.iter().for_each(|(chunk, content)| there[*chunk as usize] = *content);
            assert_eq!(there, here, "seed {seed}");
        }
        assert!(forced > 20, "{forced}: busy guests are recorded with more left");
        assert!(fell_back > 20, "{fell_back}: records without room");
    }

    #[test]
    fn chunks_come_in_the_disks_order_and_the_last_one_is_shorter() {
        let mut passes = Passes::new(SIZE, all(), Limits { in_flight_max: 100, ..LIMITS });
        let mut seen = Vec::new();
        while let Next::Read(extent) = passes.next(Time(0)) {
            seen.push(extent);
        }
        assert!(seen.is_sorted() && seen.len() as u64 == CHUNKS);
        assert_eq!(seen[CHUNKS as usize - 1].end(), SIZE);
        assert_eq!(passes.left(), CHUNKS, "none is sent");
    }

    #[test]
    fn a_chunk_that_is_written_while_it_is_read_is_read_again_and_not_twice_at_once() {
        let mut one = Bits::try_new(CHUNKS).unwrap();
        one.insert(5);
        let mut passes = Passes::new(SIZE, one, LIMITS);
        let Next::Read(extent) = passes.next(Time(0)) else { panic!("it is wanted") };
        passes.wrote(extent);
        assert_eq!((passes.next(Time(0)), passes.left()), (Next::Idle, 2));
        passes.sent(extent);
        assert_eq!(passes.next(Time(0)), Next::Read(extent));
    }

    #[test]
    fn a_limit_of_speed_is_kept_and_time_not_used_is_not_made_up_for() {
        let limits = Limits { bytes_per_second: Some(CHUNK_BYTES * 10), in_flight_max: 100, ..LIMITS };
        let mut passes = Passes::new(SIZE, all(), limits);
        assert!(matches!(passes.next(Time(0)), Next::Read(_)));
        assert_eq!(passes.next(Time(0)), Next::At(Time(100_000_000)));
        assert!(matches!(passes.next(Time(5_000_000_000)), Next::Read(_)));
        assert_eq!(passes.next(Time(5_000_000_001)), Next::At(Time(5_100_000_000)));
    }

    #[test]
    fn nothing_to_send_is_even_once_writes_are_recorded() {
        let mut passes = Passes::new(SIZE, Bits::try_new(CHUNKS).unwrap(), LIMITS);
        assert_eq!((passes.phase(), passes.next(Time(0))), (Phase::Near, Next::Idle));
        passes.record();
        assert_eq!(passes.phase(), Phase::Even);
    }
}
