//! The copy's input, kept until no base needs it: a bounded log with a mark at each cut.
//!
//! ```text
//!            mark 7               mark 8                    now
//!   … 41 42 43 │ 44 45 46 47 48 49 │ 50 51 52 53 54 55 56 57 │
//!              └ after(7): what a copy set to image 7 lacks ─┘
//!                                  └ after(8) ───────────────┘   forget(8): up to 49
//! ```
//!
//! What was delivered before a cut is in its image. A frame that has no room is lost for every base before it, and only for
//! those: the copy gets there again with the next cut. So full is not an error of the log, but a reason for a checkpoint.
//!
//! A copy that runs is given each frame as it comes, and is never set to its base again. So, while it runs, what no later image
//! can lack is of no use: a log has no more than what the guest has not taken from its card, however long the copy runs.
//!
//! ```text
//!            mark 7: has run           taken            now
//!   … 41 42 43 │ 44 45 46 47 48 49 50 51 │ 52 53 54 55 56 │
//!   └────────────────── forgotten ───────┴ any later mark ┘
//! ```
//!
//! Not here: rewriting (a frame is logged as the world sent it), and who delivers.

use crate::packet::{Card, Frame, Offload};
use std::collections::VecDeque;
use thiserror::Error;
use understudy_checkpoint::Epoch;

/// How much a log keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Frames.
    pub frames_max: usize,
    /// Memory for their bytes.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frames_max: 1 << 18, bytes_max: 64 << 20 }
    }
}

/// The place of a frame in the order of input; counted from 0, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Number(pub u64);

/// The log has no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "the log of the copy's input is full; a checkpoint is asked for, and a higher limit makes them rarer"
)]
pub struct Full;

/// A copy cannot be set to this epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Missing {
    /// Its cut was never marked, or is forgotten.
    #[error("the log of the copy's input has no mark of epoch {0}; the copy waits for the next checkpoint")]
    Mark(Epoch),
    /// Input after its cut had no room.
    #[error(
        "input after the cut of epoch {0} had no room in the log; the copy waits for the next checkpoint"
    )]
    Input(Epoch),
}

/// Frames are put into chunks of this size, or of their own if they are longer.
const CHUNK_BYTES: usize = 256 << 10;

/// One guest's.
#[derive(Debug)]
pub struct Mirror {
    limits: Limits,
    frames: VecDeque<Entry>,
    chunks: VecDeque<Vec<u8>>,
    /// The number of the chunk in front.
    first_chunk: u64,
    spare: Option<Vec<u8>>,
    /// Of the chunks, in use or spare.
    memory_bytes: usize,
    next: u64,
    marks: VecDeque<Mark>,
    /// The last frame that had no room, or was forgotten without a mark behind it.
    lost: Option<u64>,
    /// No mark that is yet to come is before this frame.
    taken: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    card: Card,
    offload: Offload,
    chunk: u64,
    begin: usize,
    end: usize,
}

#[derive(Debug)]
struct Mark {
    epoch: Epoch,
    /// The first frame after it.
    next: u64,
}

impl Mirror {
    /// An empty log, without a mark.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            frames: VecDeque::new(),
            chunks: VecDeque::new(),
            first_chunk: 0,
            spare: None,
            memory_bytes: 0,
            next: 0,
            marks: VecDeque::new(),
            lost: None,
            taken: 0,
        }
    }

    /// An empty log, without a mark, whose first frame has the number `first`. What was before it is missing.
    pub fn beginning_at(first: Number, limits: Limits) -> Self {
        Self { next: first.0, lost: first.0.checked_sub(1), ..Self::new(limits) }
    }

    /// The number of the next frame.
    pub fn next(&self) -> Number {
        Number(self.next)
    }

    /// The next frame has the number `next`: those in between have not come, and have no room.
    pub fn skip_to(&mut self, next: Number) {
        if next.0 > self.next {
            (self.next, self.lost) = (next.0, Some(next.0 - 1));
        }
    }

    /// Logs a frame. It has a number even if it has no room.
    pub fn push(&mut self, frame: Frame<'_>) -> Result<Number, Full> {
        let number = self.next;
        self.next += 1;
        let Some((chunk, begin)) = self.store(frame.bytes) else {
            self.lost = Some(number);
            return Err(Full);
        };
        let end = begin + frame.bytes.len();
        self.frames.push_back(Entry { number, card: frame.card, offload: frame.offload, chunk, begin, end });
        Ok(Number(number))
    }

    /// What was logged so far is in the image of `epoch`.
    pub fn mark(&mut self, epoch: Epoch) -> Result<(), Full> {
        self.mark_at(epoch, Number(self.next))
    }

    /// What has, or will have, a number before `next` is in the image of `epoch`.
    pub fn mark_at(&mut self, epoch: Epoch, next: Number) -> Result<(), Full> {
        if self.marks.len() >= self.limits.frames_max {
            return Err(Full);
        }
        // An epoch that is made again replaces what was cut for it, and after it, before.
        while self.marks.pop_back_if(|mark| mark.epoch >= epoch).is_some() {}
        self.marks.push_back(Mark { epoch, next: next.0 });
        Ok(())
    }

    /// What a copy that is set to the image of `epoch` has not been given, in order.
    pub fn after(&self, epoch: Epoch) -> Result<impl Iterator<Item = (Number, Frame<'_>)>, Missing> {
        let mark = self.marks.iter().find(|mark| mark.epoch == epoch).ok_or(Missing::Mark(epoch))?;
        if self.lost.is_some_and(|lost| lost >= mark.next) {
            return Err(Missing::Input(epoch));
        }
        let from = self.frames.partition_point(|entry| entry.number < mark.next);
        Ok(self.frames.range(from..).map(|entry| (Number(entry.number), self.frame(entry))))
    }

    /// No copy will be set to an epoch before this one.
    pub fn forget(&mut self, before: Epoch) {
        self.forget_marks(|epoch| epoch < before);
    }

    /// A copy runs from the image of `base`, and was given all that is here: it will not be set to that epoch again.
    pub fn has_run(&mut self, base: Epoch) {
        self.forget_marks(|epoch| epoch <= base);
    }

    /// The guest has taken all before `next`: they are in each image that is cut from now on.
    pub fn taken(&mut self, next: Number) {
        self.taken = self.taken.max(next.0);
        self.forget_frames();
    }

    fn forget_marks(&mut self, is_over: impl Fn(Epoch) -> bool) {
        while let Some(mark) = self.marks.pop_front_if(|mark| is_over(mark.epoch)) {
            self.taken = self.taken.max(mark.next);
        }
        self.forget_frames();
    }

    /// Without a mark, the next one is yet to come: not before what is taken, but maybe before what has come since.
    fn forget_frames(&mut self) {
        let keep = self.marks.front().map_or(self.taken, |mark| mark.next);
        while let Some(forgotten) = self.frames.pop_front_if(|entry| entry.number < keep) {
            self.lost = self.lost.max(Some(forgotten.number));
        }
        let first = self.frames.front().map(|entry| entry.chunk);
        while !self.chunks.is_empty() && first.is_none_or(|first| self.first_chunk < first) {
            self.first_chunk += 1;
            let chunk = self.chunks.pop_front();
            self.keep_spare(chunk.unwrap_or_default());
        }
    }

    /// How many frames are logged, and how much memory they take.
    pub fn load(&self) -> (usize, usize) {
        (self.frames.len(), self.memory_bytes)
    }

    fn frame(&self, entry: &Entry) -> Frame<'_> {
        let chunk = self.chunks.get((entry.chunk - self.first_chunk) as usize);
        let bytes = chunk.and_then(|chunk| chunk.get(entry.begin..entry.end)).unwrap_or_default();
        Frame { card: entry.card, offload: entry.offload, bytes }
    }

    /// The number of the chunk that has the bytes now, and where. `None`: no room.
    fn store(&mut self, bytes: &[u8]) -> Option<(u64, usize)> {
        if self.frames.len() >= self.limits.frames_max {
            return None;
        }
        let has_room = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() >= bytes.len();
        if !self.chunks.back().is_some_and(has_room) {
            let chunk = match self.spare.take().filter(has_room) {
                Some(spare) => spare,
                None => self.new_chunk(bytes.len().max(CHUNK_BYTES))?,
            };
            self.chunks.push_back(chunk);
        }
        let chunk = self.chunks.back_mut()?;
        let begin = chunk.len();
        chunk.extend_from_slice(bytes);
        Some((self.first_chunk + self.chunks.len() as u64 - 1, begin))
    }

    fn new_chunk(&mut self, bytes: usize) -> Option<Vec<u8>> {
        // A spare one that was too short has just been given up.
        self.memory_bytes = self.chunks.iter().map(Vec::capacity).sum();
        let mut chunk = Vec::new();
        if self.memory_bytes + bytes > self.limits.bytes_max || chunk.try_reserve_exact(bytes).is_err() {
            return None;
        }
        self.memory_bytes += chunk.capacity();
        Some(chunk)
    }

    fn keep_spare(&mut self, mut chunk: Vec<u8>) {
        if self.spare.is_none() {
            chunk.clear();
            self.spare = Some(chunk);
        } else {
            self.memory_bytes -= chunk.capacity();
        }
    }
}
