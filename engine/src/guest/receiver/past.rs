//! Epochs of the past on a receive thread: which commits are kept, and somebody who reads one of them.
//!
//! ```text
//!   commit ─► the last one was kept long enough ago? ─► kept ─► Report::Kept
//!
//!   Work::Read ─► pinned ─► Begun ─► [ an emptied staging ─► filled ─► Frames ]* ─► State ─► not pinned any more
//! ```
//!
//! A reader is never waited for: frames go out as fast as emptied stagings come back, and arriving work goes first.
//!
//! Not here: what is kept of an epoch ([`KeptEpochs`](understudy_checkpoint::epoch::KeptEpochs)), and files.

use super::read::{Keep, ReadError, ReadPart, ReadRequest};
use super::work::Held;
use crate::guest::replica::Replica;
use crate::guest::report::Report;
use crate::memory;
use crossbeam::channel::{Receiver as Inbox, Sender, never};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use understudy_checkpoint::epoch::{Receiver, Staging};
use understudy_checkpoint::{Epoch, Pfn};

/// The receiver of a receive thread.
type Holder = Receiver<Box<dyn Replica>>;

/// Somebody reads.
#[derive(Debug)]
struct Reading {
    epoch: Epoch,
    next: Option<Pfn>,
    parts: Sender<ReadPart>,
}

/// What a receive thread has to do with the past.
#[derive(Debug)]
pub(super) struct Past {
    keep: Keep,
    /// When an epoch was kept last.
    kept_at: Option<Instant>,
    reading: Option<Reading>,
    /// Of the reader.
    pub(super) emptied: Inbox<Staging>,
}

impl Past {
    /// `receiver` may keep what `held` allows. Disks have no past, and memory is worth nothing without them.
    pub(super) fn new(held: &Held, receiver: &mut Holder) -> Self {
        let mut keep = held.keep;
        if !held.description.disks_bytes.is_empty() {
            keep.limits.epochs_max = 0;
        }
        receiver.allow_kept(keep.limits);
        Self { keep, kept_at: None, reading: None, emptied: never() }
    }

    /// A full sync ends what is kept; the first epoch after it is kept at once.
    pub(super) fn begin_anew(&mut self) {
        self.kept_at = None;
    }

    fn is_due(&self) -> bool {
        self.keep.limits.epochs_max > 0 && self.kept_at.is_none_or(|at| at.elapsed() >= self.keep.every)
    }

    pub(super) fn is_read(&self) -> bool {
        self.reading.is_some()
    }

    /// An epoch was committed. Returns what is kept now, if that has changed.
    pub(super) fn committed(
        &mut self,
        receiver: &mut Holder,
        available_bytes: fn() -> Option<u64>,
    ) -> Option<Report> {
        if !self.is_due() {
            return None;
        }
        self.kept_at = Some(Instant::now());
        if available_bytes().is_some_and(|available| available < memory::RESERVE_BYTES) {
            return self.free(receiver);
        }
        receiver.keep(unix_ns());
        Some(report(receiver))
    }

    /// Frees what the past takes, since the host is short of memory; `None` if that is nothing.
    pub(super) fn free(&mut self, receiver: &mut Holder) -> Option<Report> {
        let bytes = receiver.kept().bytes();
        if bytes == 0 {
            return None;
        }
        tracing::warn!(bytes, "The host is short of memory: earlier epochs of a guest are not kept any more");
        receiver.drop_kept();
        Some(report(receiver))
    }

    pub(super) fn begin_reading(&mut self, receiver: &mut Holder, request: ReadRequest) {
        let ReadRequest { epoch, parts, emptied } = request;
        let begun = match self.is_read() {
            true => Err(ReadError::Busy),
            false => receiver.pin(epoch, unix_ns()).map_err(ReadError::from),
        };
        let part = match begun {
            Ok(epoch) => {
                let reading = Reading { epoch, next: Some(Pfn(0)), parts: parts.clone() };
                (self.reading, self.emptied) = (Some(reading), emptied);
                ReadPart::Begun(epoch)
            }
            Err(error) => ReadPart::Refused(error),
        };
        // A reader that is gone is noticed by its stagings.
        let _ = parts.try_send(part);
    }

    /// Fills a staging for the reader; `None` if the reader is gone.
    pub(super) fn read_on(&mut self, receiver: &mut Holder, emptied: Option<Staging>) {
        let Some(Reading { epoch, next, parts }) = &mut self.reading else { return };
        let part = match (emptied, *next) {
            (None, _) => return self.end_reading(receiver),
            (Some(mut staging), Some(from)) => receiver.read_kept(*epoch, from, &mut staging).map(|then| {
                *next = then;
                ReadPart::Frames(staging)
            }),
            (Some(_), None) => receiver.kept().state(*epoch).map(|state| ReadPart::State(state.clone())),
        };
        let part = part.unwrap_or_else(|error| ReadPart::Refused(error.into()));
        let is_last = !matches!(part, ReadPart::Frames(_));
        if parts.try_send(part).is_err() || is_last {
            self.end_reading(receiver);
        }
    }

    fn end_reading(&mut self, receiver: &mut Holder) {
        (self.reading, self.emptied) = (None, never());
        receiver.unpin();
    }
}

fn report(receiver: &Holder) -> Report {
    let kept = receiver.kept();
    Report::Kept { epochs: kept.list().collect(), bytes: kept.bytes() }
}

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
