//! What a journal still says after a crash.
//!
//! ```text
//!   tail                                    first frame that does not follow
//!    ▼                                       ▼
//!    7 last │ 8 │ 8 last │ 9 │ 9 last │ 10 │ ✗ ░░░ … 12 ░░░
//!    └──── whole: written again, flushed ───┘└┬─┘         └ flushed after ✗ was? then ✗ rotted, and no end is believed
//!                 then replayed                └ not whole: dropped
//! ```
//!
//! 1. *Follow the frames* from the tail. They end at the first that is torn or old. An error of the
//!    device is no end.
//! 2. *Look beyond.* A frame that was written after the missing one was durable proves rot: then epochs are missing that may
//!    be on the disks already, in parts. That is an error, and not a shorter journal.
//! 3. *Write again and flush* what is to be replayed. It may have been read from a cache, or be what a failed flush gave up;
//!    and no disk may have a byte of an epoch that the journal can still lose.
//! 4. The caller applies it, flushes its disks, and says so; the ring goes on behind all that an earlier life can have
//!    written, with sequences that it cannot have used.

use super::frame::{Frame, Kind};
use super::{FORMAT, Head, Journal, JournalError, Logged, NAME, Place, ring_bytes};
use crate::pair::{PAIR_BYTES, Pair};
use crate::storage::{Guarded, Storage};
use crate::words::{BLOCK_BYTES, Point};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A journal that was read, and is to be replayed before anything else.
#[derive(Debug)]
pub struct Recovered<S> {
    journal: Journal<S>,
    /// Frames of an epoch that never became whole.
    dropped_frames: u64,
    /// One place of the head was damaged, and has been written again.
    head_was_healed: bool,
}

impl<S: Storage> Recovered<S> {
    /// Reads a journal. When it returns, what it holds is durable, whatever was before.
    pub fn open(storage: S) -> Result<Self, JournalError> {
        let ring_bytes = ring_bytes(&storage)?;
        let mut storage = Guarded::new(storage);
        let opened = Pair::open(&mut storage, FORMAT, NAME)?;
        let head = Head::decode(&opened.body, ring_bytes)
            .ok_or(JournalError::Damaged { what: "its head is none" })?;
        let mut journal = Journal::at(storage, opened.pair, head, ring_bytes);
        let mut dropped_frames = 0;
        if head.is_open {
            dropped_frames = journal.follow()?;
            journal.walk::<JournalError>(|storage, position, _, blocks| {
                Ok(storage.write_at(position, blocks)?)
            })?;
            journal.flush()?;
        }
        Ok(Self { journal, dropped_frames, head_was_healed: opened.was_healed })
    }

    /// Whose content the epochs are of.
    pub fn history(&self) -> [u8; 16] {
        self.journal.history()
    }

    /// Whether it was closed, so that nothing is replayed.
    pub fn is_closed(&self) -> bool {
        !self.journal.head.is_open
    }

    /// Frames of an epoch that never became whole.
    pub fn dropped_frames(&self) -> u64 {
        self.dropped_frames
    }

    /// Whether one place of the head was damaged.
    pub fn head_was_healed(&self) -> bool {
        self.head_was_healed
    }

    /// The epoch at which the disks are after a replay.
    pub fn point(&self) -> Point {
        self.journal.logged.back().map_or(self.journal.head.applied, |logged| logged.point)
    }

    /// Hands over the batches of all whole epochs, in order. May be repeated.
    pub fn replay<E: From<JournalError>>(
        &mut self,
        mut apply: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.journal.walk(|_, _, frame, blocks| match frame.kind {
            Kind::Skip => Ok(()),
            Kind::More | Kind::Last => apply(frame.batch(blocks)),
        })
    }

    /// The disks have what was replayed, flushed. The journal is closed, and goes on where no frame of an earlier life is
    /// ever taken for a new one.
    pub fn finish(self) -> Result<Journal<S>, JournalError> {
        let point = self.point();
        let mut journal = self.journal;
        // Each frame takes a block at least, so no frame in the ring has a higher sequence.
        journal.end.sequence += journal.ring_bytes / BLOCK + 1;
        journal.durable = journal.end.sequence;
        journal.close(point)?;
        Ok(journal)
    }
}

impl<S: Storage> Journal<S> {
    /// Follows the frames from the tail, and puts the end behind the last whole epoch. Gives how many frames come after it.
    fn follow(&mut self) -> Result<u64, JournalError> {
        let mut at = self.head.tail;
        let (mut used_bytes, mut logged_bytes, mut dropped) = (0, 0, 0);
        let mut last = self.head.applied;
        let mut open: Option<Point> = None;
        while used_bytes < self.ring_bytes {
            let Some((frame, next)) = self.frame_at(at)? else { break };
            let goes_on = open.map_or(frame.point > last, |open| frame.point == open);
            if !goes_on {
                return Err(JournalError::Damaged { what: "its epochs are not in order" });
            }
            used_bytes +=
                if next.position == 0 { self.ring_bytes - at.position } else { next.position - at.position };
            (open, dropped) = (Some(frame.point), dropped + 1);
            if frame.kind == Kind::Last {
                self.logged.push_back(Logged {
                    point: frame.point,
                    bytes: used_bytes - logged_bytes,
                    end: next,
                });
                (last, open, dropped, logged_bytes) = (frame.point, None, 0, used_bytes);
                self.end = next;
            }
            at = next;
        }
        self.used_bytes = logged_bytes;
        self.look_beyond(at)?;
        Ok(dropped)
    }

    /// The frame at a place, read into the journal's blocks, and the place after it; none if no frame follows there.
    fn frame_at(&mut self, at: Place) -> Result<Option<(Frame, Place)>, JournalError> {
        self.blocks.resize(BLOCK_BYTES, 0);
        self.storage.read_at(PAIR_BYTES + at.position, &mut self.blocks)?;
        let Some(frame) = Frame::read(&self.blocks) else { return Ok(None) };
        let follows = frame.salt == self.head.salt && frame.sequence == at.sequence;
        if !follows || !self.read_whole(&frame, at.position)? {
            return Ok(None);
        }
        let position = match frame.kind {
            Kind::Skip => 0,
            Kind::More | Kind::Last => (at.position + frame.blocks_bytes()) % self.ring_bytes,
        };
        Ok(Some((frame, Place { position, sequence: at.sequence + 1 })))
    }

    /// Reads all blocks of a frame whose head was read; whether it is one.
    fn read_whole(&mut self, frame: &Frame, position: u64) -> Result<bool, JournalError> {
        if frame.blocks_bytes() > self.ring_bytes - position {
            return Ok(false);
        }
        self.blocks.resize(frame.blocks_bytes() as usize, 0);
        self.storage.read_at(PAIR_BYTES + position, &mut self.blocks)?;
        Ok(frame.is_whole(&self.blocks))
    }

    /// Whether a frame in the ring was written when the one that is missing at `at` was durable.
    fn look_beyond(&mut self, at: Place) -> Result<(), JournalError> {
        const PIECE: u64 = 256 * BLOCK;
        let mut piece = vec![0; PIECE.min(self.ring_bytes) as usize];
        let mut position = 0;
        while position < self.ring_bytes {
            let bytes = PIECE.min(self.ring_bytes - position) as usize;
            self.storage.read_at(PAIR_BYTES + position, &mut piece[..bytes])?;
            for (index, block) in piece[..bytes].chunks_exact(BLOCK_BYTES).enumerate() {
                let Some(frame) = Frame::read(block) else { continue };
                let is_proof = frame.salt == self.head.salt && frame.durable > at.sequence;
                if is_proof && self.read_whole(&frame, position + index as u64 * BLOCK)? {
                    return Err(JournalError::Damaged { what: "a frame that was durable is not there" });
                }
            }
            position += bytes as u64;
        }
        Ok(())
    }

    /// Hands over the frames of all whole epochs as they stand in the ring: where, the frame, its blocks.
    fn walk<E: From<JournalError>>(
        &mut self,
        mut visit: impl FnMut(&mut Guarded<S>, u64, &Frame, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = self.head.tail;
        while at != self.end {
            let gone = JournalError::Damaged { what: "a frame that was read is not there any more" };
            let (frame, next) = self.frame_at(at)?.ok_or(gone)?;
            visit(&mut self.storage, PAIR_BYTES + at.position, &frame, &self.blocks)?;
            at = next;
        }
        Ok(())
    }
}
