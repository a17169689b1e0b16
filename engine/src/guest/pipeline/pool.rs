//! Staging that goes round: from the capture thread, filled, to the encode thread, and back.
//!
//! ```text
//!          ┌──────────────── empty ◄───────────────┐
//!          ▼                                       │
//!   capture thread ── filled pieces ──► encode thread
//! ```
//!
//! The number of pieces is fixed, so their memory is the bound on dirty pages between pause and link.

use super::failure::Failure;
use super::job::Job;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::epoch::Staging;

/// How long to wait for an empty piece before looking whether the capture is given up.
const ABORT_CHECK: Duration = Duration::from_millis(5);

/// The loop's way to give up a capture that is under way.
#[derive(Clone, Debug, Default)]
pub(in crate::guest) struct Abort(Arc<AtomicU64>);

impl Abort {
    /// Gives up the capture of `epoch`. Epoch numbers are not reused, so this cannot hit another capture.
    pub(in crate::guest) fn give_up(&self, epoch: Epoch) {
        self.0.store(epoch.0.wrapping_add(1), Ordering::Release);
    }

    /// Fails if the capture of `epoch` is given up.
    pub(in crate::guest) fn check(&self, epoch: Epoch) -> Result<(), Failure> {
        if self.0.load(Ordering::Acquire) == epoch.0.wrapping_add(1) { Err(Failure::Aborted) } else { Ok(()) }
    }
}

/// Staging that is still to be made.
pub(in crate::guest) struct EmptyPieces {
    pool: Sender<Staging>,
    pieces: u64,
    piece_pages: usize,
}

impl EmptyPieces {
    /// `pieces` of them, each for `piece_pages` pages, that go to `pool`.
    pub(in crate::guest) fn new(pool: Sender<Staging>, pieces: u64, piece_pages: usize) -> Self {
        Self { pool, pieces, piece_pages }
    }

    /// Makes it.
    pub(in crate::guest) fn fill(self) {
        for _ in 0..self.pieces {
            let _ = self.pool.send(Staging::new(self.piece_pages));
        }
    }
}

/// The capture thread's end of the circle.
pub(in crate::guest) struct Pieces {
    empty: Receiver<Staging>,
    jobs: Sender<Job>,
    /// Pieces of the epoch being captured, the last one perhaps with room.
    filled: Vec<Staging>,
    /// The begin of the epoch, until its first pages go.
    begin: Option<Job>,
    overflows: u32,
    abort: Abort,
    /// Until when the guest that stands still may be kept waiting.
    until: Option<Instant>,
}

impl Pieces {
    pub(in crate::guest) fn new(empty: Receiver<Staging>, jobs: Sender<Job>, abort: Abort) -> Self {
        let filled = Vec::with_capacity(empty.capacity().unwrap_or_default());
        Self { empty, jobs, filled, begin: None, overflows: 0, abort, until: None }
    }

    /// From here on a guest stands still, and waits for room no longer than until then; `None`: it runs again.
    pub(in crate::guest) fn wait_until(&mut self, until: Option<Instant>) {
        self.until = until;
    }

    /// How often a capture had to wait for the encoder to empty staging.
    pub(in crate::guest) fn overflows(&self) -> u32 {
        self.overflows
    }

    /// A piece with room. When all are full, hands them to the encoder and waits for one.
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

    /// Waits until there is an empty piece, so that a pause that begins now begins with room.
    pub(in crate::guest) fn wait_for_room(&mut self, epoch: Epoch) -> Result<(), Failure> {
        if self.filled.is_empty() {
            let piece = self.wait(epoch)?;
            self.filled.push(piece);
        }
        Ok(())
    }

    /// The job that goes to the encoder before this epoch's pages. It waits for them, so that the encoder does
    /// not wake in the middle of a pause.
    pub(in crate::guest) fn begin(&mut self, begin: Job) {
        self.begin = Some(begin);
    }

    /// Hands the begin of the epoch and all filled pieces to the encoder.
    pub(in crate::guest) fn hand_over(&mut self) -> Result<(), Failure> {
        if let Some(begin) = self.begin.take() {
            self.jobs.send(begin).map_err(|_| Failure::EncoderGone)?;
        }
        for piece in self.filled.drain(..) {
            self.jobs.send(Job::Pages(piece)).map_err(|_| Failure::EncoderGone)?;
        }
        Ok(())
    }

    /// Forgets what the pieces hold and puts them back, by way of the encoder.
    pub(in crate::guest) fn put_back(&mut self) -> Result<(), Failure> {
        self.begin = None;
        for piece in self.filled.drain(..) {
            self.jobs.send(Job::PutBack(piece)).map_err(|_| Failure::EncoderGone)?;
        }
        Ok(())
    }

    /// Waits until everything handed over is encoded and in the link's queue.
    pub(in crate::guest) fn wait_until_encoded(&self, epoch: Epoch) -> Result<(), Failure> {
        let (to, answer) = bounded(1);
        self.jobs.send(Job::Answer(to)).map_err(|_| Failure::EncoderGone)?;
        self.wait_for(&answer, epoch)
    }

    fn wait(&self, epoch: Epoch) -> Result<Staging, Failure> {
        self.wait_for(&self.empty, epoch)
    }

    /// Waits for something that the encoder gives back, unless the capture is given up meanwhile.
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
