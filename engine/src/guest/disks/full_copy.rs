//! [`FullCopy`]: what is left to be read of a disk that runs here, while its guest writes.
//!
//! ```text
//!   where nothing is known: hashes of the other disk, list by list; what differs is wanted
//!   goal Near     chunks, and what the guest writes as marks, until little is left     (memory is copied after that)
//!   goal Even     the same; then its writes are recorded, and the rest is read          (then the pause)
//!                     └── they have no room: marks again ◄──┘
//! ```
//!
//! Not here: reading, the record ([`recording`](super::recording)), and in which order chunks come
//! (`understudy_disk::sync::passes`).

use super::recording::Full;
use std::time::Duration;
use understudy_checkpoint::OutOfMemory;
use understudy_checkpoint::time::Time;
use understudy_disk::bits::Bits;
use understudy_disk::ledger::CHUNK_BYTES;
use understudy_disk::record::Overrun;
use understudy_disk::sync::comparison::{Compared, Comparison};
use understudy_disk::sync::hashes::Hashes;
use understudy_disk::sync::passes::{Limits, Next, Passes, Phase};
use understudy_disk::sync::plan::Plan;
use understudy_disk::sync::talk::Ask;
use understudy_disk::words::Extent;

/// A guest may write as fast as it is read: after so many passes its writes are recorded all the same.
const PASSES_MAX: u32 = 5;

/// So often the record may have no room before the copy is given up: the link is slower than the guest writes.
const WITHOUT_ROOM_MAX: u32 = 4;

/// How often to look whether the other host has answered.
pub(super) const ANSWER_WAIT: Duration = Duration::from_millis(2);

/// So little is left when a full copy begins to record: 4 MiB.
pub(super) const NEAR_CHUNKS: u64 = 64;

/// How a full copy reads.
#[derive(Clone, Copy, Debug)]
pub struct CopyPace {
    /// At most so fast.
    pub bytes_per_s: u64,
    /// The guest's writes are recorded when no more than this is left.
    pub near_chunks: u64,
}

/// How far a full copy is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyGoal {
    /// Little is left.
    Near,
    /// All that is left is in the record.
    Even,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Read this, then [`FullCopy::landed`].
    Read(Extent),
    /// From here on the guest's writes are to be recorded.
    Note,
    /// Ask the other host.
    Ask(Ask),
    /// Read this, compare its hash, then [`FullCopy::compared`].
    Compare(Extent, u128),
    /// Nothing for so long.
    Wait(Duration),
    /// The goal is reached.
    Done,
}

/// The full copy of one disk.
#[derive(Debug)]
pub(super) struct FullCopy {
    size_bytes: u64,
    /// What is compared before anything is sent.
    comparison: Option<Comparison>,
    passes: Passes,
    /// Chunks that were written since they are recorded; none while they are marks.
    recorded: Option<Bits>,
    none: Bits,
    without_room: u32,
}

impl FullCopy {
    /// What this plan says.
    pub(super) fn new(size_bytes: u64, plan: Plan, pace: CopyPace) -> Result<Self, OutOfMemory> {
        let (chunks, comparison) = match plan {
            Plan::Send(chunks) => (chunks, None),
            Plan::Compare => {
                let none = Bits::try_new(size_bytes.div_ceil(CHUNK_BYTES))?;
                let comparison = Comparison::new(none.count());
                (none, Some(comparison))
            }
        };
        let none = Bits::try_new(chunks.count())?;
        let CopyPace { bytes_per_s, near_chunks: near_max } = pace;
        let bytes_per_second = (bytes_per_s != u64::MAX).then_some(bytes_per_s);
        let limits = Limits { near_max, passes_max: PASSES_MAX, in_flight_max: 1, bytes_per_second };
        let passes = Passes::new(size_bytes, chunks, limits);
        Ok(Self { size_bytes, comparison, passes, recorded: None, none, without_room: 0 })
    }

    /// What is to be done for the goal now.
    pub(super) fn step(&mut self, goal: CopyGoal, now: Time) -> Result<Step, Overrun> {
        if self.without_room > WITHOUT_ROOM_MAX {
            return Err(Overrun);
        }
        match self.comparison.as_mut().map(Comparison::step) {
            Some(Compared::Ask { first, count }) => return Ok(Step::Ask(Ask::Compare { first, count })),
            Some(Compared::Chunk { chunk, hash }) => return Ok(Step::Compare(self.extent(chunk), hash)),
            Some(Compared::Waits) => return Ok(Step::Wait(ANSWER_WAIT)),
            Some(Compared::Done) => self.comparison = None,
            None => {}
        }
        match (self.passes.phase(), goal) {
            (Phase::Even, _) | (Phase::Near, CopyGoal::Near) => return Ok(Step::Done),
            (Phase::Near, CopyGoal::Even) if self.recorded.is_none() => {
                self.passes.record();
                self.recorded = Some(self.none.clone());
                return Ok(Step::Note);
            }
            (Phase::Near | Phase::Behind, _) => {}
        }
        Ok(match self.passes.next(now) {
            Next::Read(extent) => Step::Read(extent),
            Next::At(time) => Step::Wait(Duration::from(time - now)),
            Next::Idle => unreachable!("what is not even wants a chunk, and each is read before the next"),
        })
    }

    /// The other host's hashes of chunks; whether they were asked for.
    pub(super) fn heard(&mut self, hashes: Hashes) -> bool {
        self.comparison.as_mut().is_some_and(|comparison| comparison.heard(hashes))
    }

    /// A chunk was read, and is the same there or is not.
    pub(super) fn compared(&mut self, extent: Extent, is_same: bool) {
        if !is_same {
            self.passes.differs(extent.offset() / CHUNK_BYTES);
        }
    }

    fn extent(&self, chunk: u64) -> Extent {
        let offset = chunk * CHUNK_BYTES;
        let bytes = CHUNK_BYTES.min(self.size_bytes - offset) as u32;
        Extent::new(offset, bytes).expect("a disk is whole sectors")
    }

    /// What was to be read is in the record, or is not.
    pub(super) fn landed(&mut self, extent: Extent, is_recorded: bool) {
        match is_recorded {
            true => self.passes.sent(extent),
            false => self.passes.failed(extent),
        }
    }

    /// The guest has written; `full` says what the record did with it.
    pub(super) fn wrote(&mut self, extent: Extent, full: Full) {
        let Some(recorded) = &mut self.recorded else { return self.passes.wrote(extent) };
        extent.pieces(CHUNK_BYTES).for_each(|chunk| _ = recorded.insert(chunk));
        if full == Full::Marks {
            self.passes.go_on_marks(recorded);
            self.recorded = None;
            self.without_room += 1;
        }
    }

    /// What is left to be read, or to be compared first.
    pub(super) fn left_bytes(&self) -> u64 {
        let to_compare = self.comparison.as_ref().map_or(0, Comparison::left);
        (to_compare + self.passes.left()) * CHUNK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKS: u64 = 200;
    const NOW: Time = Time(0);

    fn pace(bytes_per_s: u64) -> CopyPace {
        CopyPace { bytes_per_s, near_chunks: NEAR_CHUNKS }
    }

    fn copy() -> FullCopy {
        let mut all = Bits::try_new(CHUNKS).unwrap();
        (0..CHUNKS).for_each(|chunk| _ = all.insert(chunk));
        FullCopy::new(CHUNKS * CHUNK_BYTES, Plan::Send(all), pace(u64::MAX)).unwrap()
    }

    fn at(chunk: u64) -> Extent {
        Extent::new(chunk * CHUNK_BYTES, 512).unwrap()
    }

    /// Reads until there is something else to do.
    fn read(copy: &mut FullCopy, goal: CopyGoal) -> Result<(Step, Vec<u64>), Overrun> {
        let mut chunks = Vec::new();
        loop {
            match copy.step(goal, NOW)? {
                Step::Read(extent) => {
                    chunks.push(extent.offset() / CHUNK_BYTES);
                    copy.landed(extent, true);
                }
                other => return Ok((other, chunks)),
            }
        }
    }

    #[test]
    fn writes_are_marks_until_little_is_left_and_recorded_then() {
        let mut copy = copy();
        copy.wrote(at(3), Full::Marks);
        let (step, chunks) = read(&mut copy, CopyGoal::Near).unwrap();
        assert_eq!((step, chunks.len() as u64), (Step::Done, CHUNKS - NEAR_CHUNKS));
        copy.wrote(at(0), Full::Marks);
        copy.wrote(at(7), Full::Marks);
        let (step, chunks) = read(&mut copy, CopyGoal::Even).unwrap();
        assert_eq!(
            (step, chunks.as_slice()),
            (Step::Note, [CHUNKS - NEAR_CHUNKS, CHUNKS - NEAR_CHUNKS + 1].as_slice())
        );
        copy.wrote(at(1), Full::Notes);
        let (step, chunks) = read(&mut copy, CopyGoal::Even).unwrap();
        assert_eq!(step, Step::Done);
        assert!(chunks.ends_with(&[0, 7]) && !chunks.contains(&1), "{chunks:?}");
        assert_eq!(copy.left_bytes(), 0);
    }

    #[test]
    fn what_has_no_room_is_read_again_and_a_copy_that_never_has_any_ends() {
        let mut copy = copy();
        read(&mut copy, CopyGoal::Even).unwrap();
        let mut times = 0;
        let over = loop {
            copy.wrote(at(20), Full::Notes);
            copy.wrote(at(21), Full::Marks);
            times += 1;
            let (step, mut chunks) = match read(&mut copy, CopyGoal::Even) {
                Ok(read) => read,
                Err(over) => break over,
            };
            assert_eq!(step, Step::Note);
            let (step, rest) = read(&mut copy, CopyGoal::Even).unwrap();
            assert_eq!(step, Step::Done);
            chunks.extend(rest);
            assert!(chunks.contains(&20) && chunks.contains(&21), "{times}: {chunks:?}");
        };
        assert_eq!((times, over), (WITHOUT_ROOM_MAX + 1, Overrun));
    }

    #[test]
    fn a_limit_of_speed_says_how_long_to_wait() {
        let mut one = Bits::try_new(2).unwrap();
        (0..2).for_each(|chunk| _ = one.insert(chunk));
        let mut copy = FullCopy::new(2 * CHUNK_BYTES, Plan::Send(one), pace(CHUNK_BYTES)).unwrap();
        assert_eq!(copy.step(CopyGoal::Even, NOW), Ok(Step::Note));
        let Ok(Step::Read(extent)) = copy.step(CopyGoal::Even, NOW) else { panic!("it is wanted") };
        copy.landed(extent, true);
        assert_eq!(copy.step(CopyGoal::Even, NOW), Ok(Step::Wait(Duration::from_secs(1))));
    }
}
