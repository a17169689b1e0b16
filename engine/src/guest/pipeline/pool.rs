//! Staging buffers that circulate: filled by the capture thread, emptied by the encode thread, and returned.
//!
//! ```text
//!          ┌──────────────── empty ◄───────────────┐
//!          ▼                                       │
//!   capture thread ── filled pieces ──► encode thread
//! ```
//!
//! The number of pieces is fixed, so their memory bounds the dirty pages between pause and link.

use super::failure::Failure;
use super::job::Job;
use crate::memory;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, PAGE_SIZE};

/// How often to check whether the capture was given up, while waiting for an empty piece.
const ABORT_CHECK: Duration = Duration::from_millis(5);

/// Lets the loop give up a capture that is in progress.
#[derive(Clone, Debug, Default)]
pub(in crate::guest) struct Abort(Arc<AtomicU64>);

impl Abort {
    /// Gives up the capture of `epoch`. Epoch numbers are not reused, so this cannot affect another capture.
    pub(in crate::guest) fn give_up(&self, epoch: Epoch) {
        self.0.store(epoch.0.wrapping_add(1), Ordering::Release);
    }

    /// Fails if the capture of `epoch` is given up.
    pub(in crate::guest) fn check(&self, epoch: Epoch) -> Result<(), Failure> {
        if self.0.load(Ordering::Acquire) == epoch.0.wrapping_add(1) { Err(Failure::Aborted) } else { Ok(()) }
    }
}

/// Staging that is not allocated yet, or not all of it.
pub(in crate::guest) struct EmptyPieces {
    pool: Sender<Staging>,
    /// How many are missing.
    pieces: u64,
    piece_pages: usize,
    available_bytes: fn() -> Option<u64>,
}

impl EmptyPieces {
    /// `pieces` pieces of `piece_pages` pages each, for `pool`.
    pub(in crate::guest) fn new(pool: Sender<Staging>, pieces: u64, piece_pages: usize) -> Self {
        Self { pool, pieces, piece_pages, available_bytes: memory::available_bytes }
    }

    /// Allocates what is missing, if the host has it: all of it is touched at once, and the kernel would kill somebody.
    pub(in crate::guest) fn fill(&mut self) -> Result<(), Failure> {
        while self.pieces > 0 {
            let needed = self.pieces * (self.piece_pages * PAGE_SIZE) as u64;
            let available = (self.available_bytes)();
            if available.is_some_and(|bytes| bytes < needed.saturating_add(memory::RESERVE_BYTES)) {
                return Err(Failure::NoStaging { needed, available: available.unwrap_or(0) });
            }
            let _ = self.pool.send(Staging::try_new(self.piece_pages)?);
            self.pieces -= 1;
        }
        Ok(())
    }
}

/// The capture thread's end of the circle.
pub(in crate::guest) struct Pieces {
    empty: Receiver<Staging>,
    jobs: Sender<Job>,
    /// Filled pieces of the epoch being captured; the last may have room.
    filled: Vec<Staging>,
    /// The start of the epoch, until its first pages are passed on.
    begin: Option<Job>,
    overflows: u32,
    abort: Abort,
    /// Until when a suspended guest may be kept waiting.
    until: Option<Instant>,
}

impl Pieces {
    pub(in crate::guest) fn new(empty: Receiver<Staging>, jobs: Sender<Job>, abort: Abort) -> Self {
        let filled = Vec::with_capacity(empty.capacity().unwrap_or_default());
        Self { empty, jobs, filled, begin: None, overflows: 0, abort, until: None }
    }

    /// Sets until when a suspended guest may wait for room; `None`: the guest runs again.
    pub(in crate::guest) fn wait_until(&mut self, until: Option<Instant>) {
        self.until = until;
    }

    /// How often a capture waited for the encoder to empty staging.
    pub(in crate::guest) fn overflows(&self) -> u32 {
        self.overflows
    }

    /// A piece with room. If all are full, passes them to the encoder and waits for one.
    pub(in crate::guest) fn with_room(&mut self, epoch: Epoch) -> Result<&mut Staging, Failure> {
        if self.filled.last().is_none_or(|piece| piece.room() == 0) {
            let piece = match self.empty.try_recv() {
                Ok(piece) => piece,
                Err(_) => {
                    self.overflows += 1;
                    self.hand_over()?;
                    self.wait(epoch)?
                }
            };
            self.filled.push(piece);
        }
        Ok(self.filled.last_mut().expect("a piece was just put there"))
    }

    /// A piece with room for pages that are copied while the guest runs; `None` if there is none but the last empty one,
    /// which is for the pause. Waits for nothing.
    pub(in crate::guest) fn room_ahead(&mut self) -> Option<&mut Staging> {
        let is_full = self.filled.last().is_none_or(|piece| piece.room() == 0);
        if is_full && self.empty.len() > 1 {
            self.filled.push(self.empty.try_recv().ok()?);
        }
        self.filled.last_mut().filter(|piece| piece.room() > 0)
    }

    /// Leaves out what is filled in of the frames that `again` marks. Returns how many there are.
    pub(in crate::guest) fn leave_out(&mut self, again: &DirtyBitmap) -> u32 {
        self.filled.iter_mut().map(|piece| piece.leave_out(again) as u32).sum()
    }

    /// Waits for an empty piece, so that a pause that begins now has room.
    pub(in crate::guest) fn wait_for_room(&mut self, epoch: Epoch) -> Result<(), Failure> {
        if self.filled.is_empty() {
            let piece = self.wait(epoch)?;
            self.filled.push(piece);
        }
        Ok(())
    }

    /// Sets the job that goes to the encoder before this epoch's pages. It is kept until there are pages, so that the
    /// encoder does not wake up in the middle of a pause.
    pub(in crate::guest) fn begin(&mut self, begin: Job) {
        self.begin = Some(begin);
    }

    /// Passes the start of the epoch and all filled pieces to the encoder.
    pub(in crate::guest) fn hand_over(&mut self) -> Result<(), Failure> {
        if let Some(begin) = self.begin.take() {
            self.jobs.send(begin).map_err(|_| Failure::EncoderGone)?;
        }
        for piece in self.filled.drain(..) {
            self.jobs.send(Job::Pages(piece)).map_err(|_| Failure::EncoderGone)?;
        }
        Ok(())
    }

    /// Discards the pieces' content and returns them, through the encoder.
    pub(in crate::guest) fn put_back(&mut self) -> Result<(), Failure> {
        self.begin = None;
        for piece in self.filled.drain(..) {
            self.jobs.send(Job::PutBack(piece)).map_err(|_| Failure::EncoderGone)?;
        }
        Ok(())
    }

    /// Waits until everything passed on is encoded and in the link's queue. Returns how long a limit for full syncs has
    /// made it wait.
    pub(in crate::guest) fn wait_until_encoded(&self, epoch: Epoch) -> Result<Duration, Failure> {
        let (to, answer) = bounded(1);
        self.jobs.send(Job::Answer(to)).map_err(|_| Failure::EncoderGone)?;
        self.wait_for(&answer, epoch)
    }

    fn wait(&self, epoch: Epoch) -> Result<Staging, Failure> {
        self.wait_for(&self.empty, epoch)
    }

    /// Waits for an answer of the encoder, unless the capture is given up meanwhile.
    pub(in crate::guest) fn wait_for<T>(&self, what: &Receiver<T>, epoch: Epoch) -> Result<T, Failure> {
        loop {
            self.abort.check(epoch)?;
            if self.until.is_some_and(|until| until <= Instant::now()) {
                return Err(Failure::TooMuch);
            }
            match what.recv_timeout(ABORT_CHECK) {
                Ok(it) => return Ok(it),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::EncoderGone),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_that_the_host_lacks_is_not_taken_and_is_made_up_for_later() {
        let (pool, made) = bounded(2);
        let mut pieces = EmptyPieces::new(pool, 2, 4);
        for available_bytes in [|| Some(memory::RESERVE_BYTES), || Some(0)] as [fn() -> Option<u64>; 2] {
            pieces.available_bytes = available_bytes;
            let failure = pieces.fill().unwrap_err();
            assert!(matches!(failure, Failure::NoStaging { needed: 32_768, .. }), "{failure}");
            assert!(made.is_empty());
        }
        pieces.available_bytes = || Some(memory::RESERVE_BYTES + 32_768);
        pieces.fill().unwrap();
        pieces.fill().unwrap();
        assert_eq!(made.len(), 2);
    }

    #[test]
    fn staging_that_cannot_be_addressed_is_an_error() {
        let (pool, _made) = bounded(1);
        let mut pieces = EmptyPieces::new(pool, 1, isize::MAX as usize / PAGE_SIZE);
        pieces.available_bytes = || None;
        assert!(matches!(pieces.fill(), Err(Failure::OutOfMemory(_))));
    }
}
