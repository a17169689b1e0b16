//! [`Recording`]: a guest's writes, from the end of a full copy until they are acked.
//!
//! ```text
//!            begin(N)               note()                      end(N)
//!   Passing ─────────► Full, marks ─────────► Full, writes too ──────► Following: tag N+1 ▓▓ │cut│ tag N+2 ▓ …
//!      ▲               what was read ▓▓▓▓▓▓▓  ▓▓▓▓▓▓▓▓▓               kept until acked: a resync sends them again
//!      │                    ▲                     │
//!      │                    └─── no room ─────────┘
//!      └─────── stop
//! ```
//!
//! In a full copy the record has what was read of the disk. The guest's writes are noted behind it only when little is left
//! to be read; before that, and when there is no room for them, they are marks for who reads
//! ([`full_copy`](super::full_copy)). So a full copy is never given up because a guest writes much.
//!
//! Later what has no room is a gap, and a gap is told when its epoch ends: the copy has to be made anew (rule R3: no write
//! waits). Not here: what a batch is (`understudy_disk::record`).

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use understudy_checkpoint::epoch::WritesSummary;
use understudy_checkpoint::{Epoch, OutOfMemory};
use understudy_disk::batch::Write;
use understudy_disk::record::{Overrun, Record, Tagged};
use understudy_disk::server::Book;
use understudy_disk::sync::plan::Unlike;
use understudy_disk::sync::talk::BadTalk;

/// Bound of writes that wait for the encode thread.
const RECORD_BYTES_MAX: usize = 32 << 20;

/// The longest write that a full copy can surely note: with less room left it goes on with marks.
const WRITE_BYTES_MAX: u64 = 1 << 20;

/// Bound of writes that were handed over and are not acked.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Why a disk's copy ends, or cannot resume.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyError {
    /// The disk could not be read.
    #[error("The guest's disk cannot be read; the log says why")]
    Unread,
    /// The guest writes faster than the link takes, or writes needed for a resync are gone.
    #[error("The guest's disk has to be copied anew: {0}")]
    Overrun(#[from] Overrun),
    /// Another one has begun, or nobody wants it.
    #[error("The full copy of the guest's disk was given up")]
    Over,
    /// No memory to keep account.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The disks are no copies of each other.
    #[error(transparent)]
    Unlike(#[from] Unlike),
    /// What the other host says is nothing.
    #[error(transparent)]
    Talk(#[from] BadTalk),
    /// The label here.
    #[error("The label of the guest's disk cannot be written; the log says why")]
    Label,
}

/// The disk writes of an epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WritesOf {
    /// Batches in the order of the writes.
    pub batches: Vec<Arc<Tagged>>,
    /// Summary of all batches, including those of a full copy that were taken earlier.
    pub summary: WritesSummary,
}

/// An epoch that was handed over.
#[derive(Debug)]
struct Kept {
    epoch: Epoch,
    tags: Vec<(Epoch, WritesSummary)>,
    batches: Vec<Arc<Tagged>>,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.batches.iter().map(|tagged| tagged.batch.len()).sum()
    }
}

#[derive(Debug)]
enum State {
    /// No copy exists; the open epoch.
    Passing(Epoch),
    Recording(Box<Recorded>),
}

/// A full copy that has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    /// The guest's writes are marks.
    Marks,
    /// They are recorded behind what was read.
    Notes,
}

#[derive(Debug)]
struct Recorded {
    record: Record,
    full: Option<Full>,
    kept: VecDeque<Kept>,
    /// Kept writes begin after this epoch.
    kept_after: Epoch,
    /// Whether the next epoch sends all kept writes again.
    goes_back: bool,
}

/// Shared by the disk's thread, the capture thread and the loop.
#[derive(Debug)]
pub(super) struct Recording(Mutex<State>);

impl Default for Recording {
    fn default() -> Self {
        Self(Mutex::new(State::Passing(Epoch(0))))
    }
}

impl Recording {
    /// Runs `act` with the record of writes. `act` must not wait, because the pause takes the same lock.
    pub(super) fn with_book<T>(&self, act: impl FnOnce(&mut Book<'_>) -> T) -> T {
        match &mut *self.0.lock() {
            State::Passing(tag) => act(&mut Book::Marks(*tag)),
            State::Recording(recorded) => {
                if recorded.full == Some(Full::Notes) && !recorded.record.has_room(WRITE_BYTES_MAX) {
                    recorded.full = Some(Full::Marks);
                }
                match recorded.full {
                    Some(Full::Marks) => act(&mut Book::Marks(recorded.record.tag())),
                    Some(Full::Notes) | None => act(&mut Book::Record(&mut recorded.record)),
                }
            }
        }
    }

    /// What was read of the disk for a full copy goes behind what is recorded.
    pub(super) fn read(&self, write: Write<'_>) -> Result<(), CopyError> {
        match &mut *self.0.lock() {
            State::Recording(recorded) if recorded.full.is_some() => Ok(recorded.record.write(write)?),
            _ => Err(CopyError::Over),
        }
    }

    /// Little is left to be read: from here on the guest's writes are recorded.
    pub(super) fn note(&self) {
        if let State::Recording(recorded) = &mut *self.0.lock()
            && recorded.full.is_some()
        {
            recorded.full = Some(Full::Notes);
        }
    }

    /// What becomes of writes in the full copy, while there is one.
    pub(super) fn full(&self) -> Option<Full> {
        match &*self.0.lock() {
            State::Recording(recorded) => recorded.full,
            State::Passing(_) => None,
        }
    }

    /// A full copy begins, which `epoch` ends.
    pub(super) fn begin(&self, epoch: Epoch) {
        *self.0.lock() = State::Recording(Box::new(Recorded {
            record: Record::new(epoch, RECORD_BYTES_MAX),
            full: Some(Full::Marks),
            kept: VecDeque::new(),
            kept_after: epoch,
            goes_back: false,
        }));
    }

    /// Stops recording.
    pub(super) fn stop(&self) {
        let mut state = self.0.lock();
        if let State::Recording(recorded) = &*state {
            *state = State::Passing(recorded.record.tag());
        }
    }

    /// Closes this epoch; later writes belong to the next one.
    pub(super) fn cut(&self, epoch: Epoch) {
        match &mut *self.0.lock() {
            State::Passing(tag) => *tag = epoch.next(),
            State::Recording(recorded) => recorded.record.cut(epoch.next()),
        }
    }

    /// Takes complete batches of an unfinished full copy; they are not kept.
    pub(super) fn take_ready(&self) -> Vec<Arc<Tagged>> {
        match &mut *self.0.lock() {
            State::Recording(recorded) if recorded.full.is_some() => recorded.take_batches(),
            _ => Vec::new(),
        }
    }

    /// Takes the writes of an epoch that was cut; an error after a gap.
    pub(super) fn end(&self, epoch: Epoch) -> Result<WritesOf, Overrun> {
        match &mut *self.0.lock() {
            State::Recording(recorded) => recorded.end(epoch),
            State::Passing(_) => Err(Overrun),
        }
    }

    /// Drops writes up to this epoch: they are safe on the other host.
    pub(super) fn acked(&self, through: Epoch) {
        if let State::Recording(recorded) = &mut *self.0.lock() {
            recorded.forget(through);
        }
    }

    /// The other host is at `base`: the next epoch sends every later write. Fails if those writes are no longer kept.
    pub(super) fn go_back_to(&self, base: Epoch) -> Result<(), Overrun> {
        match &mut *self.0.lock() {
            State::Recording(recorded) if recorded.full.is_none() && base >= recorded.kept_after => {
                recorded.forget(base);
                recorded.goes_back = true;
                Ok(())
            }
            _ => Err(Overrun),
        }
    }
}

impl Recorded {
    fn take_batches(&mut self) -> Vec<Arc<Tagged>> {
        std::iter::from_fn(|| self.record.next_batch()).map(Arc::new).collect()
    }

    fn end(&mut self, epoch: Epoch) -> Result<WritesOf, Overrun> {
        if self.full == Some(Full::Marks) {
            return Err(Overrun);
        }
        let mut ended = Kept { epoch, tags: self.record.end_tags(epoch)?, batches: self.take_up_to(epoch) };
        if self.full.take().is_some() {
            self.kept_after = epoch;
            let Kept { tags, batches, .. } = ended;
            return Ok(WritesOf { batches, summary: summary(&tags) });
        }
        if std::mem::take(&mut self.goes_back) {
            let before: Vec<Kept> = self.kept.drain(..).collect();
            let (mut tags, mut batches) = (Vec::new(), Vec::new());
            for kept in before.into_iter().chain([ended]) {
                tags.extend(kept.tags);
                batches.extend(kept.batches);
            }
            ended = Kept { epoch, tags, batches };
        }
        let writes = WritesOf { batches: ended.batches.clone(), summary: summary(&ended.tags) };
        self.kept.push_back(ended);
        while self.kept.iter().map(Kept::bytes).sum::<usize>() > KEPT_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.kept_after = oldest.epoch;
        }
        Ok(writes)
    }

    /// Takes batches of this epoch; writes after its cut stay.
    fn take_up_to(&mut self, epoch: Epoch) -> Vec<Arc<Tagged>> {
        std::iter::from_fn(|| self.record.next_batch_through(epoch)).map(Arc::new).collect()
    }

    fn forget(&mut self, through: Epoch) {
        while self.kept.pop_front_if(|kept| kept.epoch <= through).is_some() {}
        self.kept_after = self.kept_after.max(through);
    }
}

fn summary(tags: &[(Epoch, WritesSummary)]) -> WritesSummary {
    tags.iter().fold(WritesSummary::default(), |all, (_, of_tag)| all.then(*of_tag))
}

#[cfg(test)]
mod tests;
